// Drive the pages of videos in headless Chromium, step by step, and print what happens, one JSON object a line.
//
// Options beside those of chromium.mjs: url (of the page), steps (arrays: the name of a step and its arguments), and
// `values`: names for texts. A step keeps a text under a name (`keep`), and `{name}` in an argument stands for it.

import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'

import { examine } from './axe.mjs'
import { given, say, take, visit } from './chromium.mjs'

/** More places than a view has that take the focus. */
const MOST_STOPS = 60

const values = new Map()
const fill = (value) =>
  typeof value === 'string' ? value.replace(/\{(\w+)\}/g, (all, name) => values.get(name) ?? all) : value

/** All players of the page, as a viewer finds them. */
function players() {
  return Array.from(document.querySelectorAll('.player'), (player) => {
    const video = player.querySelector('video')
    return {
      phase: player.dataset.phase,
      time: video.currentTime,
      paused: video.paused,
      ended: video.ended,
      rate: video.playbackRate,
      muted: video.muted,
      width: player.clientWidth,
      height: player.clientHeight,
      shown: video.videoWidth / video.videoHeight,
      isStream: video.currentSrc.startsWith('blob:'),
      source: video.currentSrc,
      // Firefox tells whether there is a track of sound that it plays, and not how much of it it has decoded.
      sound: video.webkitAudioDecodedByteCount > 0 || video.mozHasAudio === true,
      level: player.querySelector('.player-quality')?.textContent ?? null,
    }
  })
}

function videos() {
  return Array.from(document.querySelectorAll('.video'), (video) => ({
    name: video.querySelector('.video-name')?.textContent ?? null,
    state: video.dataset.state,
    line: video.querySelector('.video-line').textContent.replaceAll('\u00a0', ' '),
    place: Number(video.ariaPosInSet),
    isSelected: video.querySelector('.video-check').checked,
  }))
}

