// Drive the upload page in headless Chromium, step by step, and print what happens, one JSON object a line.
//
// Options beside those of chromium.mjs: url (of the page), steps (arrays: the name of a step and its arguments).

import { readFile } from 'node:fs/promises'
import { basename } from 'node:path'

import { examine } from './axe.mjs'
import { given, openTab, say, take, throttle, visit } from './chromium.mjs'

// The share of a row's bar that is the upload; the rest is the processing.
const UPLOAD_SHARE = 0.6
const MIME = { mp4: 'video/mp4', mov: 'video/quicktime' }

/** Every row as a person finds it. */
function rows() {
  return Array.from(document.querySelectorAll('.row'), (row) => {
    const image = row.querySelector('.picture img')
    const bar = row.querySelector('progress')
    return {
      name: row.querySelector('.name').textContent,
      top: Math.round(row.getBoundingClientRect().top), // in the window
      state: row.dataset.state,
      size: row.querySelector('.size').textContent.replaceAll('\u00a0', ' '),
      line: row.querySelector('.line').textContent.trim().replaceAll('\u00a0', ' '),
      percent: bar ? bar.value : null, // of the whole way
      poster: image && { width: image.naturalWidth, height: image.naturalHeight, url: image.src },
      buttons: Array.from(row.querySelectorAll('button'), (button) => button.ariaLabel),
    }
  })
}

/** The uploads that the page has stored, by their segments. */
async function stored() {
  const names = (await indexedDB.databases()).map(({ name }) => name).filter((name) => name.startsWith('videodock:'))
  const found = names.map(
    (name) =>
      new Promise((resolve, reject) => {
        const opening = indexedDB.open(name)
        opening.onerror = () => reject(opening.error)
        opening.onsuccess = () => {
          const keys = opening.result.transaction('uploads').objectStore('uploads').getAllKeys()
          keys.onsuccess = () => {
            opening.result.close()
            resolve(keys.result)
          }
        }
      }),
  )
  return (await Promise.all(found)).flat()
}

/** By how many pixels the page is wider than the window, and what sticks out of it. */
function wide() {
  const room = document.documentElement.clientWidth
  const out = Array.from(document.querySelectorAll('body *:not(.unseen)')).filter((element) => {
    const { width, right, left } = element.getBoundingClientRect()
    return width > 0 && (right > room + 0.5 || left < -0.5)
  })
  return { by: document.documentElement.scrollWidth - room, out: out.map((element) => element.outerHTML.slice(0, 80)) }
}

const read = (paths) =>
  Promise.all(
    paths.map(async (path) => ({
      name: basename(path),
      data: (await readFile(path)).toString('base64'),
      type: MIME[path.split('.').pop()] ?? '',
    })),
  )

/** A transfer that carries files. */
function carried(files) {
  const made = new DataTransfer()
  for (const { name, data, type } of files) {
    const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0))
    made.items.add(new File([bytes], name, { type }))
  }
  return made
}

/** Let the browser's chooser give handles of these files: no driver can press its buttons. */
async function keep(files) {
  const folder = await navigator.storage.getDirectory()
  const handles = []
  for (const { name, data } of files) {
    const handle = await folder.getFileHandle(name, { create: true })
    const stream = await handle.createWritable()
    await stream.write(Uint8Array.from(atob(data), (character) => character.charCodeAt(0)))
    await stream.close()
    handles.push(handle)
  }
  window.showOpenFilePicker = async () => handles
}

