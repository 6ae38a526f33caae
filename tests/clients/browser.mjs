// Run a script in headless Chromium on a server's own origin, as a page of that server would, and print the
// console, one JSON object a line.
//
// Options beside those of chromium.mjs: origin, script (path of the JavaScript), files (paths), call (expression to
// evaluate then; `files` is an array of File objects), until (console text that ends the run).

import { readFile } from 'node:fs/promises'

import { given, ours, say, visit } from './chromium.mjs'

async function start(page) {
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
}

async function run(page) {
  const ended = page.waitForEvent('console', { predicate: ours((message) => message.text().includes(given.until)) })
  await Promise.all([ended, start(page)])
  say('done')
}

// The sample stands for a script of the page; a policy of the page against foreign scripts is not its matter.
await visit(run, { bypassCSP: true, locale: given.locale ?? 'zh-CN' })