/** Wait until something is true. */
async function becomes(look, what = String(look)) {
  const deadline = Date.now() + (given.seconds ?? 60) * 1000
  while (!(await look())) {
    if (Date.now() > deadline) throw new Error(`never true: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 40))
  }
}

function steps(page) {
  const context = page.context()
  /** Open a page of another site with frames of these addresses, and use them. */
  async function embedded(addresses, use) {
    const frames = addresses.map((one) => `<iframe src="${new URL(one, given.url)}" width="640" height="360"></iframe>`)
    const html = `<!doctype html><title>blog</title>${frames.join('')}`
    const foreign = createServer((_, answer) => answer.writeHead(200, { 'Content-Type': 'text/html' }).end(html))
    await new Promise((resolve) => foreign.listen(0, '127.0.0.1', resolve))
    try {
      // Another host name is another site, on the same machine.
      await page.goto(`http://localhost:${foreign.address().port}/`)
      const shown = page.frames().slice(1)
      await Promise.all(shown.map((frame) => frame.waitForLoadState()))
      await use(shown)
    } finally {
      foreign.closeAllConnections()
      foreign.close()
    }
  }
  return {
    goto: (address) => page.goto(new URL(address, given.url).href),
    reload: () => page.reload(),
    back: () => page.goBack(),
    click: (selector) => page.click(selector),
    /** With Shift held. */
    shiftClick: (selector) => page.click(selector, { modifiers: ['Shift'] }),
    hover: (selector) => page.hover(selector),
    /** Point at a share of an element's width. */
    async point(selector, share) {
      // First where it is: what fades or slides in has no place yet that a pointer can go to.
      await page.locator(selector).first().hover()
      const { x, y, width, height } = await page.locator(selector).first().boundingBox()
      await page.mouse.move(x + width * share, y + height / 2, { steps: 4 })
    },
    fill: (selector, text) => page.fill(selector, text),
    select: (selector, value) => page.selectOption(selector, value),
    key: (key) => page.keyboard.press(key),
    press: (selector, key) => page.press(selector, key),
    /** Press a key, Tab if no other is named, until the focus is on an element, as somebody without a mouse goes there. */
    async walk(selector, key = 'Tab') {
      const isThere = () => page.locator(selector).first().evaluate((element) => element === document.activeElement)
      for (let count = 0; !(await isThere()); count++) {
        if (count === MOST_STOPS) throw new Error(`${key} does not lead to ${selector}`)
        await page.keyboard.press(key)
      }
    },
    type: (text) => page.keyboard.type(text),
    files: (selector, ...paths) => page.setInputFiles(selector, paths),
    visible: (selector) => page.waitForSelector(selector),
    gone: (selector) => page.waitForSelector(selector, { state: 'detached' }),
    text: (wanted) =>
      page.waitForFunction((wanted) => document.body.innerText.replaceAll('\u00a0', ' ').includes(wanted), wanted, {
        polling: 50,
      }),
    /** Wait for exactly so many videos on the screen. */
    shown: (number) =>
      page.waitForFunction((number) => document.querySelectorAll('.video').length === number, number, { polling: 50 }),
    /** Wait until an expression is true in the page. */
    // Not by `waitForFunction`, which makes a function of a text: the page's policy does not allow that.
    is: (expression) => becomes(() => page.evaluate(expression), expression),
    /** Wait until the first player has come so far, in seconds. */
    played: (seconds) =>
      page.waitForFunction((seconds) => document.querySelector('.player video')?.currentTime >= seconds, seconds, {
        polling: 30,
      }),
    /** Scroll to the end until all of so many videos are loaded. */
    async scrollTo(total) {
      await page.waitForFunction(
        (total) => {
          window.scrollTo({ top: document.documentElement.scrollHeight, behavior: 'instant' })
          return document.querySelector(`.video[aria-posinset="${total}"]`) !== null
        },
        total,
        { polling: 30 },
      )
    },
    scroll: (top) => page.evaluate((top) => window.scrollTo({ top, behavior: 'instant' }), top),
    async keep(name, expression) {
      values.set(name, await page.evaluate(expression))
    },
    /** A page of another site with a frame. */
    frame: (address) =>
      embedded([address], async ([frame]) => {
        // A browser shows a page of its own in place of a frame that is refused.
        const isRefused = frame.url().startsWith('chrome-error:')
        if (!isRefused) await frame.waitForSelector('.player')
        say('framed', { isPlayer: !isRefused, url: frame.url() })
      }),
    /** A page of another site with two frames: play in one and then in the other one, until the first has stopped. */
    frames: (address) =>
      embedded([address, address], async (frames) => {
        const video = (selector) => `document.querySelector('.player video')${selector}`
        for (const frame of frames) {
          await frame.click('.player-middle')
          await becomes(() => frame.evaluate(video('.currentTime > 0.3')))
        }
        await becomes(() => frames[0].evaluate(video('.paused')))
        say('frames', { paused: await Promise.all(frames.map((frame) => frame.evaluate(video('.paused')))) })
      }),
    clipboard: async () => {
      await context.grantPermissions(['clipboard-read', 'clipboard-write'])
      say('clipboard', { text: await page.evaluate(() => navigator.clipboard.readText()) })
    },
    allowClipboard: () => context.grantPermissions(['clipboard-read', 'clipboard-write']),
    /** Let so many seconds pass, by the page's clock, before the next request of a pattern goes on. */
    async holdUp(pattern, seconds) {
      await page.clock.install()
      const pass = async (route) => {
        await page.clock.fastForward(seconds * 1000)
        await route.continue()
      }
      await page.route(pattern, pass, { times: 1 })
    },
    fail: (pattern, times) => page.route(pattern, (route) => route.abort(), { times }),
    /** Press what saves a file, and tell what is in it. */
    async download(selector) {
      const [file] = await Promise.all([page.waitForEvent('download'), page.click(selector)])
      say('downloaded', { name: file.suggestedFilename(), text: readFileSync(await file.path(), 'utf8') })
    },
    size: (width, height) => page.setViewportSize({ width, height }),
    scheme: (colorScheme) => page.emulateMedia({ colorScheme, reducedMotion: 'reduce' }),
    photograph: (path, fullPage = true) => page.screenshot({ path, fullPage, animations: 'disabled' }),
    /** Wait until the pictures on the screen are there and two frames are drawn. */
    settle: () =>
      page.evaluate(async () => {
        const isNear = (image) => image.checkVisibility() && image.getBoundingClientRect().top < innerHeight
        const images = Array.from(document.images).filter(isNear)
        // One that fails to load is drawn as what it is.
        await Promise.all(images.map((image) => image.decode().catch(() => {})))
        for (let frame = 0; frame < 2; frame++) await new Promise(requestAnimationFrame)
      }),
    /** Answer what matches as a server in that state would. */
    answer: (pattern, status, body) => page.route(pattern, (route) => route.fulfill({ status, json: body })),
    /** Never answer what matches. */
    hold: (pattern) => page.route(pattern, () => {}),
    offline: () => context.setOffline(true),
    /** What the server answers to a request of this page. */
    async ask(method, address) {
      const status = await page.evaluate(
        async ([method, address]) => (await fetch(address, { method })).status,
        [method, address],
      )
      say('asked', { method, address, status })
    },
    close: () => page.goto('about:blank'),
    axe: (label) => examine(page, label),
    async look(label) {
      say('look', {
        label,
        lang: await page.evaluate(() => document.documentElement.lang),
        title: await page.title(),
        path: await page.evaluate(() => location.pathname + location.search),
        text: (await page.evaluate(() => document.body.innerText)).replaceAll('\u00a0', ' '),
        wide: await page.evaluate(() => document.documentElement.scrollWidth - innerWidth),
        focus: await page.evaluate(() => document.activeElement.className),
        drawn: await page.evaluate(() => document.querySelectorAll('.video').length),
        players: await page.evaluate(players),
        videos: await page.evaluate(videos),
        values: Object.fromEntries(values),
      })
    },
  }
}

await visit(async (page) => {
  await page.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', (event) => {
      console.error(`policy violated: ${event.violatedDirective} ${event.blockedURI}`)
    })
  })
  const available = steps(page)
  const filled = Object.fromEntries(
    Object.entries(available).map(([name, act]) => [name, (...args) => act(...args.map(fill))]),
  )
  await page.goto(new URL(given.path ?? '', given.url).href)
  await take(filled)
})
