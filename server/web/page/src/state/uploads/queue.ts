// Sending files: their order, and recovery from every error on the way.
//
// Rule: the offset is read again (HEAD) after every error. An upload ends sent, refused, or resting until a person does
// something; it never gives up by itself.

import { ConnectionLost } from '../../api/client'
import { inEach, reasonText } from '../../text'
import { sessionOver, sessionState } from '../session'
import { announce } from '../toasts'
import { refresh } from '../videos'
import { type Item, idOf, isRunning, items, set, take } from './items'
import { forget, hold, remember } from './memory'
import { rememberOrder } from './order'
import { askWhy, look, Refused, send, terminate } from './tus'

/** Only a few at once: they share one line, and the first should end first. */
const AT_ONCE = 3
const RESTARTS = 3
const BACK_OFF_SECONDS = [1, 2, 4, 8, 15, 30]

/** Start the uploads that may run. */
export function schedule(): void {
  let running = items.peek().filter(isRunning).length
  for (const item of items.peek()) {
    if (running >= AT_ONCE || sessionState.peek() === 'out') break
    if (item.now.peek().phase !== 'waiting') continue
    running += 1
    void upload(item)
  }
  stayAwake(running > 0)
}

/** Send a file to its end, with recovery from every error on the way. */
async function upload(item: Item): Promise<void> {
  item.controller?.abort()
  const controller = new AbortController()
  const { signal } = controller
  item.controller = controller
  let furthest = item.now.peek().offset
  let failures = 0
  let restarts = 0
  set(item, { phase: 'sending', reason: null })
  for (;;) {
    try {
      if (!item.file) throw new ConnectionLost()
      await send({
        file: item.file,
        name: item.name,
        segment: item.now.peek().segment,
        signal,
        created: (segment) => void keep(item, segment),
        moved: (sent, offset) => {
          if (item.now.peek().phase === 'sending') set(item, { sent, offset })
          // Only bytes that arrived count as progress: a server may answer every HEAD and fail every PATCH.
          if (offset > furthest) {
            furthest = offset
            failures = 0
          }
        },
      })
      break
    } catch (problem) {
      if (signal.aborted) return
      const { segment } = item.now.peek()
      if (problem instanceof Refused && problem.isGone && segment !== null && restarts < RESTARTS) {
        restarts += 1
        furthest = 0
        startOver(item)
      } else if (problem instanceof Refused && problem.offset !== null && failures === 0) {
        // 409: our offset was wrong. Chromium can cause it: when a connection that it used before is reset, it repeats the
        // request by itself. Only once; after that, another client sends, too.
        failures += 1
      } else if (problem instanceof Refused && problem.status === 401 && sessionOver()) {
        // It waits for the next sign-in; uploads that the server knows go on without one.
        set(item, { phase: 'waiting' })
        return
      } else if (problem instanceof Refused && !problem.isPassing) {
        await refuse(item, problem, signal)
        return
      } else {
        const isReadable = item.file !== null && (await canRead(item.file, item.now.peek().offset))
        if (signal.aborted) return
        if (!isReadable) {
          item.file = null
          set(item, { phase: 'unchosen', reason: inEach('upload.unreadable') })
          schedule()
          return
        }
        if (!(await wait(item, problem, failures, signal))) return
        failures += 1
      }
    }
  }
  if (signal.aborted) return
  finish(item)
}

function finish(item: Item): void {
  const { segment } = item.now.peek()
  set(item, { phase: 'sent', sent: item.size, offset: item.size, reason: null })
  void forget(segment)
  item.release?.()
  item.release = null
  item.file = null
  // By the address of the upload: it outlasts the session.
  if (segment) void refresh(segment)
  schedule()
}

async function keep(item: Item, segment: string): Promise<void> {
  set(item, { segment, offset: 0 })
  rememberOrder(idOf(item) ?? '', item.since, item.place)
  await hold(item, segment)
  await remember(item)
}

function startOver(item: Item): void {
  void forget(item.now.peek().segment)
  item.release?.()
  item.release = null
  set(item, { segment: null, offset: 0, sent: 0 })
}

