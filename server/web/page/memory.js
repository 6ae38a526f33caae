// Data that survives a reload: which upload belongs to which file, whose they are, and the language.
//
// Rule: everything works without it. Storage may refuse, as in some private windows; then nothing is stored.

import { BASE } from './server.js'

const MEMORY = `videodock:${BASE.pathname}:`
// The server removes an unfinished upload after a week; a finished one need not be shown again for long.
const KEEP_MS = { upload: 8 * 86_400_000, task: 86_400_000 }
const LANGUAGE = 'videodock-language'
const OWNER = `videodock-owner:${BASE.pathname}`

export function fingerprint(file) {
  return `${file.name}|${file.size}|${file.lastModified}`
}

export function remember(item) {
  const record = {
    id: item.id,
    name: item.name,
    size: item.size,
    offset: item.offset,
    stage: item.complete ? 'task' : 'upload',
    since: item.since,
    place: item.place,
    at: Date.now(),
  }
  attempt(() => localStorage.setItem(MEMORY + item.key, JSON.stringify(record)))
}

export function forget(item) {
  const name = MEMORY + item.key
  // The same file may have been chosen again since, and the record be that upload's.
  if (read(name)?.id === item.id) attempt(() => localStorage.removeItem(name))
  item.release?.()
}

/** The stored records that are not too old, the oldest first. */
export function records() {
  const found = []
  for (const name of attempt(() => Object.keys(localStorage)) ?? []) {
    if (!name.startsWith(MEMORY)) continue
    const record = read(name)
    if (record && Date.now() - record.at < KEEP_MS[record.stage]) {
      found.push({ ...record, key: name.slice(MEMORY.length) })
    } else {
      attempt(() => localStorage.removeItem(name))
    }
  }
  return found.sort((one, other) => one.since - other.since || one.place - other.place)
}

/** Forget every upload: the next person at this browser must not see them. */
export function forgetAll() {
  for (const name of attempt(() => Object.keys(localStorage)) ?? []) {
    if (name.startsWith(MEMORY)) attempt(() => localStorage.removeItem(name))
  }
}

/** Whose uploads are stored, or null. */
export function rememberedOwner() {
  return attempt(() => localStorage.getItem(OWNER))
}

/** Remember it; null forgets it. Every other window of this browser hears of a change: see `onOtherOwner`. */
export function rememberOwner(owner) {
  attempt(() => (owner === null ? localStorage.removeItem(OWNER) : localStorage.setItem(OWNER, owner)))
}

/** Call `changed` when another window has signed out, or signed in somebody else than `current()`. */
export function onOtherOwner(current, changed) {
  window.addEventListener('storage', ({ key, newValue }) => {
    if (key === OWNER && current() !== null && newValue !== current()) changed()
  })
}

function read(name) {
  return attempt(() => JSON.parse(localStorage.getItem(name)))
}

export function rememberLanguage(language) {
  attempt(() => localStorage.setItem(LANGUAGE, language))
}

export function rememberedLanguage() {
  return attempt(() => localStorage.getItem(LANGUAGE))
}

function attempt(action) {
  try {
    return action()
  } catch {
    return null
  }
}

/** Hold an upload for this window; false when another window has it. Without locks (plain http), always true. */
export async function hold(item) {
  if (!navigator.locks) return true
  // The window before a reload releases its lock a moment after this one begins.
  const patience = new AbortController()
  setTimeout(() => patience.abort(), 1000)
  const options = { signal: patience.signal }
  return new Promise((resolve) => {
    const kept = () =>
      new Promise((release) => {
        item.release = release
        resolve(true)
      })
    navigator.locks.request(`videodock:${item.id}`, options, kept).catch(() => resolve(false))
  })
}
