// Sending videos: their order, and recovery from every error on the way.
//
// Rule: the offset is read again (HEAD) after every error, unless the refusal carried it. An
// upload ends complete, refused, or resting until a person does something; it never gives up by itself.

import { isClosed, sessionOver } from './access.js'
import { PAUSED, RETRYING, UNCHOSEN, UPLOADING, WAITING, isRunning, items, sleep } from './items.js'
import { forget, hold, remember } from './memory.js'
import { announce, enter, fail, removeRow, render, renderList } from './rows.js'
import { ConnectionLost, Halted, Refusal, ask, askWhy, create, sendChunk, terminate } from './server.js'
import { watch } from './tasks.js'
import { inEach, text } from './texts.js'

const AT_ONCE = 3
const RESTARTS = 3
const BACK_OFF_SECONDS = [1, 2, 4, 8, 15, 30]

/** Start the uploads that may run. Only a few at once: they share one line, and the first should end first. */
export function schedule() {
  let running = items.filter(isRunning).length
  for (const item of items) {
    if (running >= AT_ONCE || isClosed()) break
    if (item.state !== WAITING) continue
    running += 1
    upload(item)
  }
  stayAwake(running > 0)
  renderList()
}

/** Send a file to its end, with recovery from every error on the way. */
async function upload(item) {
  item.controller?.abort()
  item.controller = new AbortController()
  const { signal } = item.controller
  let furthest = item.offset
  let failures = 0
  let restarts = 0
  enter(item, UPLOADING)
  while (!item.complete) {
    try {
      await step(item, signal)
      // Only bytes that arrived count as progress: a server may answer every HEAD and fail every PATCH.
      if (item.offset > furthest) failures = 0
      furthest = Math.max(furthest, item.offset)
    } catch (problem) {
      item.unsure = true
      item.samples = []
      if (signal.aborted || problem instanceof Halted) return
      if (problem instanceof Refusal && problem.isGone && item.id && restarts < RESTARTS) {
        restarts += 1
        furthest = 0
        startOver(item)
      } else if (problem instanceof Refusal && problem.offset !== null && failures === 0) {
        // 409: our offset was wrong, and the answer has the right one. Chromium can cause it: when a connection that it
        // used before is reset, it repeats the request by itself. Only once; after that, another client sends too.
        failures += 1
        correct(item, problem.offset)
      } else if (problem.status === 401 && sessionOver()) {
        // It waits for the next sign-in; uploads that the server knows go on without one.
        enter(item, WAITING)
        return
      } else if (problem instanceof Refusal && !problem.isTemporary) {
        await refused(item, problem, signal)
        return
      } else if (problem instanceof Refusal || problem instanceof ConnectionLost) {
        const readable = await isReadable(item)
        if (signal.aborted) return
        if (!readable) {
          unreadable(item)
          return
        }
        if (!(await wait(item, problem, failures, signal))) return
        failures += 1
      } else {
        throw problem
      }
    }
  }
  if (!items.includes(item)) return
  remember(item)
  watch(item)
  schedule()
}

async function step(item, signal) {
  if (!item.id) {
    await create(item, signal)
    await hold(item)
    keep(item)
  } else if (item.unsure) {
    await ask(item, signal)
  } else {
    await sendChunk(item, signal)
    keep(item)
  }
}

/** Remember an upload, unless it was taken away meanwhile: then nothing of it may stay. */
function keep(item) {
  if (items.includes(item)) remember(item)
}

function correct(item, offset) {
  // All bytes are there, but perhaps not the task: HEAD shows whether there is one.
  Object.assign(item, { offset, sent: offset, unsure: offset >= item.size })
}

function startOver(item) {
  forget(item)
  Object.assign(item, { id: null, offset: 0, sent: 0, unsure: false })
}

async function refused(item, refusal, signal) {
  const said = refusal.hasSentence || !item.id ? refusal : await askWhy(item, refusal, signal)
  if (signal.aborted) return
  forget(item)
  fail(item, said.reason)
  schedule()
}

/** Whether the file can still be read: a browser reports one that vanished like a broken connection. */
async function isReadable(item) {
  try {
    await item.file.slice(item.offset, item.offset + 1).arrayBuffer()
    return true
  } catch {
    return false
  }
}

function unreadable(item) {
  item.file = null
  item.reason = inEach('unreadable')
  enter(item, UNCHOSEN)
  schedule()
}

/** Wait before the next try; false when halted meanwhile. */
async function wait(item, problem, failures, signal) {
  const backOff = BACK_OFF_SECONDS[Math.min(failures, BACK_OFF_SECONDS.length - 1)]
  const seconds = Math.max(backOff, problem.retryAfter ?? 0)
  // A 408, 409 or 423 can follow a broken connection: the server still reads our own last request.
  item.reason = problem.status === 429 || problem.status >= 500 ? problem.reason : null
  item.retryAt = Date.now() + seconds * 1000
  enter(item, RETRYING)
  await sleep(item, seconds * 1000, signal)
  if (signal.aborted) return false
  item.state = UPLOADING
  render(item)
  return true
}

export function pause(item) {
  item.controller?.abort()
  item.unsure = true
  enter(item, PAUSED)
  schedule()
  // Part of the chunk that was on its way has arrived.
  lookAgain(item)
}

export function resume(item) {
  enter(item, WAITING)
  schedule()
}

/** Read the offset of a resting upload: the stored one may be old, and the upload gone. */
export async function lookAgain(item) {
  if (!item.id) return
  item.controller = new AbortController()
  const { state } = item
  const seen = { id: item.id }
  try {
    // Halted when the upload resumes and sends its own: a HEAD takes the upload away from a PATCH.
    await ask(seen, item.controller.signal)
  } catch (problem) {
    if (problem instanceof Refusal && !problem.isTemporary && item.state === UNCHOSEN) take(item)
    return
  }
  if (item.state !== state) return
  Object.assign(item, seen, { unsure: true })
  if (item.complete) watch(item)
  else render(item)
}

export async function remove(item) {
  // Bytes that took long to send are not lost to one wrong touch.
  if (item.sent > 0 && !item.asked) {
    item.asked = true
    announce(item, text('sure_question'))
    render(item)
    setTimeout(() => {
      item.asked = false
      render(item)
    }, 4000)
    return
  }
  item.controller?.abort()
  take(item)
  announce(item, text('removed'))
  if (!item.id) return
  try {
    await terminate(item)
  } catch {
    // The server removes what is never finished.
  }
}

/** Take an item out of the list. */
export function take(item) {
  forget(item)
  items.splice(items.indexOf(item), 1)
  removeRow(item)
  schedule()
}

let awake = null

/** Keep a telephone's screen on while it uploads: with the screen, many switch off the upload. */
function stayAwake(wanted) {
  if (!navigator.wakeLock) return
  if (document.hidden) {
    awake = null // the browser has taken it back
  } else if (wanted) {
    awake ??= navigator.wakeLock.request('screen').catch(() => null)
  } else {
    awake?.then((lock) => lock?.release())
    awake = null
  }
}
