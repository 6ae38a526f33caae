// The upload page: it starts here.
//
// Rule: all input of a person is handled here, and nowhere else. Imports run one way, from here through uploads and
// tasks to rows, and from there down to items and texts. Nothing is loaded from another origin.

import { isClosed, isProtected, openAfterSignIn, renderAccess, signIn, signOut } from './access.js'
import { UNCHOSEN, WAITING, WATCHING, hasEnded, isRunning, items, newItem } from './items.js'
import {
  fingerprint, forgetAll, hold, onOtherOwner, records, rememberLanguage, rememberOwner, rememberedLanguage,
  rememberedOwner,
} from './memory.js'
import { copy, link, togglePlayer } from './player.js'
import { announce, enter, page, render, renderList, renderTitle } from './rows.js'
import { askAccepted } from './server.js'
import { askAgain, cancel, watch } from './tasks.js'
import { bytes, kinds, language, setLanguage, speaks, text } from './texts.js'
import { lookAgain, pause, remove, resume, schedule, take } from './uploads.js'

const ACTIONS = {
  pause,
  resume,
  try_now: (item) => item.wake?.(),
  choose_again: () => page.files.click(),
  remove,
  remove_sure: remove,
  cancel,
  dismiss: take,
  play,
  close_player: play,
  copy_link: copyLink,
  copied: copyLink,
}

// The accepted files, as `askAccepted` returns them; null until the server has answered.
let accepted = null
// The last refusal that belongs to no row: the key of its text and the values in it.
let refused = null
// Whose videos the page shows; null before a sign-in.
let owner = null

function play(item) {
  togglePlayer(item)
  render(item)
}

async function copyLink(item) {
  const done = await copy(link(item))
  if (!done) {
    refuse('not_copied', { link: link(item) })
    return
  }
  announce(item, text('copied'))
  const show = (copied) => {
    item.copied = copied
    render(item)
  }
  show(true)
  setTimeout(show, 2000, false)
}

function speak(wanted) {
  setLanguage(wanted)
  renderWords()
  renderList()
  for (const item of items) {
    render(item)
    askAgain(item)
  }
}

/** The texts that do not depend on any video. */
function renderWords() {
  document.documentElement.lang = tag(language)
  for (const element of document.querySelectorAll('[data-text]')) element.textContent = text(element.dataset.text)
  page.accepted.textContent = accepted ? acceptedText() : ''
  page.notice.textContent = refused ? text(refused.key, refused.values) : ''
  page.notice.hidden = refused === null
  page.language.textContent = text('other_language')
  page.language.lang = tag(otherLanguage())
  renderAccess()
}

function acceptedText() {
  const types = kinds(accepted.extensions)
  return accepted.limit ? text('accepted_limit', { types, limit: bytes(accepted.limit) }) : text('accepted', { types })
}

/** Show and announce a refusal, until the next files are chosen, in the current language. */
function refuse(key, values) {
  refused = { key, values }
  announce(null, text(key, values))
  renderWords()
}

function forgive() {
  refused = null
  renderWords()
}

function tag(spoken) {
  return spoken === 'zh' ? 'zh-CN' : 'en'
}

function otherLanguage() {
  return language === 'zh' ? 'en' : 'zh'
}

function switchLanguage() {
  speak(otherLanguage())
  rememberLanguage(language)
}

function preferredLanguage() {
  const chosen = rememberedLanguage()
  if (speaks(chosen)) return chosen
  return navigator.language.toLowerCase().startsWith('zh') ? 'zh' : 'en'
}

async function readAccepted() {
  try {
    accepted = await askAccepted()
    if (accepted.extensions.length > 0) page.files.accept = accepted.extensions.map((one) => `.${one}`).join(',')
    else page.files.removeAttribute('accept')
    renderWords()
  } catch {
    // The server refuses what it does not accept.
  }
}

/** Take files that a person chose or dropped: known ones resume, the others are new. */
async function takeIn(files) {
  await remembered
  const since = Date.now()
  let shown = null
  for (const [place, file] of files.entries()) {
    const key = fingerprint(file)
    const known = items.find((item) => item.key === key && !hasEnded(item))
    if (!known) {
      const item = newItem({ key, file, name: file.name, size: file.size, since, place })
      render(item)
      shown ??= item
    } else if (known.state === UNCHOSEN) {
      Object.assign(known, { file, unsure: known.id !== null, reason: null })
      enter(known, WAITING)
    } else {
      // Chosen twice: it is being sent already, or was paused on purpose.
      shown ??= known
    }
  }
  schedule()
  // Dropped far below, files come into view: the newest rows are at the top.
  shown?.row.root.scrollIntoView({ block: 'nearest' })
}

