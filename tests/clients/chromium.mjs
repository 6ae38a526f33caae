// What the drivers of headless Chromium share: their options, their events, the browser.
//
// Events are JSON objects, one a line. The options are JSON in the first argument; every driver knows chromium
// (program), locale, seconds (for each wait) and anyCertificate (believe every server).

import { chromium } from 'playwright-core'

export const given = JSON.parse(process.argv[2])

export function say(event, facts = {}) {
  process.stdout.write(`${JSON.stringify({ event, ...facts })}\n`)
}

/** Open an empty page and `use` it; the browser ends with that. */
export async function visit(use, options = {}) {
  const browser = await chromium.launch({
    executablePath: given.chromium,
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
  try {
    const ours = { locale: given.locale ?? 'en-GB', ignoreHTTPSErrors: given.anyCertificate ?? false }
    const context = await browser.newContext({ ...ours, ...options })
    const page = await context.newPage()
    page.setDefaultTimeout((given.seconds ?? 60) * 1000)
    watch(page)
    const network = await context.newCDPSession(page)
    await network.send('Network.enable')
    await use(page, network)
  } finally {
    await browser.close()
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
  page.on('console', (message) => say('console', { type: message.type(), text: message.text() }))
  page.on('pageerror', (error) => say('pageerror', { message: String(error) }))
  page.on('dialog', (dialog) => {
    say('dialog', { text: dialog.message() })
    return dialog.accept()
  })
  page.on('request', (request) => say('request', { ...facts(request), offset: offset(request.headers()) }))
  page.on('requestfailed', (request) => say('failed', { ...facts(request), why: request.failure()?.errorText }))
  page.on('response', (response) => {
    const status = response.status()
    say('response', { ...facts(response.request()), status, offset: offset(response.headers()) })
  })
}
