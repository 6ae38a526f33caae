// What the drivers of headless browsers share: their options, their events, the browser.
//
// Events are JSON objects, one a line. Every driver knows the options locale, seconds (for each wait), anyCertificate
// (believe every server) and firefox (the program of Firefox, to be driven in place of Chromium). `drivers.mjs` runs the drivers, several of them in one process and with one browser, each in a
// context of its own: no cookie, cache, storage or connection passes from one to another.

import { AsyncLocalStorage } from 'node:async_hooks'
import { appendFileSync } from 'node:fs'

import { chromium, firefox } from 'playwright-core'

const runs = new AsyncLocalStorage()

/** The options of the driver that reads them. */
export const given = new Proxy({}, { get: (_, name) => runs.getStore().given[name] })

export function say(event, facts = {}) {
  appendFileSync(runs.getStore().out, `${JSON.stringify({ event, ...facts })}\n`)
}

/** A callback that knows whose it is, whoever calls it. */
export const ours = (callback) => AsyncLocalStorage.bind(callback)

/** Run a driver, which is a module: once for each run, which has `id`, `program`, `given` and `out`. */
export function drive(run) {
  return runs.run(run, () => import(`./${run.program}?run=${run.id}`))
}

/** End what a run has opened, and let it open nothing more. */
export function stop(run) {
  run.isStopped = true
  return run.context?.close()
}

const launched = new Map()

/** The browser that the driver asks for; another one if it has died. */
async function browser() {
  const [program, start] = given.firefox ? [given.firefox, startFirefox] : [process.argv[2], startChromium]
  const before = launched.get(program)
  if (before && (await before).isConnected()) return before
  const started = runs.exit(() => start(program))
  launched.set(program, started)
  return started
}

const startChromium = (executablePath) =>
  chromium.launch({
    executablePath,
    headless: true,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  })

/** The Firefox that people have, by WebDriver BiDi: Playwright's own build has another protocol. */
async function startFirefox(executablePath) {
  const started = await firefox.launch({ executablePath, headless: true, channel: 'moz-firefox' })
  // Playwright tells each context its media features by a command that Firefox 153 does not have yet.
  const session = started._connection.toImpl(started)._browserSession
  const send = session.send.bind(session)
  session.send = async (method, params) =>
    method === 'emulation.setMediaFeaturesOverride' ? {} : send(method, params)
  return started
}

/** End the browsers. */
export const quit = () => Promise.all(Array.from(launched.values(), async (started) => (await started).close()))

/** Open an empty page and `use` it; its context ends with that. */
export async function visit(use, options = {}) {
  const run = runs.getStore()
  const always = { locale: given.locale ?? 'en-GB', ignoreHTTPSErrors: given.anyCertificate ?? false }
  run.context = await (await browser()).newContext({ ...always, ...options })
  try {
    if (run.isStopped) throw new Error('stopped')
    await use(...(await openTab()))
  } finally {
    await run.context.close()
  }
}

/** Open an empty page, and in Chromium a session for its network. */
export async function openTab() {
  const { context } = runs.getStore()
  const page = await context.newPage()
  page.setDefaultTimeout((given.seconds ?? 60) * 1000)
  watch(page)
  const network = given.firefox ? null : await context.newCDPSession(page)
  await network?.send('Network.enable')
  return [page, network]
}

/** Take the steps in `given.steps`: each is the name of one of `available` and its arguments. */
export async function take(available) {
  for (const [name, ...values] of given.steps) {
    await available[name](...values)
    say('step', { name })
  }
  say('done')
}

/** Limit what goes upwards to so many bytes a second; 0 is as fast as it goes. */
export function throttle(network, rate) {
  return network.send('Network.emulateNetworkConditions', {
    offline: false,
    latency: 0,
    downloadThroughput: -1,
    uploadThroughput: rate || -1,
  })
}

function watch(page) {
  const offset = (headers) => (headers['upload-offset'] === undefined ? null : Number(headers['upload-offset']))
  const facts = (request) => ({ method: request.method(), url: request.url() })
  const on = (event, heard) => page.on(event, ours(heard))
  on('console', (message) => say('console', { type: message.type(), text: message.text() }))
  on('pageerror', (error) => say('pageerror', { message: String(error) }))
  on('dialog', (dialog) => {
    say('dialog', { text: dialog.message() })
    return dialog.accept()
  })
  on('request', (request) => say('request', { ...facts(request), offset: offset(request.headers()) }))
  on('requestfailed', (request) => {
    const why = request.failure()?.errorText
    // A page ends its live streams itself; the browser calls that a failure.
    const isClosed = why === 'net::ERR_ABORTED' && /\/api\/(task\/)?events\b|^blob:/.test(request.url())
    if (!isClosed) say('failed', { ...facts(request), why })
  })
  on('response', (response) => {
    const status = response.status()
    say('response', { ...facts(response.request()), status, offset: offset(response.headers()) })
  })
}