/** Restore what this page stored before a reload. */
async function recall() {
  for (const record of records()) {
    const item = { id: record.id }
    if (await hold(item)) bringBack({ ...record, release: item.release })
  }
  renderList()
}

function bringBack({ stage, at, ...facts }) {
  const complete = stage === 'task'
  const item = newItem({ ...facts, sent: facts.offset, complete, unsure: true, state: UNCHOSEN })
  render(item)
  if (complete) watch(item)
  else lookAgain(item)
}

/** After a sign-in: what this page stored comes back, if it is of the same owner. */
async function begin(name) {
  const isSame = name === owner
  if (name !== (owner ?? rememberedOwner())) dropAll()
  owner = name
  rememberOwner(name)
  page.choose.focus()
  if (!isSame) {
    readAccepted()
    await recall()
  }
  schedule()
}

/** Take every item and everything stored away from this browser; the server keeps what it has. */
function dropAll() {
  for (const item of [...items]) {
    item.controller?.abort()
    take(item)
  }
  forgetAll()
}

async function leave() {
  const isRisky = items.some((item) => !hasEnded(item) && !item.complete)
  if (!(await signOut(isRisky, warn))) return
  dropAll()
  owner = null
  rememberOwner(null)
  forgive()
  announce(null, text('signed_out'))
}

function warn(key) {
  if (key === 'sign_out_lost') refuse(key)
  else announce(null, text(key))
}

function dropped(transfer) {
  const entries = Array.from(transfer.items, (entry) => entry.webkitGetAsEntry?.())
  const files = Array.from(transfer.files)
  if (!entries.some((entry) => entry?.isDirectory)) return files
  refuse('folder')
  return files.filter((_, place) => !entries[place]?.isDirectory)
}

function carriesFiles(event) {
  return event.dataTransfer?.types.includes('Files')
}

/** Do the action of a row's button. */
function press(event) {
  const button = event.target.closest('button')
  if (!button) return
  ACTIONS[button.dataset.action](items.find((item) => item.row.root.contains(button)))
}

function listen() {
  page.language.addEventListener('click', switchLanguage)
  page.sign_out.addEventListener('click', leave)
  page.choose.addEventListener('click', () => page.files.click())
  page.files.addEventListener('change', () => {
    const files = Array.from(page.files.files)
    // Emptied, so that the same file may be chosen again.
    page.files.value = ''
    forgive()
    takeIn(files)
  })
  page.list.addEventListener('click', press)
  page.clear.addEventListener('click', () => {
    for (const item of items.filter(hasEnded)) take(item)
    page.choose.focus()
  })
  // The whole page takes a drop: one that misses the zone would otherwise open the video in place of the page.
  document.addEventListener('dragover', (event) => {
    if (!carriesFiles(event)) return
    event.preventDefault()
    event.dataTransfer.dropEffect = 'copy'
    if (!isClosed()) document.body.classList.add('is-dragging')
  })
  document.addEventListener('dragleave', (event) => {
    if (event.relatedTarget === null) document.body.classList.remove('is-dragging')
  })
  document.addEventListener('drop', (event) => {
    if (!carriesFiles(event)) return
    event.preventDefault()
    document.body.classList.remove('is-dragging')
    if (isClosed()) return
    forgive()
    takeIn(dropped(event.dataTransfer))
  })
  window.addEventListener('online', () => {
    for (const item of items) item.wake?.()
  })
  window.addEventListener('offline', () => {
    // Their status requests fail at once, so the rows show it.
    for (const item of items) if (item.state === WATCHING) item.wake?.()
  })
  window.addEventListener('beforeunload', (event) => {
    if (items.some(isRunning)) event.preventDefault()
  })
  document.addEventListener('visibilitychange', schedule)
  setInterval(() => {
    for (const item of items) if (isRunning(item) || item.lost) render(item)
    renderTitle()
  }, 400)
}

speak(preferredLanguage())
listen()
let remembered = null
if (isProtected()) {
  document.querySelector('#sign-in-form').addEventListener('submit', (event) => {
    event.preventDefault()
    signIn()
  })
  openAfterSignIn((name) => {
    remembered = begin(name)
  })
  onOtherOwner(() => owner, () => {
    // The cookie is no longer this person's: nothing of theirs may stay on the screen.
    dropAll()
    location.reload()
  })
} else {
  readAccepted()
  remembered = recall()
}
