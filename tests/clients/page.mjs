// Drive the upload page in headless Chromium, step by step, and print what happens, one JSON object a line.
//
// Options beside those of chromium.mjs: url (of the page), steps (arrays: the name of a step and its arguments).

import { readFile } from 'node:fs/promises'
import { basename } from 'node:path'

import { given, say, take, throttle, visit } from './chromium.mjs'

const MIME = { mp4: 'video/mp4', mov: 'video/quicktime' }

/** Every row as a person finds it. */
function rows() {
  return Array.from(document.querySelectorAll('.row'), (row) => {
    const image = row.querySelector('.picture img')
    const bar = row.querySelector('progress')
    const video = row.querySelector('.player video')
    return {
      name: row.querySelector('.name').textContent,
      top: Math.round(row.getBoundingClientRect().top), // in the window
      state: row.dataset.state,
      size: row.querySelector('.size').textContent.replaceAll('\u00a0', ' '),
      line: row.querySelector('.line').textContent.trim().replaceAll('\u00a0', ' '),
      percent: bar.hidden ? null : bar.value,
      poster: image && { width: image.naturalWidth, height: image.naturalHeight, url: image.src },
      player: video && { url: video.src, poster: video.poster, time: video.currentTime, isPaused: video.paused },
      buttons: Array.from(row.querySelectorAll('button:not([hidden])'), (button) => button.ariaLabel),
    }
  })
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

function steps(page, network) {
  return {
    /** As with a keyboard: focus on the button, Enter, and the chooser that opens. */
    async choose(...paths) {
      const opened = page.waitForEvent('filechooser')
      await page.focus('#choose')
      await page.keyboard.press('Enter')
      await (await opened).setFiles(paths)
    },
    async drop(...paths) {
      const read = async (path) => ({ name: basename(path), data: (await readFile(path)).toString('base64') })
      const files = await Promise.all(paths.map(read))
      const transfer = await page.evaluateHandle(({ files, mime }) => {
        const made = new DataTransfer()
        for (const { name, data } of files) {
          const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0))
          made.items.add(new File([bytes], name, { type: mime[name.split('.').pop()] ?? '' }))
        }
        return made
      }, { files, mime: MIME })
      await page.dispatchEvent('#zone', 'dragover', { dataTransfer: transfer })
      await page.dispatchEvent('#zone', 'drop', { dataTransfer: transfer })
    },
    /** Let everything that is dropped from now on be a folder. */
    folders: () =>
      page.evaluate(() => {
        DataTransferItem.prototype.webkitGetAsEntry = () => ({ isDirectory: true })
      }),
    click: (selector) => page.click(selector),
    fill: (selector, text) => page.fill(selector, text),
    /** Write where the focus is. */
    type: (text) => page.keyboard.type(text),
    key: (key) => page.keyboard.press(key),
    press: (selector, key) => page.press(selector, key),
    hover: (selector) => page.hover(selector),
    /** Wait until the player has come so far, in seconds. */
    played: (seconds) =>
      page.waitForFunction(
        (seconds) => document.querySelector('.player video')?.currentTime >= seconds,
        seconds,
        { polling: 50 },
      ),
    async clipboard() {
      await page.context().grantPermissions(['clipboard-read', 'clipboard-write'])
      say('clipboard', { text: await page.evaluate(() => navigator.clipboard.readText()) })
    },
    reload: () => page.reload(),
    /** Wait for so many rows in a state. */
    until: (state, count = 1) =>
      page.waitForFunction(
        ([state, count]) => document.querySelectorAll(`.row[data-state="${state}"]`).length >= count,
        [state, count],
        { polling: 20 },
      ),
    /** Wait until the first bar stands at so much. */
    percent: (least) =>
      page.waitForFunction((least) => document.querySelector('.row progress')?.value >= least, least, { polling: 20 }),
    visible: (selector) => page.waitForSelector(selector),
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
    /** Start the first player as its own controls do. */
    playFirst: () => page.evaluate(() => document.querySelector('video').play()),
    /** Wait until the player at that place moves, and no other. */
    playing: (place) =>
      page.waitForFunction(
        (place) =>
          Array.from(document.querySelectorAll('video')).every(
            (video, at) => video.paused === (at !== place) && video.currentTime > 0,
          ),
        place,
        { polling: 50 },
      ),
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
        const { id } = JSON.parse(Object.entries(localStorage).find(([name]) => name.startsWith('videodock:'))[1])
        await fetch(`files/${id}`, { method: 'DELETE', headers: { 'Tus-Resumable': '1.0.0' } })
      }),
    wait: (milliseconds) => page.waitForTimeout(milliseconds),
    async look(label) {
      say('look', {
        label,
        lang: await page.evaluate(() => document.documentElement.lang),
        text: (await page.evaluate(() => document.body.innerText)).replaceAll('\u00a0', ' '),
        news: await page.textContent('#news'),
        focus: await page.evaluate(() => document.activeElement.id),
        stored: await page.evaluate(() => Object.keys(localStorage)),
        tooWide: await page.evaluate(wide),
        rows: await page.evaluate(rows),
      })
    },
  }
}

await visit(async (page, network) => {
  await page.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', (event) => {
      console.error(`policy violated: ${event.violatedDirective} ${event.blockedURI}`)
    })
  })
  await page.goto(given.url)
  await take(steps(page, network))
})
