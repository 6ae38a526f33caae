// The uploads of this page: they begin after a sign-in, survive a reload, and end with a sign-out.
//
// Rule: what other files of the page use of the uploads is exported here.

import { effect, signal } from '@preact/signals'

import { listUploads } from '../../api'
import { listen } from '../../api/events'
import type { Upload } from '../../api/types'
import { brand } from '../brand'
import { loadConfig } from '../config'
import { uploadShare } from '../progress'
import { can, ofVisitor, onVisitor, sessionState } from '../session'
import { refresh, tasks } from '../videos'
import { add, type Item, idOf, isPending, isRunning, items, makeItem, set, take, total } from './items'
import { fileOf, forgetAll, hold, type Remembered, records } from './memory'
import { forgetOrder } from './order'
import { addPreview } from './preview'
import { lookAgain, schedule, wakeAll } from './queue'
import { obey } from './tus'

export { kind } from './checks'
export * from './intake'
export { type Batch, type Facts, type Item, idOf, isPending, items, type Phase, take, total } from './items'
export { pause, pauseAll, remove, resume, resumeAll } from './queue'
export { Speed } from './speed'

/** Open uploads of other windows and devices of the same owner. */
export const others = signal<readonly Upload[]>([])
/** Uploads whose bytes have just arrived, by id. */
export const moving = signal<ReadonlySet<string>>(new Set())

/** After so long without bytes an upload rests: its window is closed, or its device is away. */
const RESTING_MS = 15_000
const timers = new Map<string, ReturnType<typeof setTimeout>>()

function move(id: string): void {
  clearTimeout(timers.get(id))
  if (!moving.peek().has(id)) moving.value = new Set(moving.peek()).add(id)
  const rest = () => {
    timers.delete(id)
    const next = new Set(moving.peek())
    next.delete(id)
    moving.value = next
  }
  timers.set(id, setTimeout(rest, RESTING_MS))
}

const ENDS = ['completed', 'error', 'cancelled']

/** Ask for the open uploads of the owner. */
export async function loadOthers(): Promise<void> {
  try {
    const { uploads } = await listUploads({ ...ofVisitor(), status: ['open'], limit: 50 })
    others.value = uploads.filter(({ protocol, partial }) => protocol === 'tus' && !partial)
  } catch {
    // The next event or poll asks again.
  }
}

listen({
  missed: () => {
    void loadOthers()
    for (const item of items.peek()) {
      const { phase, segment } = item.now.peek()
      const task = tasks.peek().get(segment?.split('~')[0] ?? '')
      if (phase === 'sent' && segment && !ENDS.includes(task?.status ?? 'uploaded')) void refresh(segment)
    }
  },
  event: ({ type, upload_id: id, received, length }) => {
    if (!type.startsWith('upload.') || !id) return
    if (type === 'upload.progress' && received !== undefined) {
      move(id)
      const known = others.peek().some((one) => one.id === id)
      if (known)
        others.value = others
          .peek()
          .map((one) => (one.id === id ? { ...one, offset: received, size: length ?? one.size } : one))
      else void loadOthers()
    } else if (type === 'upload.created') {
      move(id)
      void loadOthers()
    } else {
      others.value = others.peek().filter((one) => one.id !== id)
    }
  },
})

/** Bring back what this browser remembers. */
async function recall(): Promise<void> {
  await Promise.all((await records()).map(bringBack))
}

async function bringBack(record: Remembered): Promise<void> {
  if (items.peek().some((item) => item.now.peek().segment === record.segment)) return
  const item = makeItem(
    { ...record, file: null, handle: record.handle ?? null },
    { phase: 'unchosen', segment: record.segment, offset: record.offset, sent: record.offset },
  )
  if (!(await hold(item, record.segment))) return // another window sends it
  add(item)
  await lookAgain(item)
  // All bytes had arrived: it is a video like all others.
  if (item.now.peek().phase === 'sent') take(item)
  if (item.now.peek().phase === 'unchosen') await find(item, record)
}

/** Continue with the file that the browser has kept. */
async function find(item: Item, record: Remembered): Promise<void> {
  const file = await fileOf(record)
  if (file === 'press') set(item, { needsPress: true })
  else if (file) goAhead(item, file)
}

/** Ask for the permission to read a file again; a browser allows that after a press only. False without it. */
export async function permit(item: Item): Promise<boolean> {
  const record = (await records()).find(({ segment }) => segment === item.now.peek().segment)
  const file = record ? await fileOf(record, true) : null
  if (!(file instanceof File)) {
    set(item, { needsPress: false })
    return false
  }
  goAhead(item, file)
  return true
}

function goAhead(item: Item, file: File): void {
  item.file = file
  set(item, { phase: 'waiting', reason: null, needsPress: false })
  schedule()
  addPreview(item, file)
}

/** Take every item and everything stored away from this browser; the server keeps what it has. */
function dropAll(): void {
  for (const item of items.peek()) {
    item.controller?.abort()
    take(item)
  }
  others.value = []
  void forgetAll()
  forgetOrder()
}

/** Whether a sign-out, or a closed window, would lose something. */
export function isRisky(): boolean {
  return items.peek().some((item) => isPending(item) || item.now.peek().phase === 'unchosen')
}

async function begin(): Promise<void> {
  void loadConfig().then((config) => obey(config?.chunk_size))
  await recall()
  if (can('read')) void loadOthers()
  schedule()
}

onVisitor((owner, isOther) => {
  if (isOther) dropAll()
  if (owner !== null || !isOther) void begin()
})

addEventListener('online', wakeAll)
addEventListener('beforeunload', (event) => {
  if (items.peek().some(isRunning)) event.preventDefault()
})
document.addEventListener('visibilitychange', schedule)

// The tab's title shows the progress of the uploads, for people in another tab.
effect(() => {
  const batch = total.value
  const share = batch && !batch.isOver && batch.bytes > 0 ? batch.sent / batch.bytes : null
  uploadShare.value = share
  document.title = share === null ? brand.name : `${Math.floor(share * 100)}% – ${brand.name}`
})

/** The ids of uploads that this page sends itself. */
export function ownIds(): ReadonlySet<string> {
  return new Set(items.value.map(idOf).filter((id) => id !== null))
}

/** Whether uploads wait for a sign-in. */
export function waitForSignIn(): boolean {
  return sessionState.value === 'out' && items.value.some(isPending)
}
