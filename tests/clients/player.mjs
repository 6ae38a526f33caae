// Play and seek in headless Chromium, and print what a viewer gets, one JSON object an item.
//
// Options beside those of chromium.mjs: items, each with name, path (of the MP4 or of the HLS master), points (seconds
// to seek to). An HLS master is played by hls.js through Media Source Extensions. The event `watched` of an item has
// duration, width, height, sound (whether a track of sound was decoded), seeks (to, time, picture), ended (the time at
// the end of playing), and error: the first thing that went wrong, or null. A picture is 16 x 12 luma values.

import { createReadStream, statSync } from 'node:fs'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import { dirname, basename, extname, join, normalize } from 'node:path'

import { given, say, visit } from './chromium.mjs'

const HLS = createRequire(import.meta.url).resolve('hls.js/dist/hls.min.js')
const TYPES = {
  '.mp4': 'video/mp4',
  '.m4s': 'video/iso.segment',
  '.m3u8': 'application/vnd.apple.mpegurl',
  '.js': 'text/javascript',
}

/** The file that an address stands for: /<number of the item>/<path beside its file>. */
function locate(url) {
  const path = normalize(decodeURIComponent(new URL(url, 'http://localhost').pathname))
  if (path === '/hls.js') return HLS
  const [, number, ...rest] = path.split('/')
  const item = given.items[Number(number)]
  return item && join(dirname(item.path), ...rest)
}

function answer(request, response) {
  if (request.url === '/') {
    response.writeHead(200, { 'Content-Type': 'text/html' })
    response.end('<!doctype html><title>player</title><body></body>')
    return
  }
  const path = locate(request.url)
  let size
  try {
    size = statSync(path).size
  } catch {
    response.writeHead(404)
    response.end()
    return
  }
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '')
  const start = range ? Number(range[1]) : 0
  const end = range && range[2] ? Math.min(Number(range[2]), size - 1) : size - 1
  if (start > end) {
    response.writeHead(size ? 416 : 200, { 'Content-Range': `bytes */${size}` })
    response.end()
    return
  }
  response.writeHead(range ? 206 : 200, {
    'Accept-Ranges': 'bytes',
    'Content-Type': TYPES[extname(path)] ?? 'application/octet-stream',
    'Content-Length': end - start + 1,
    ...(range ? { 'Content-Range': `bytes ${start}-${end}/${size}` } : {}),
  })
  createReadStream(path, { start, end }).pipe(response)
}

/** Runs in the page. */
async function watch({ url, hls, points, patience }) {
  const found = { duration: null, width: 0, height: 0, sound: false, seeks: [], ended: null, error: null }
  const video = document.createElement('video')
  video.muted = true
  video.playsInline = true
  document.body.append(video)
  let fail
  const failed = new Promise((_, reject) => (fail = (why) => reject(new Error(why))))
  failed.catch(() => {})
  video.addEventListener('error', () => fail(`video: ${video.error?.message || video.error?.code}`))
  const within = (promise, what) => {
    let timer
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`no end of waiting: ${what}`)), patience * 1000)
    })
    return Promise.race([promise, failed, late]).finally(() => clearTimeout(timer))
  }
  const heard = (name) => new Promise((resolve) => video.addEventListener(name, resolve, { once: true }))
  const shown = () => new Promise((resolve) => video.requestVideoFrameCallback((_, facts) => resolve(facts)))
  const canvas = document.createElement('canvas')
  canvas.width = 16
  canvas.height = 12
  const picture = () => {
    const context = canvas.getContext('2d', { willReadFrequently: true })
    context.imageSmoothingQuality = 'high'
    context.drawImage(video, 0, 0, canvas.width, canvas.height)
    const { data } = context.getImageData(0, 0, canvas.width, canvas.height)
    const luma = []
    for (let at = 0; at < data.length; at += 4) {
      luma.push(Math.round(0.2126 * data[at] + 0.7152 * data[at + 1] + 0.0722 * data[at + 2]))
    }
    return luma
  }
  let player = null
  try {
    const ready = heard('loadeddata')
    if (hls) {
      player = new window.Hls({ enableWorker: false })
      player.on(window.Hls.Events.ERROR, (_, data) => {
        if (data.fatal) fail(`hls.js: ${data.details} ${data.error?.message ?? ''}`)
      })
      player.loadSource(url)
      player.attachMedia(video)
    } else {
      video.src = url
    }
    await within(ready, 'loading')
    found.duration = video.duration
    found.width = video.videoWidth
    found.height = video.videoHeight
    for (const to of points) {
      const frame = shown()
      const arrived = heard('seeked')
      video.currentTime = Math.min(to, video.duration)
      await within(arrived, `seeking to ${to}`)
      // A seek to the frame that is shown already need not show one anew.
      const facts = await Promise.race([within(frame, 'a frame'), new Promise((go) => setTimeout(go, 500, null))])
      found.seeks.push({ to, time: video.currentTime, frame: facts?.mediaTime ?? null, picture: picture() })
    }
    const back = heard('seeked')
    video.currentTime = 0
    await within(back, 'seeking to the start')
    const started = new Promise((resolve) => {
      const look = () => (video.currentTime > 0.2 || video.ended ? resolve() : setTimeout(look, 20))
      look()
    })
    await within(video.play(), 'playing')
    await within(started, 'the first moments')
    const ended = heard('ended')
    if (!video.ended) {
      if (video.currentTime < video.duration - 0.7) video.currentTime = video.duration - 0.7
      await within(ended, 'the end')
    }
    found.ended = video.currentTime
    found.sound = (video.webkitAudioDecodedByteCount ?? 0) > 0
  } catch (error) {
    found.error = error.message
  } finally {
    player?.destroy()
    video.removeAttribute('src')
    video.load()
    video.remove()
  }
  return found
}

async function run(page, port) {
  await page.goto(`http://127.0.0.1:${port}/`)
  await page.addScriptTag({ url: '/hls.js' })
  for (const [number, item] of given.items.entries()) {
    const hls = item.path.endsWith('.m3u8')
    const url = `/${number}/${encodeURIComponent(basename(item.path))}`
    const found = await page.evaluate(watch, { url, hls, points: item.points, patience: given.patience ?? 20 })
    say('watched', { name: item.name, hls, ...found })
  }
  say('done')
}

const server = createServer(answer)
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
try {
  await visit((page) => run(page, server.address().port))
} finally {
  server.closeAllConnections()
  server.close()
}
