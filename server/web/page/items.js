// The videos of this page and the states they are in.
//
// Rule: plain facts about each video. It sends no requests and draws nothing; code that changes a fact has it drawn.

// The states of an item. From `watching` on there are no bytes left to send.
export const WAITING = 'waiting'
export const UPLOADING = 'uploading'
export const RETRYING = 'retrying'
export const PAUSED = 'paused'
export const UNCHOSEN = 'unchosen' // its file has to be chosen (again)
export const WATCHING = 'watching' // its task runs
export const DONE = 'done'
export const FAILED = 'failed'
export const CANCELLED = 'cancelled'

export const items = []

/** A new item, the last to be sent; `facts` replace the defaults. */
export function newItem(facts) {
  const item = {
    file: null,
    id: null,
    offset: 0,
    sent: 0,
    unsure: false, // the offset has to be read from the server
    complete: false,
    state: WAITING,
    reason: null, // why it failed or has to wait: its sentence by language
    lost: false, // the server does not answer requests for its task
    samples: [],
    since: Date.now(), // when it was chosen: files chosen together have the same
    place: 0, // among these
    ...facts,
  }
  items.push(item)
  return item
}

export function isRunning({ state }) {
  return state === UPLOADING || state === RETRYING
}

export function hasEnded({ state }) {
  return state === DONE || state === FAILED || state === CANCELLED
}

export function progressed(item, sent) {
  const now = performance.now()
  item.sent = Math.min(sent, item.size)
  item.samples.push({ now, sent: item.sent })
  // The last seconds only: a speed is useful while it is current.
  while (item.samples.length > 2 && now - item.samples[0].now > 6000) item.samples.shift()
}

/** Bytes a second over the last seconds, or null while that is a guess. */
export function speed(item) {
  const [first, last] = [item.samples[0], item.samples.at(-1)]
  if (!first || last.now - first.now < 700) return null
  return ((last.sent - first.sent) / (last.now - first.now)) * 1000
}

/** Sleep until the time is over, or the item is woken, or halted. */
export function sleep(item, milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds)
    item.wake = () => {
      clearTimeout(timer)
      resolve()
    }
    signal?.addEventListener('abort', item.wake, { once: true })
  })
}
