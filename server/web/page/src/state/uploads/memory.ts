// What survives a reload: which upload belongs to which file, and the file itself where the browser can keep it.
//
// Rule: everything works without it. A file that was chosen with a handle is kept by its handle; another one is copied
// into the browser's storage, up to a bound; otherwise it has to be chosen again.

import { BASE } from '../../api/client'
import { type Item, isHere } from './items'

/** The server removes an unfinished upload after a week or so. */
const KEEP_MS = 8 * 86_400_000
/** Most bytes of a file, and of all files together, that are copied. */
const MOST_OF_ONE = 256 << 20
const MOST_OF_ALL = 1 << 30

export interface Remembered {
  segment: string
  name: string
  size: number
  folder: string
  type: string
  modified: number
  since: number
  place: number
  offset: number
  at: number
  handle?: FileSystemFileHandle
  blob?: Blob
}

let opened: Promise<IDBDatabase> | null = null

function open(): Promise<IDBDatabase> {
  opened ??= new Promise((resolve, reject) => {
    const request = indexedDB.open(`videodock:${BASE.pathname}`, 1)
    request.onupgradeneeded = () => {
      request.result.createObjectStore('uploads', { keyPath: 'segment' })
    }
    request.onsuccess = () => resolve(request.result)
    request.onerror = () => reject(request.error)
    request.onblocked = () => reject(new Error('blocked'))
  })
  return opened
}

async function run<T>(mode: IDBTransactionMode, act: (store: IDBObjectStore) => IDBRequest<T>): Promise<T | null> {
  try {
    const database = await open()
    return await new Promise((resolve, reject) => {
      const transaction = database.transaction('uploads', mode)
      const request = act(transaction.objectStore('uploads'))
      transaction.oncomplete = () => resolve(request.result)
      transaction.onabort = () => reject(transaction.error)
    })
  } catch {
    return null
  }
}

/** Remember an upload, with its file where that is possible. */
export async function remember(item: Item): Promise<void> {
  const { segment, offset } = item.now.peek()
  if (segment === null) return
  const { name, size, folder, type, modified, since, place } = item
  const record: Remembered = { segment, name, size, folder, type, modified, since, place, offset, at: Date.now() }
  if (item.handle) record.handle = item.handle
  const isStored = await run('readwrite', (store) => store.put(record))
  if (isStored === null || item.handle || !item.file || !(await fits(size))) return
  // A failure keeps the record without the file; the copy is made by the browser, on its own time.
  if (!isOver(item)) await run('readwrite', (store) => store.put({ ...record, blob: item.file }))
  // It may have ended meanwhile.
  if (isOver(item)) await forget(segment)
}

function isOver(item: Item): boolean {
  return !isHere(item) || item.now.peek().phase === 'sent' || item.now.peek().phase === 'refused'
}

async function fits(size: number): Promise<boolean> {
  if (size > MOST_OF_ONE || !navigator.storage?.estimate) return false
  try {
    const { usage = 0, quota = 0 } = await navigator.storage.estimate()
    return usage + size <= Math.min(MOST_OF_ALL, quota / 2)
  } catch {
    return false
  }
}

export async function forget(segment: string | null): Promise<void> {
  if (segment !== null) await run('readwrite', (store) => store.delete(segment))
}

/** Forget every upload: the next person at this browser must not see them. */
export async function forgetAll(): Promise<void> {
  await run('readwrite', (store) => store.clear())
}

/** What is remembered and not too old, the oldest first. */
export async function records(): Promise<Remembered[]> {
  const found = ((await run('readonly', (store) => store.getAll())) ?? []) as Remembered[]
  for (const { segment, at } of found) if (Date.now() - at > KEEP_MS) void forget(segment)
  return found
    .filter(({ at }) => Date.now() - at <= KEEP_MS)
    .sort((one, other) => one.since - other.since || one.place - other.place)
}

interface Permitted {
  queryPermission?(options: { mode: 'read' }): Promise<PermissionState>
  requestPermission?(options: { mode: 'read' }): Promise<PermissionState>
}

/**
 * The file of a record: the file, `press` when the browser gives it only after a press (then ask again with `isPress`), or
 * null when it has to be chosen again.
 */
export async function fileOf(
  { handle, blob, name, type, modified, size }: Remembered,
  isPress = false,
): Promise<File | 'press' | null> {
  if (blob) return new File([blob], name, { type, lastModified: modified })
  if (!handle) return null
  try {
    const asked = handle as Permitted
    const how = isPress
      ? await asked.requestPermission?.({ mode: 'read' })
      : await asked.queryPermission?.({ mode: 'read' })
    if (how === 'prompt') return 'press'
    if (how === 'denied') return null
    const file = await handle.getFile()
    // Another file has the name since.
    return file.size === size && file.lastModified === modified ? file : null
  } catch {
    return null
  }
}

/** Hold an upload for this window; false when another window has it. Without locks (plain http), always true. */
export async function hold(item: Item, segment: string): Promise<boolean> {
  if (!navigator.locks) return true
  // The window before a reload releases its lock a moment after this one begins.
  const patience = new AbortController()
  const timer = setTimeout(() => patience.abort(), 1000)
  return new Promise((resolve) => {
    const kept = () =>
      new Promise<void>((release) => {
        clearTimeout(timer)
        item.release = release
        resolve(true)
      })
    navigator.locks.request(lockName(segment), { signal: patience.signal }, kept).catch(() => resolve(false))
  })
}

/** The ids of the uploads that windows of this browser send. */
export async function held(): Promise<ReadonlySet<string>> {
  try {
    const { held: all = [] } = await navigator.locks.query()
    const prefix = lockName('')
    return new Set(
      all.flatMap(({ name }) => (name?.startsWith(prefix) ? [name.slice(prefix.length).split('~')[0] ?? ''] : [])),
    )
  } catch {
    return new Set()
  }
}

function lockName(segment: string): string {
  return `videodock:${segment}`
}
