// Drawing: the rows, the line above them, the tab's title, and the announcements for screen readers.
//
// Rule: it shows the facts as they are; `enter` and `fail` alone change any. It knows how a button looks and not what
// it does: page.js listens for the presses.

import {
  CANCELLED, DONE, FAILED, PAUSED, RETRYING, UNCHOSEN, UPLOADING, WAITING, WATCHING,
  hasEnded, isRunning, items, speed,
} from './items.js'
import { address, closePlayer, link, offerLook, playable } from './player.js'
import { bytes, clock, codec, hasText, number, reasonText, text, timespan } from './texts.js'

export const page = {
  language: document.querySelector('#language'),
  sign_out: document.querySelector('#sign-out'),
  accepted: document.querySelector('#accepted'),
  choose: document.querySelector('#choose'),
  files: document.querySelector('#files'),
  notice: document.querySelector('#notice'),
  videos: document.querySelector('#videos'),
  summary: document.querySelector('#summary'),
  clear: document.querySelector('#clear'),
  list: document.querySelector('#list'),
  news: document.querySelector('#news'),
  template: document.querySelector('#row'),
  play: document.querySelector('#play'),
}

// Buttons without an icon have a text.
const LOOKS = {
  pause: { icon: 'pause' },
  resume: { icon: 'play' },
  try_now: {},
  choose_again: {},
  remove: { icon: 'cross' },
  remove_sure: { danger: true },
  cancel: {},
  dismiss: { icon: 'cross' },
  copy_link: { icon: 'link' },
  copied: { icon: 'check' },
}

/** Put an item into a state, and show and announce it. */
export function enter(item, state) {
  item.state = state
  item.asked = false
  render(item)
  renderList()
  announce(item, state === DONE ? `${text('done')} ${resultLine(item)}` : describe(item).line)
}

/** Put an item into its end, for a reason: a sentence by language. */
export function fail(item, reason) {
  item.reason = reason
  enter(item, FAILED)
}

/** Announce to a screen reader, in one place: a live region that is created with its text is not read out. */
export function announce(item, sentence) {
  page.news.textContent = item ? `${item.name}: ${sentence}` : sentence
}

function percentOf(item) {
  // Rounded down: 100% is said when it is true.
  return item.size === 0 ? 0 : Math.floor((100 * item.sent) / item.size)
}

/** The view of a row: a line of text, a tone, the bar (undefined: none, null: going on), icon and buttons. */
function describe(item) {
  const percent = percentOf(item)
  const bar = item.size ? (100 * item.sent) / item.size : 0
  switch (item.state) {
    case WAITING:
      return { line: text('waiting'), tone: 'rest', bar, main: 'pause', second: 'remove' }
    case UPLOADING:
      return { line: uploadLine(item), tone: 'send', bar, main: 'pause', second: 'remove' }
    case RETRYING:
      return { line: retryLine(item), tone: 'warn', bar, icon: 'alert', main: 'try_now', second: 'remove' }
    case PAUSED:
      return { line: text('paused', { percent: number(percent) }), tone: 'rest', bar, main: 'resume', second: 'remove' }
    case UNCHOSEN: {
      const line = reasonText(item.reason) || text('unchosen', { percent: number(percent) })
      return { line, tone: 'rest', bar, main: 'choose_again', second: 'remove' }
    }
    case WATCHING:
      if (item.lost) {
        const line = navigator.onLine ? retryLine(item) : text('offline_watching')
        return { line, tone: 'warn', bar: item.percent ?? 0, icon: 'alert', main: 'try_now', second: 'cancel' }
      }
      if (item.task !== 'processing') return { line: text('queued'), tone: 'work', bar: null, second: 'cancel' }
      if (item.setAside) {
        return { line: item.setAside, tone: 'warn', icon: 'alert', bar: item.percent, second: 'cancel' }
      }
      return {
        line: processLine(item),
        tone: 'work',
        bar: item.percent || null,
        main: linkButton(item),
        second: 'cancel',
      }
    case DONE:
      return { line: resultLine(item), tone: 'good', icon: 'check', main: linkButton(item), second: 'dismiss' }
    case CANCELLED:
      return { line: text(item.deleted ? 'deleted' : 'cancelled'), tone: 'rest', second: 'dismiss' }
    default:
      return { line: reasonText(item.reason) || text('failed'), tone: 'bad', icon: 'alert', second: 'dismiss' }
  }
}

