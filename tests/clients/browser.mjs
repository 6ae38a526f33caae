// Run a script in headless Chromium on a server's own origin, as a page of that server would, and print the
// console, one JSON object a line.
//
// Options, as JSON in the first argument: chromium (program), origin, script (path of the JavaScript), files
// (paths), call (expression to evaluate then; `files` is an array of File objects), until (console text that
// ends the run), seconds.

import { readFile } from 'node:fs/promises'

import { chromium } from 'playwright-core'

const given = JSON.parse(process.argv[2])

function say(event, facts = {}) {
  process.stdout.write(`${JSON.stringify({ event, ...facts })}\n`)
}

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
  // The sample stands for a script of the page; a policy of the page against foreign scripts is not its matter.
  const context = await browser.newContext({ bypassCSP: true, locale: given.locale ?? 'zh-CN' })
  const page = await context.newPage()
  let ended
  const end = new Promise((resolve) => {
    ended = resolve
  })
  page.on('console', (message) => {
    say('console', { type: message.type(), text: message.text() })
    if (message.text().includes(given.until)) ended(true)
  })
  page.on('pageerror', (error) => say('pageerror', { message: String(error) }))
  page.on('response', (response) =>
    say('response', { method: response.request().method(), url: response.url(), status: response.status() }),
  )
  const landing = await page.goto(`${given.origin}/`)
  say('landed', { status: landing.status() })
  await page.evaluate(() => {
    const input = document.createElement('input')
    input.type = 'file'
    input.multiple = true
    input.id = 'files-of-the-test'
    document.body.append(input)
  })
  await page.setInputFiles('#files-of-the-test', given.files)
  await page.addScriptTag({ content: await readFile(given.script, 'utf8') })
  await page.evaluate((call) => {
    const files = Array.from(document.querySelector('#files-of-the-test').files)
    return new Function('files', `return ${call}`)(files)
  }, given.call)
  const timer = setTimeout(() => ended(false), (given.seconds ?? 60) * 1000)
  const good = await end
  clearTimeout(timer)
  say(good ? 'done' : 'timeout')
  if (!good) process.exitCode = 1
} finally {
  await browser.close()
}
