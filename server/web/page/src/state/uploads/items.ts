// The files that this page sends, and the states they are in.
//
// Rule: plain facts about each file, and the one place that changes them. It sends no requests.

import { computed, type Signal, signal } from '@preact/signals'

import type { Reason } from '../../api/client'

/**
 * `waiting` for its turn, `sending`, `retrying` after a pause, `paused` by a person, `unchosen`: its file has to be
 * chosen (again), `refused`: it cannot be uploaded, `sent`: all bytes are there, and it is a task with the same id.
 */
export type Phase = 'waiting' | 'sending' | 'retrying' | 'paused' | 'unchosen' | 'refused' | 'sent'

export interface Facts {
  phase: Phase
  /** The last segment of the upload's address; null until it is created. */
  segment: string | null
  /** Bytes that the server has, as it said last. */
  offset: number
  /** Bytes that have left this browser. */
  sent: number
  /** Why it was refused, or has to wait; null for a broken connection. */
  reason: Reason | null
  /** When it is tried again, in milliseconds since the epoch. */
  retryAt: number
  /** A picture of it, made in this browser. */
  preview: string | null
  /** The file needs a permission that the browser gives only after a press. */
  needsPress: boolean
}

export interface Item {
  readonly key: string
  readonly name: string
  readonly size: number
  /** The folder it was in; empty for a single file. */
  readonly folder: string
  /** When it was chosen, in milliseconds; files chosen together have the same, and are in order by `place`. */
  readonly since: number
  readonly place: number
  readonly type: string
  readonly modified: number
  file: File | null
  /** Where the browser finds the file after a reload. */
  handle: FileSystemFileHandle | null
  readonly now: Signal<Facts>
  /** Ends what is going on. */
  controller: AbortController | null
  /** Ends a pause before the next attempt. */
  wake: (() => void) | null
  /** Gives the upload free for other windows of this browser. */
  release: (() => void) | null
}

/** All items, in the order in which they were chosen. */
export const items = signal<readonly Item[]>([])

export function makeItem(
  given: Partial<Item> & { file: File | null; name: string; size: number },
  facts: Partial<Facts> = {},
): Item {
  return {
    key: fingerprint(given.name, given.size, given.modified ?? given.file?.lastModified ?? 0),
    folder: '',
    since: Date.now(),
    place: 0,
    type: given.file?.type ?? '',
    modified: given.file?.lastModified ?? 0,
    handle: null,
    controller: null,
    wake: null,
    release: null,
    ...given,
    now: signal({
      phase: 'waiting',
      segment: null,
      offset: 0,
      sent: 0,
      reason: null,
      retryAt: 0,
      preview: null,
      needsPress: false,
      ...facts,
    }),
  }
}

/** What tells a file from others, also after a reload. */
export function fingerprint(name: string, size: number, modified: number): string {
  return `${name}|${size}|${modified}`
}

/** Change facts of an item. */
export function set(item: Item, facts: Partial<Facts>): void {
  item.now.value = { ...item.now.peek(), ...facts }
}

export function add(...made: readonly Item[]): void {
  items.value = [...items.peek(), ...made]
}

/** Take an item off the page. */
export function take(item: Item): void {
  items.value = items.peek().filter((one) => one !== item)
  const { preview } = item.now.peek()
  if (preview) URL.revokeObjectURL(preview)
  item.release?.()
}

export function isHere(item: Item): boolean {
  return items.peek().includes(item)
}

/** The id of the upload, which its task has, too; null until it is created. */
export function idOf({ now }: Item): string | null {
  return now.value.segment?.split('~')[0] ?? null
}

const PENDING: readonly Phase[] = ['waiting', 'sending', 'retrying', 'paused']

/** Whether bytes are still to be sent, without anybody having to choose a file. */
export function isPending({ now }: Item): boolean {
  return PENDING.includes(now.value.phase)
}

export function isRunning({ now }: Item): boolean {
  return now.value.phase === 'sending' || now.value.phase === 'retrying'
}

/** Since when the files of now are sent together: those that were pending at the same time as another. */
let batch = new Set<Item>()

export interface Batch {
  files: number
  done: number
  bytes: number
  sent: number
  isPaused: boolean
  isOver: boolean
}

/** What is sent together, as one; null when nothing has been sent since the page was opened. */
export const total = computed<Batch | null>(() => {
  const pending = items.value.filter(isPending)
  const isOver = pending.length === 0
  for (const item of pending) batch.add(item)
  const known = [...batch].filter(
    (item) => items.value.includes(item) && (isPending(item) || item.now.value.phase === 'sent'),
  )
  if (known.length === 0) {
    batch = new Set()
    return null
  }
  const found = {
    files: known.length,
    done: known.filter(({ now }) => now.value.phase === 'sent').length,
    bytes: known.reduce((sum, { size }) => sum + size, 0),
    sent: known.reduce((sum, { now, size }) => sum + Math.min(size, now.value.sent), 0),
    isPaused: !isOver && pending.every(({ now }) => now.value.phase === 'paused'),
    isOver,
  }
  return found
})

/** A new batch begins with the next file, once the one before is over. */
export function beginBatch(): void {
  if (!items.peek().some((item) => PENDING.includes(item.now.peek().phase))) batch = new Set()
}
