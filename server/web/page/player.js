// Playing a video in its row, the link to it, and previews before it is played.
//
// Rule: it plays what the server made: the MP4, or HLS where the browser itself can. It loads nothing of a video
// before it is needed.

import { BASE } from './server.js'
import { text } from './texts.js'

const HLS = 'application/vnd.apple.mpegurl'
const PLACE = /#xywh=(\d+),(\d+),(\d+),(\d+)/g

/** The address below this page of a result; null when there is none. */
export function address(url) {
  // As with Location, only the path below the page counts.
  const path = /media\/[^?#]+$/.exec(url ?? '')?.[0]
  return path ? new URL(path, BASE).href : null
}

/** The address of what this browser can play of an item; null while there is nothing. */
export function playable({ result }) {
  if (!result?.playable) return null
  if (result.mp4_url) return address(result.mp4_url)
  return document.createElement('video').canPlayType(HLS) ? address(result.hls_url) : null
}

/** The address for other players and other people. */
export function link({ result }) {
  return result?.playable ? address(result.mp4_url ?? result.hls_url) : null
}

/** Open the player of an item and play, or close it. */
export function togglePlayer(item) {
  const { player } = item.row
  if (!player.hidden) {
    closePlayer(item)
    return
  }
  // One at a time: a second player would talk over the first.
  for (const other of document.querySelectorAll('video')) other.pause()
  const video = document.createElement('video')
  video.controls = true
  video.playsInline = true
  video.preload = 'none'
  // The place is kept free from the beginning, so that nothing jumps.
  video.width = item.result.width ?? 16
  video.height = item.result.height ?? 9
  video.setAttribute('aria-label', text('player_of', { name: item.name }))
  video.poster = address(item.result.poster_url) ?? ''
  video.src = playable(item)
  video.onplay = () => {
    for (const other of document.querySelectorAll('video')) if (other !== video) other.pause()
  }
  player.replaceChildren(video)
  player.hidden = false
  player.scrollIntoView({ block: 'nearest' })
  // Refused where sound needs another gesture; the controls are there.
  video.play().catch(() => {})
}

export function closePlayer({ row: { player } }) {
  const video = player.firstElementChild
  player.hidden = true
  // Otherwise a browser goes on loading.
  video?.removeAttribute('src')
  video?.load()
  player.replaceChildren()
}

/** Put an address on the clipboard; returns whether that worked. */
export async function copy(words) {
  try {
    await navigator.clipboard.writeText(words)
    return true
  } catch {
    // Over plain http there is no such clipboard, and the old way is the only one.
    return copyBySelection(words)
  }
}

function copyBySelection(words) {
  const before = document.activeElement
  const field = document.createElement('textarea')
  field.className = 'unseen'
  field.value = words
  document.body.append(field)
  field.select()
  const done = document.execCommand('copy')
  field.remove()
  before?.focus()
  return done
}

/** While a mouse moves over `frame`, show the moments of an item's video from left to right. */
export function offerLook(item, frame) {
  const shown = document.createElement('div')
  shown.className = 'look'
  shown.hidden = true
  frame.append(shown)
  frame.addEventListener('pointermove', async (event) => {
    const cues = address(item.result.storyboard_url)
    if (!cues || event.pointerType !== 'mouse') return
    const { left, width, height } = frame.getBoundingClientRect()
    const share = Math.min(0.999, Math.max(0, (event.clientX - left) / width))
    item.board ??= loadBoard(cues)
    const board = await item.board
    // The mouse may have left meanwhile.
    if (board && frame.matches(':hover')) showMoment(shown, board, share, width, height)
  })
  frame.addEventListener('pointerleave', () => {
    shown.hidden = true
  })
}

async function loadBoard(cues) {
  try {
    const response = await fetch(cues)
    const places = Array.from((await response.text()).matchAll(PLACE), ([, ...numbers]) => numbers.map(Number))
    const sheet = new Image()
    sheet.src = new URL('storyboard.jpg', cues)
    await sheet.decode()
    return places.length ? { places, sheet } : null
  } catch {
    return null // only a convenience
  }
}

function showMoment(shown, { places, sheet }, share, width, height) {
  const [x, y, w, h] = places[Math.floor(share * places.length)]
  const scale = Math.min(width / w, height / h)
  Object.assign(shown.style, {
    width: `${w * scale}px`,
    height: `${h * scale}px`,
    backgroundImage: `url("${sheet.src}")`,
    backgroundPosition: `${-x * scale}px ${-y * scale}px`,
    backgroundSize: `${sheet.naturalWidth * scale}px ${sheet.naturalHeight * scale}px`,
  })
  shown.hidden = false
}
