// What the drivers of headless Chromium share: their options, their events, the browser.
//
// Events are JSON objects, one a line. Every driver knows the options locale, seconds (for each wait) and anyCertificate
// (believe every server). `drivers.mjs` runs the drivers, several of them in one process and with one browser, each in a
// context of its own: no cookie, cache, storage or connection passes from one to another.

import { AsyncLocalStorage } from 'node:async_hooks'
import { appendFileSync } from 'node:fs'

import { chromium } from 'playwright-core'

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

let launched

/** The browser; another one if it has died. */
async function browser() {
  if (launched && !(await launched).isConnected()) launched = undefined
  launched ??= runs.exit(() =>
    chromium.launch({
      executablePath: process.argv[2],
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
    }),
  )
  return launched
}

/** End the browser. */
export const quit = async () => launched && (await launched).close()

/** Open an empty page and `use` it; its context ends with that. */
export async function visit(use, options = {}) {
  const run = runs.getStore()
  const always = { locale: given.locale ?? 'en-GB', ignoreHTTPSErrors: given.anyCertificate ?? false }
  run.context = await (await browser()).newContext({ ...always, ...options })
  try {
    if (run.isStopped) throw new Error('stopped')
    const page = await run.context.newPage()
    page.setDefaultTimeout((given.seconds ?? 60) * 1000)
    watch(page)
    const network = await run.context.newCDPSession(page)
    await network.send('Network.enable')
    await use(page, network)
  } finally {
    await run.context.close()
  }
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