async function refuse(item: Item, refused: Refused, signal: AbortSignal): Promise<void> {
  const { segment } = item.now.peek()
  const told = refused.reason || segment === null ? refused : await askWhy(segment, refused)
  if (signal.aborted) return
  void forget(segment)
  item.file = null
  const reason = told.reason ?? inEach('upload.refused_by_proxy', { status: told.status })
  set(item, { phase: 'refused', reason })
  announce(`${item.name}: ${reasonText(reason)}`)
  schedule()
}

/** Whether the file can still be read: a browser reports one that vanished like a broken connection. */
async function canRead(file: File, offset: number): Promise<boolean> {
  try {
    await file.slice(offset, offset + 1).arrayBuffer()
    return true
  } catch {
    return false
  }
}

/** Wait before the next attempt; false when halted meanwhile. */
async function wait(item: Item, problem: unknown, failures: number, signal: AbortSignal): Promise<boolean> {
  const backOff = BACK_OFF_SECONDS[Math.min(failures, BACK_OFF_SECONDS.length - 1)] ?? 1
  const refused = problem instanceof Refused ? problem : null
  const seconds = Math.max(backOff, refused?.retryAfter ?? 0)
  // A 408, 409 or 423 can follow a broken connection: the server still reads our own last request.
  const isBusy = refused !== null && (refused.status === 429 || refused.status >= 500)
  const reason = isBusy ? (refused.reason ?? inEach('upload.refused_by_proxy', { status: refused.status })) : null
  set(item, { phase: 'retrying', reason, retryAt: Date.now() + seconds * 1000 })
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, seconds * 1000)
    item.wake = () => {
      clearTimeout(timer)
      resolve()
    }
    signal.addEventListener('abort', item.wake, { once: true })
  })
  if (signal.aborted) return false
  set(item, { phase: 'sending' })
  return true
}

export function pause(item: Item): void {
  item.controller?.abort()
  set(item, { phase: 'paused', sent: item.now.peek().offset })
  schedule()
  // Part of the chunk that was on its way has arrived.
  void lookAgain(item)
}

export function resume(item: Item): void {
  set(item, { phase: 'waiting', reason: null })
  schedule()
}

export function pauseAll(): void {
  for (const item of items.peek()) if (item.now.peek().phase === 'waiting' || isRunning(item)) pause(item)
}

export function resumeAll(): void {
  for (const item of items.peek()) if (item.now.peek().phase === 'paused') set(item, { phase: 'waiting', reason: null })
  schedule()
}

/** Read the offset of a resting upload: the stored one may be old, and the upload gone, or sent by another window. */
export async function lookAgain(item: Item): Promise<void> {
  const { segment, phase } = item.now.peek()
  if (segment === null) return
  try {
    const { offset, isTask } = await look(segment)
    // It may have gone on meanwhile, with requests of its own.
    if (item.now.peek().phase !== phase) return
    if (isTask) finish(item)
    else set(item, { offset, sent: offset })
  } catch (problem) {
    if (problem instanceof Refused && !problem.isPassing && item.now.peek().phase === 'unchosen') {
      void forget(segment)
      take(item)
    }
  }
}

/** Take an item off the page, and its bytes from the server. */
export async function remove(item: Item): Promise<void> {
  const { segment, phase } = item.now.peek()
  item.controller?.abort()
  take(item)
  schedule()
  void forget(segment)
  if (segment === null || phase === 'sent' || phase === 'refused') return
  try {
    await terminate(segment)
  } catch {
    // The server removes what is never finished.
  }
}

/** Try again at once what waits for its next attempt. */
export function wakeAll(): void {
  for (const item of items.peek()) item.wake?.()
}

let awake: Promise<WakeLockSentinel | null> | null = null

/** Keep a telephone's screen on while it uploads: with the screen, many switch off the upload. */
function stayAwake(isWanted: boolean): void {
  if (!navigator.wakeLock) return
  if (document.hidden) {
    awake = null // the browser has taken it back
  } else if (isWanted) {
    awake ??= navigator.wakeLock.request('screen').catch(() => null)
  } else {
    void awake?.then((lock) => lock?.release())
    awake = null
  }
}
