// Run drivers of browsers as a test asks for them: one start of Node, Playwright and the browser for many of them.
//
// The argument is the program of Chromium. Standard input has JSON objects, one a line: `{ id, program, given, out, errors,
// ended }` runs a driver. Its events go to the file `out`, the reason of a failure to `errors`, and its exit code to
// `ended` when it has ended. `{ stop: id }` ends one before its time. The end of standard input ends everything.

import { appendFileSync, renameSync, writeFileSync } from 'node:fs'
import { createInterface } from 'node:readline'

import { drive, quit, stop } from './chromium.mjs'

const running = new Map()

async function run(asked) {
  running.set(asked.id, asked)
  let code = 0
  try {
    await drive(asked)
  } catch (error) {
    code = 1
    appendFileSync(asked.errors, `${error.stack ?? error}\n`)
  }
  running.delete(asked.id)
  writeFileSync(`${asked.ended}.part`, String(code))
  renameSync(`${asked.ended}.part`, asked.ended)
}

for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line)
  if (asked.stop === undefined) run(asked)
  else if (running.has(asked.stop)) stop(running.get(asked.stop))
}
await quit()
process.exit()