function steps(page, network) {
  return {
    /** As with a keyboard: focus on the button, Enter, and the chooser that opens. */
    async choose(...paths) {
      const opened = page.waitForEvent('filechooser')
      await page.focus('#choose')
      await page.keyboard.press('Enter')
      await (await opened).setFiles(paths)
    },
    /** Choose files by the browser's own chooser, which gives handles; `keep` puts them where there are such. */
    async pick(...paths) {
      await page.evaluate(keep, await read(paths))
      await page.click('#choose')
    },
    async drop(...paths) {
      const transfer = await page.evaluateHandle(carried, await read(paths))
      await page.dispatchEvent('body', 'dragover', { dataTransfer: transfer })
      await page.waitForSelector('.drop-target')
      await page.dispatchEvent('body', 'drop', { dataTransfer: transfer })
    },
    /** As with Ctrl+V, after files have been copied elsewhere. */
    async paste(...paths) {
      const transfer = await page.evaluateHandle(carried, await read(paths))
      await page.evaluate((transfer) => {
        document.body.dispatchEvent(new ClipboardEvent('paste', { clipboardData: transfer, bubbles: true }))
      }, transfer)
    },
    async chooseFolder(path) {
      const opened = page.waitForEvent('filechooser')
      await page.click('#choose-folder')
      await (await opened).setFiles(path)
    },
    click: (selector) => page.click(selector),
    fill: (selector, text) => page.fill(selector, text),
    /** Write where the focus is. */
    type: (text) => page.keyboard.type(text),
    key: (key) => page.keyboard.press(key),
    press: (selector, key) => page.press(selector, key),
    hover: (selector) => page.hover(selector),
    async clipboard() {
      await page.context().grantPermissions(['clipboard-read', 'clipboard-write'])
      say('clipboard', { text: await page.evaluate(() => navigator.clipboard.readText()) })
    },
    /** Send the form for browsers without JavaScript; what the server answers is then the page. */
    async submit(...paths) {
      await page.setInputFiles('#plain-files', paths)
      await page.click('.plain button')
      await page.waitForURL('**/api/upload/videos?answer=page')
      say('answer', { text: await page.textContent('body') })
    },
    reload: () => page.reload(),
    /** Close the tab as a person does, who is asked about uploads that are not at their end; and open another one. */
    async reopen() {
      const closed = page.waitForEvent('close')
      await page.close({ runBeforeUnload: true })
      await closed
      ;[page, network] = await openTab()
      await page.goto(given.url)
    },
    /** Wait until the server no longer knows the sign-in of this browser. */
    async signedOut() {
      const ask = () => page.evaluate(async () => (await (await fetch('api/session')).json()).signed_in)
      while (await ask()) await page.waitForTimeout(50)
    },
    /** Wait until the server cannot be reached. */
    async unreachable() {
      const ask = () => page.evaluate(() => fetch('healthz').then(() => true, () => false))
      while (await ask()) await page.waitForTimeout(50)
    },
    /** Wait for so many rows in a state. */
    until: (state, count = 1) =>
      page.waitForFunction(
        ([state, count]) => document.querySelectorAll(`.row[data-state="${state}"]`).length >= count,
        [state, count],
        { polling: 20 },
      ),
    /** Wait until so much of the first row's file is sent. */
    percent: (least) =>
      page.waitForFunction(
        ([least, share]) => document.querySelector('.row progress')?.value >= least * share,
        [least, UPLOAD_SHARE],
        { polling: 20 },
      ),
    /** Wait until bytes of all files have left the browser. */
    moving: (count) =>
      page.waitForFunction(
        (count) => {
          const bars = Array.from(document.querySelectorAll('.row progress'))
          return bars.length === count && bars.every(({ value }) => value > 0)
        },
        count,
        { polling: 20 },
      ),
    visible: (selector) => page.waitForSelector(selector),
    gone: (selector) => page.waitForSelector(selector, { state: 'detached' }),
    /** Wait for an element, also one that is not shown. */
    present: (selector) => page.waitForSelector(selector, { state: 'attached' }),
    text: (wanted) =>
      page.waitForFunction((wanted) => document.body.innerText.includes(wanted), wanted, { polling: 50 }),
    throttle: (rate) => throttle(network, rate),
    /** Let so many requests to an address get no answer. */
    fail: (pattern, times) => page.route(pattern, (route) => route.abort(), { times }),
    /** Sign out in another window of the same browser. */
    async signOutElsewhere() {
      const other = await page.context().newPage()
      await other.goto(given.url)
      await other.click('#sign-out')
      await other.waitForSelector('#credential')
      await other.close()
    },
    dropCookies: () => page.context().clearCookies(),
    /** Take the network away from the browser, or give it back. */
    offline: (isOffline) => page.context().setOffline(isOffline),
    size: (width, height) => page.setViewportSize({ width, height }),
    scroll: (to) => page.evaluate((to) => window.scrollTo({ top: to, behavior: 'instant' }), to),
    photograph: (path) => page.screenshot({ path, fullPage: true }),
    /** Let the page be wrong about the offset, in the next PATCH. */
    confuse: () =>
      page.route('**/files/*-*', (route) => {
        const headers = { ...route.request().headers(), 'upload-offset': '7' }
        return route.continue({ headers })
      }, { times: 1 }),
    /** Let the server seem busy, at the next PATCH. */
    busy: (body, seconds) =>
      page.route('**/files/*-*', (route) =>
        route.fulfill({ status: 503, headers: { 'Retry-After': String(seconds) }, contentType: 'text/plain', body }),
      { times: 1 }),
    /** Take the upload that the page remembers away from under it. */
    lose: () =>
      page.evaluate(async () => {
        const id = document.querySelector('.row').id.replace('row-', '')
        await fetch(`files/${id}`, { method: 'DELETE', headers: { 'Tus-Resumable': '1.0.0' } })
      }),
    /** Another window of the same browser, in which that text is to be seen. */
    async elsewhere(text) {
      const other = await page.context().newPage()
      await other.goto(given.url)
      await other.waitForFunction((text) => document.body.innerText.includes(text), text, { polling: 50 })
      await other.close()
    },
    axe: (label) => examine(page, label),
    wait: (milliseconds) => page.waitForTimeout(milliseconds),
    async look(label) {
      say('look', {
        label,
        lang: await page.evaluate(() => document.documentElement.lang),
        text: (await page.evaluate(() => document.body.innerText)).replaceAll('\u00a0', ' '),
        news: await page.textContent('#news'),
        focus: await page.evaluate(() => document.activeElement.id),
        stored: await page.evaluate(stored),
        tooWide: await page.evaluate(wide),
        rows: await page.evaluate(rows),
      })
    },
  }
}

await visit(async (page, network) => {
  await page.context().addInitScript((keeps) => {
    // The browser's chooser cannot be driven; without it the page uses a file input.
    delete window.showOpenFilePicker
    // Without room, the page copies no file into the browser's storage.
    if (!keeps) navigator.storage.estimate = async () => ({ usage: 0, quota: 0 })
    document.addEventListener('securitypolicyviolation', (event) => {
      console.error(`policy violated: ${event.violatedDirective} ${event.blockedURI}`)
    })
  }, given.keeps ?? true)
  await page.goto(given.url)
  await take(steps(page, network))
}, { javaScriptEnabled: !given.plain })
