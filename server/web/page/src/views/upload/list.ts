// One list of what is uploaded here, what other windows and devices upload, and the newest videos.
//
// Rule: an upload and the task that it becomes have one id, and so one row; it never moves while it lives.

import { computed, signal } from '@preact/signals'

import { listen } from '../../api/events'
import type { Task, Upload } from '../../api/types'
import { leaving } from '../../state/actions'
import { can } from '../../state/session'
import { type Item, idOf, items, others } from '../../state/uploads'
import { orderOf } from '../../state/uploads/order'
import { load, tasks } from '../../state/videos'

/** How many videos the view shows; all others are in the view of all videos. */
const NEWEST = 8

export interface Entry {
  id: string
  since: number
  place: number
  item: Item | null
  upload: Upload | null
  task: Task | null
}

/** The ids of the newest tasks, as the server has told last; null before that. */
export const newest = signal<readonly string[] | null>(null)
export const failure = signal<unknown>(null)
/** Ids that are about to be deleted, until that is undone. */
export const hidden = signal<ReadonlySet<string>>(new Set())

export const entries = computed<Entry[]>(() => {
  const found = new Map<string, Entry>()
  for (const item of items.value) {
    const id = idOf(item)
    const task = (id && tasks.value.get(id)) || null
    found.set(id ?? item.key + item.since, {
      id: id ?? item.key + item.since,
      since: item.since,
      place: item.place,
      item,
      upload: null,
      task,
    })
  }
  for (const upload of others.value) {
    if (!found.has(upload.id)) found.set(upload.id, entry(upload.id, upload.created_at, { upload }))
  }
  for (const id of newest.value ?? []) {
    const task = tasks.value.get(id)
    if (task && !task.removed && !found.has(id)) found.set(id, entry(id, task.created_at_utc, { task }))
  }
  return [...found.values()]
    .filter(({ id }) => !hidden.value.has(id) && !leaving.value.has(id))
    .sort((one, other) => other.since - one.since || one.place - other.place)
})

function entry(id: string, at: string, of: { upload?: Upload; task?: Task }): Entry {
  const [since, place] = orderOf(id) ?? [new Date(at).getTime(), 0]
  return { id, since, place, item: null, upload: of.upload ?? null, task: of.task ?? null }
}

export async function loadNewest(): Promise<void> {
  try {
    newest.value = (await load({ limit: NEWEST })).ids
    failure.value = null
  } catch (error) {
    failure.value = error
  }
}

/** Keep the list up to date until the function that is returned is called. */
export function follow(): () => void {
  if (can('read')) void loadNewest()
  return listen({
    missed: () => void loadNewest(),
    event: ({ type, task_id: id }) => {
      if (type === 'task.removed') newest.value = newest.peek()?.filter((one) => one !== id) ?? null
      else if (type === 'task.created' && !newest.peek()?.includes(id))
        newest.value = [id, ...(newest.peek() ?? [])].slice(0, NEWEST * 4)
    },
  })
}

export function hide(id: string): void {
  hidden.value = new Set(hidden.peek()).add(id)
}

export function unhide(id: string): void {
  const next = new Set(hidden.peek())
  next.delete(id)
  hidden.value = next
}