function uploadLine(item) {
  if (item.sent === 0 && item.samples.length === 0) return text('starting')
  const parts = [text('uploading', { percent: number(percentOf(item)) })]
  const rate = speed(item)
  if (rate !== null) {
    parts.push(text('speed', { speed: bytes(rate, true) }))
    if (rate > 0) parts.push(text('left', { time: timespan((item.size - item.sent) / rate) }))
  }
  return parts.join(' · ')
}

function retryLine(item) {
  if (!navigator.onLine) return text('offline')
  const seconds = (item.retryAt - Date.now()) / 1000
  if (seconds <= 0) return text('retrying_now')
  const time = timespan(seconds)
  if (!item.reason) return text('lost', { time })
  return text('busy', { reason: reasonText(item.reason), time })
}

function processLine(item) {
  const parts = [text('processing', { percent: number(item.percent) })]
  if (hasText(`step_${item.step}`)) parts.push(text(`step_${item.step}`))
  if (item.secondsLeft) parts.push(text('left', { time: timespan(item.secondsLeft) }))
  return parts.join(' · ')
}

function linkButton(item) {
  if (!link(item)) return undefined
  return item.copied ? 'copied' : 'copy_link'
}

function resultLine(item) {
  const file = item.result
  const parts = []
  if (file.duration) parts.push(clock(file.duration))
  if (file.width && file.height) parts.push(`${file.width}\u00a0×\u00a0${file.height}`)
  if (file.frame_rate) parts.push(text('fps', { n: number(file.frame_rate, 2) }))
  if (file.video_codec) parts.push(codec(file.video_codec))
  if (file.video_codec) parts.push(file.audio_codec ? codec(file.audio_codec) : text('no_sound'))
  for (const remark of file.remarks ?? []) parts.push(remark.message)
  return parts.join(' · ') || text('done')
}

function makeRow(item) {
  const root = page.template.content.firstElementChild.cloneNode(true)
  const find = (selector) => root.querySelector(selector)
  const row = {
    root,
    picture: find('.picture'),
    name: find('.name'),
    size: find('.size'),
    bar: find('progress'),
    line: find('.line span'),
    icon: find('.line svg'),
    main: find('.main'),
    second: find('.second'),
    player: find('.player'),
  }
  root.dataset.since = item.since
  row.name.textContent = item.name
  row.name.title = item.name
  page.list.insertBefore(root, olderRow(item))
  return row
}

/** The first row chosen before `item`, or null: the newest files come first, each choice in its order. */
function olderRow({ since }) {
  return Array.from(page.list.children).find((root) => Number(root.dataset.since) < since) ?? null
}

export function render(item) {
  item.row ??= makeRow(item)
  const { row } = item
  const view = describe(item)
  row.root.dataset.state = item.state
  row.root.dataset.tone = view.tone
  row.size.textContent = bytes(item.size)
  row.line.textContent = view.line
  renderIcon(row.icon, view.icon)
  renderBar(row.bar, view.bar, text('progress_of', { name: item.name }))
  const second = item.asked && view.second === 'remove' ? 'remove_sure' : view.second
  renderButton(row.second, second, item)
  // After the second: the focus of a button that vanishes goes there.
  renderButton(row.main, view.main, item)
  if (item.result) renderPicture(item)
}

function renderIcon(svg, name) {
  svg.toggleAttribute('hidden', !name)
  if (name) svg.firstElementChild.setAttribute('href', `#icon-${name}`)
}

function renderBar(bar, value, label) {
  bar.hidden = value === undefined
  bar.setAttribute('aria-label', label)
  if (value === null || value === undefined) bar.removeAttribute('value')
  else bar.value = value
}

