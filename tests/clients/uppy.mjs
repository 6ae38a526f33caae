// Drive a page that uploads (Uppy's Dashboard, or a plain one) in headless Chromium, step by step, and print what
// happens, one JSON object a line.
//
// Options beside those of chromium.mjs: url (of the page), steps (arrays: the name of a step and its arguments).

import { existsSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'

import { given, ours, say, take, throttle, visit } from './chromium.mjs'

/** Ended from outside when it takes too long, as everything here. */
async function until(check) {
  while (!check()) await setTimeout(20)
}

/** Whether Golden Retriever has saved a file and where its upload is; runs in the page. */
async function saved() {
  const asked = (request) =>
    new Promise((resolve, reject) => {
      request.onsuccess = () => resolve(request.result)
      request.onerror = () => reject(request.error)
    })
  const database = await asked(indexedDB.open('uppy-blobs'))
  try {
    const stores = database.transaction(['files', 'metadata'])
    const files = await asked(stores.objectStore('files').count())
    const records = await asked(stores.objectStore('metadata').getAll())
    return files > 0 && records.some((record) => record.metadata.includes('"uploadUrl":"http'))
  } finally {
    database.close()
  }
}

function steps(page, network) {
  const log = []
  const answers = []
  page.on('console', (message) => log.push(message.text()))
  page.on('response', (response) => answers.push(response.request().method()))
  return {
    /** As the desktop does it: the browser gets paths, the page gets files of the disk. */
    async drop(...paths) {
      const box = await page.locator('.uppy-Dashboard-inner').boundingBox()
      const place = { x: box.x + box.width / 2, y: box.y + box.height / 2 }
      const data = { items: [], files: paths, dragOperationsMask: 1 }
      for (const type of ['dragEnter', 'dragOver', 'drop']) {
        await network.send('Input.dispatchDragEvent', { type, ...place, data })
      }
    },
    /** As the user chooses a file in a plain page. */
    choose: (path) => page.locator('input[type=file]').setInputFiles(path),
    press: (name) => page.getByRole('button', { name, exact: true }).first().click(),
    /** Wait until these words are to be seen. */
    text: (wanted) => page.getByText(wanted).first().waitFor(),
    /** Wait until a request by that method was answered, from the start of the page on. */
    answered: (method) => until(() => answers.includes(method)),
    /** Wait until the console has said so that many times. */
    logged: (words, count = 1) => until(() => log.filter((text) => text.includes(words)).length >= count),
    throttle: (rate) => throttle(network, rate),
    /** Wait for the test, which makes this file when it has seen enough. */
    file: (path) => until(() => existsSync(path)),
    /** Wait until a reload finds everything again. */
    saved: () => page.waitForFunction(saved, undefined, { polling: 50 }),
    reload: () => page.reload(),
    look: async (label) => say('look', { label, text: await page.evaluate(() => document.body.innerText) }),
  }
}

await visit(async (page, network) => {
  const received = ({ type, response }) => {
    if (type === 'Preflight') say('preflight', { url: response.url, status: response.status })
  }
  network.on('Network.responseReceived', ours(received))
  const available = steps(page, network)
  await page.goto(given.url)
  await take(available)
})
