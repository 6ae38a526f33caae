// The live status of a task, by server-sent events.
//
// Rule: this saves polls, and nothing depends on it. Whenever it ends, or says nothing, the caller polls once and
// tries it again.

import { items } from './items.js'
import { BASE } from './server.js'
import { language } from './texts.js'

// Over HTTP/1.1 a browser has six connections to a server, and uploads need them.
const MOST = 2
// A proxy may hold events back; then nothing comes at all.
const SILENCE_MS = 10_000
const TYPES = [
  'task.status', 'task.created', 'task.gathered', 'task.processing', 'task.progress', 'task.waiting', 'task.retried',
  'video.playable', 'video.infected', 'video.completed', 'video.failed', 'video.removed',
  'task.completed', 'task.failed', 'task.cancelled', 'task.removed',
]

// How following ended: the task is over; poll at once; poll after a pause.
export const OVER = 'over'
export const AGAIN = 'again'
export const LATER = 'later'

let open = 0

/**
 * Call `learn` with each status of the item's task, until it returns true (resolves to `OVER`), or the item is woken or
 * nothing comes for a while (`AGAIN`), or the stream ends (`LATER`).
 */
export function follow(item, learn) {
  if (!window.EventSource || open >= MOST || item.isDeaf || !items.includes(item)) return Promise.resolve(LATER)
  open += 1
  const spoken = language
  const stream = new EventSource(new URL(`api/task/events/${item.id}?lang=${spoken}`, BASE))
  return new Promise((resolve) => {
    let timer = null
    let hasEnded = false
    const end = (how) => {
      if (hasEnded) return
      hasEnded = true
      clearTimeout(timer)
      stream.close()
      open -= 1
      resolve(how)
    }
    const listen = () => {
      clearTimeout(timer)
      timer = setTimeout(() => end(AGAIN), SILENCE_MS)
    }
    const take = (event) => {
      item.isDeaf = false
      listen()
      const { status } = JSON.parse(event.data)
      if (!items.includes(item)) end(LATER)
      else if (status && learn({ ...status, ok: true, language: spoken })) end(OVER)
    }
    item.isDeaf ??= true // until the first message
    for (const type of TYPES) stream.addEventListener(type, take)
    // The browser would connect again by itself; the caller asks first what has happened.
    stream.onerror = () => end(LATER)
    item.wake = () => end(AGAIN)
    listen()
  })
}