function renderButton(button, name, item) {
  if (!name) {
    if (button === document.activeElement) item.row.second.focus()
    button.hidden = true
    return
  }
  const { icon, danger = false } = LOOKS[name]
  const label = text('about', { action: text(name), name: item.name })
  button.hidden = false
  button.dataset.action = name
  button.setAttribute('aria-label', label)
  button.title = icon ? text(name) : ''
  button.classList.toggle('has-words', !icon)
  button.classList.toggle('is-danger', danger)
  renderIcon(button.querySelector('svg'), icon)
  button.querySelector('span').textContent = icon ? '' : text(name)
}

/** The poster: pressed, it plays the video; without anything to play, it is a link to itself. */
function renderPicture(item) {
  const { picture, player } = item.row
  const canPlay = (item.state === WATCHING || item.state === DONE) && playable(item) !== null
  if (!canPlay && !player.hidden) closePlayer(item)
  const kind = canPlay ? 'play' : 'poster'
  const poster = address(item.result.poster_url)
  if (picture.dataset.kind !== kind && (poster || canPlay)) {
    picture.dataset.kind = kind
    const frame = canPlay ? playButton() : posterLink(poster)
    item.row.frame = frame
    // The preview stays until there is a picture to replace it.
    if (poster) frame.prepend(loaded(poster, () => show(item, frame)))
    else show(item, frame)
    if (canPlay) offerLook(item, frame)
  } else if (poster && item.row.frame && !item.row.frame.querySelector('img')) {
    // A copy is often playable before its poster is made.
    item.row.frame.prepend(loaded(poster, () => show(item, item.row.frame)))
  }
  if (item.row.frame) labelPicture(item, item.row.frame, canPlay)
}

function labelPicture(item, frame, canPlay) {
  if (!canPlay) {
    frame.querySelector('img').alt = text('poster_of', { name: item.name })
    return
  }
  const action = item.row.player.hidden ? 'play' : 'close_player'
  frame.dataset.action = action
  frame.title = text(action)
  frame.setAttribute('aria-label', text('about', { action: text(action), name: item.name }))
  frame.setAttribute('aria-expanded', String(!item.row.player.hidden))
  renderIcon(frame.querySelector('svg'), action === 'play' ? 'play' : 'cross')
}

function posterLink(poster) {
  const made = document.createElement('a')
  made.href = poster
  made.target = '_blank'
  made.rel = 'noopener'
  return made
}

function playButton() {
  // Not cloned: in the document of a template, images are not loaded.
  return document.importNode(page.play.content.firstElementChild, true)
}

function loaded(poster, show) {
  const image = document.createElement('img')
  image.alt = ''
  image.addEventListener('load', show)
  image.src = poster
  return image
}

function show(item, frame) {
  if (item.row.frame === frame) exchange(item.row.picture, frame)
}

function exchange(picture, frame) {
  if (picture.contains(frame)) return
  const hadFocus = picture.contains(document.activeElement)
  picture.replaceChildren(frame)
  if (hadFocus) frame.focus()
}

/** Remove an item's row; a focus that it had goes to the next row or, without one, to the first button. */
export function removeRow({ row: { root } }) {
  const hadFocus = root.contains(document.activeElement)
  const next = root.nextElementSibling ?? root.previousElementSibling
  root.remove()
  if (hadFocus) (next?.querySelector('.second') ?? page.choose).focus()
}

/** The page's summary of all items. */
export function renderList() {
  const count = (state) => items.filter((item) => item.state === state).length
  const counts = { done: number(count(DONE)), total: number(items.length), failed: number(count(FAILED)) }
  page.summary.textContent = text(count(FAILED) ? 'summary_failed' : 'summary', counts)
  page.videos.hidden = items.length === 0
  page.clear.hidden = items.filter(hasEnded).length < 2
  document.body.classList.toggle('has-videos', items.length > 0)
  renderTitle()
}

/** The tab's title shows the progress of the uploads, for people in another tab. */
export function renderTitle() {
  const going = items.filter((item) => isRunning(item) || item.state === WAITING)
  const total = going.reduce((sum, item) => sum + item.size, 0)
  const sent = going.reduce((sum, item) => sum + item.sent, 0)
  document.title = total ? `${Math.floor((100 * sent) / total)}% – Videodock` : 'Videodock'
}
