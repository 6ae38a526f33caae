// What happens on the server, as it happens: one stream of events for the whole page.
//
// Rule: nothing depends on it. It saves polls; while it is not there, listeners hear `missed` every few seconds, and
// after each gap once, and ask for what they show.

import { effect, signal } from '@preact/signals'

import { language } from '../state/language'
import { address } from './client'
import type { LiveEvent } from './types'

export interface Listener {
  /** An event has come. */
  event?(event: LiveEvent): void
  /** Events may have been missed: ask for everything that is shown. */
  missed?(): void
}

const POLL_MS = 4000
/** The server sends a comment every 15 s, which a page does not see; so silence says nothing, and errors all. */
const TYPES = [
  'task.status',
  'task.created',
  'task.gathered',
  'task.processing',
  'task.progress',
  'task.waiting',
  'task.retried',
  'task.completed',
  'task.failed',
  'task.cancelled',
  'task.removed',
  'video.playable',
  'video.poster',
  'video.infected',
  'video.completed',
  'video.failed',
  'video.removed',
  'upload.created',
  'upload.progress',
  'upload.finished',
  'upload.terminated',
  'upload.expired',
  'upload.rejected',
]

/** Whether the server cannot be reached: the stream has broken, and the browser tries to open it again. */
export const isAway = signal(false)

const listeners = new Set<Listener>()
let source: EventSource | null = null
let poll: ReturnType<typeof setInterval> | undefined
let isOpen = false

/** Listen until the function that is returned is called. */
export function listen(listener: Listener): () => void {
  listeners.add(listener)
  return () => listeners.delete(listener)
}

/** Let events come; the page calls it once it is known that somebody may read them. */
export function openEvents(): void {
  isOpen = true
  connect()
}

/** Let no more events come, after a sign-out. */
export function closeEvents(): void {
  isOpen = false
  disconnect()
}

function connect(): void {
  if (source || !isOpen || document.hidden) return
  // A browser has six connections to a server over HTTP/1.1, for all its windows: a hidden one gives its own back.
  const stream = new EventSource(address('api/events', { lang: language.peek() }))
  source = stream
  const gap = () => {
    clearInterval(poll)
    poll = setInterval(missed, POLL_MS)
  }
  gap()
  stream.onopen = () => {
    clearInterval(poll)
    isAway.value = false
    missed()
  }
  stream.onerror = () => {
    // A stream that the server has refused is closed; one that has lost its connection is opened again by the browser.
    isAway.value = stream.readyState === EventSource.CONNECTING
    gap()
    if (stream.readyState === EventSource.CLOSED) {
      disconnect()
      poll = setInterval(() => (isOpen && !document.hidden ? missed() : undefined), POLL_MS)
      setTimeout(connect, POLL_MS * 4)
    }
  }
  for (const type of TYPES) {
    stream.addEventListener(type, ({ data }) => {
      const event = JSON.parse(data) as LiveEvent
      for (const listener of listeners) listener.event?.(event)
    })
  }
}

function disconnect(): void {
  source?.close()
  source = null
  clearInterval(poll)
}

function missed(): void {
  for (const listener of listeners) listener.missed?.()
}

document.addEventListener('visibilitychange', () => {
  if (document.hidden) disconnect()
  else connect()
})

// The server's sentences come in the language of the stream.
effect(() => {
  language.value
  if (!source) return
  disconnect()
  connect()
})
