// The list of all videos: which of them are wanted, and the pages that are loaded so far.
//
// Rule: the address says what is wanted, so that a reload, a bookmark and the way back show the same. The server filters
// and sorts; the page only leaves out what it knows to have changed since.

import { computed, effect, signal } from '@preact/signals'

import type { TaskQuery } from '../api'
import * as api from '../api'
import { listen } from '../api/events'
import type { Task, TaskStatus } from '../api/types'
import { query, setQuery } from '../router'
import { leaving } from './actions'
import { keep, tasks } from './videos'

const PAGE = 100
/** Several changes at once are one question. */
const CALM_MS = 400

export type StatusFilter = 'ready' | 'processing' | 'failed' | 'cancelled'
export const STATUSES: Record<StatusFilter, readonly TaskStatus[]> = {
  ready: ['completed'],
  processing: ['uploaded', 'processing'],
  failed: ['error'],
  cancelled: ['cancelled'],
}

export type Period = 'today' | '7' | '30' | '365' | 'custom'
export const PERIODS: readonly Period[] = ['today', '7', '30', '365', 'custom']

export type Order = 'oldest' | 'name' | 'longest' | 'largest'
export const ORDERS: Record<Order, Pick<TaskQuery, 'sort' | 'order'>> = {
  oldest: { sort: 'created', order: 'asc' },
  name: { sort: 'name', order: 'asc' },
  longest: { sort: 'duration', order: 'desc' },
  largest: { sort: 'size', order: 'desc' },
}

export interface Filter {
  name: string
  status: StatusFilter | null
  period: Period | null
  /** Days, as `2026-11-30`; only with the period `custom`. */
  from: string
  to: string
  order: Order | null
}

/** What is wanted now. */
export const filter = computed<Filter>(() => {
  const of = (name: string) => query.value.get(name) ?? ''
  const one = <T extends string>(value: string, all: readonly T[]) => all.find((known) => known === value) ?? null
  return {
    name: of('q'),
    status: one(of('status'), Object.keys(STATUSES) as StatusFilter[]),
    period: one(of('period'), PERIODS),
    from: of('from'),
    to: of('to'),
    order: one(of('order'), Object.keys(ORDERS) as Order[]),
  }
})

export const isFiltered = computed(() => {
  const { name, status, period } = filter.value
  return name !== '' || status !== null || period !== null
})

/** Want something else. */
export function want(
  changes: Partial<Record<'q' | 'status' | 'period' | 'from' | 'to' | 'order', string | null>>,
): void {
  setQuery(changes)
}

export const wantAll = () => want({ q: null, status: null, period: null, from: null, to: null })

/** Ids in the order of the server; null before its first answer. */
const loaded = signal<readonly string[] | null>(null)
const next = signal<string | null>(null)
/** Why the first page, or the next one, could not be loaded. */
export const failure = signal<unknown>(null)
export const isLoading = signal(false)
export const isTruncated = signal(false)
export const hasMore = computed(() => next.value !== null)

/** The videos to show; null before the first answer. */
export const shown = computed<readonly string[] | null>(() => {
  const { status } = filter.value
  const wanted = status && STATUSES[status]
  return (
    loaded.value?.filter((id) => {
      const task = tasks.value.get(id)
      return task && !task.removed && !leaving.value.has(id) && (!wanted || wanted.includes(task.status))
    }) ?? null
  )
})

/** Counts the questions, so that a late answer to an old one is not taken. */
let asked = 0

/** Ask for the first page of what is wanted now. */
export async function loadFirst(): Promise<void> {
  const mine = ++asked
  isLoading.value = true
  try {
    const page = await api.listTasks({ ...queryOf(filter.peek()), limit: PAGE })
    if (mine !== asked) return
    take(page.tasks)
    loaded.value = page.tasks.map(({ task_id }) => task_id)
    next.value = page.next
    isTruncated.value = page.truncated ?? false
    failure.value = null
  } catch (error) {
    if (mine === asked) failure.value = error
  } finally {
    if (mine === asked) isLoading.value = false
  }
}

/** Ask for the page that follows, unless one is on its way. */
export async function loadMore(): Promise<void> {
  const cursor = next.peek()
  if (cursor === null || isLoading.peek()) return
  const mine = asked
  isLoading.value = true
  try {
    const page = await api.listTasks({ ...queryOf(filter.peek()), limit: PAGE, cursor })
    if (mine !== asked) return
    take(page.tasks)
    const before = loaded.peek() ?? []
    const has = new Set(before)
    loaded.value = [...before, ...page.tasks.map(({ task_id }) => task_id).filter((id) => !has.has(id))]
    next.value = page.next
    failure.value = null
  } catch (error) {
    if (mine === asked) failure.value = error
  } finally {
    if (mine === asked) isLoading.value = false
  }
}

/** Look at the first page again, and keep the pages below it. */
async function renew(): Promise<void> {
  const before = loaded.peek()
  if (before === null || isLoading.peek()) return loadFirst()
  const mine = asked
  try {
    const page = await api.listTasks({ ...queryOf(filter.peek()), limit: PAGE })
    if (mine !== asked) return
    take(page.tasks)
    const fresh = page.tasks.map(({ task_id }) => task_id)
    const last = fresh.at(-1)
    const place = last === undefined || page.next === null ? -1 : before.indexOf(last)
    const rest = place < 0 ? [] : before.slice(place + 1).filter((id) => !fresh.includes(id))
    loaded.value = [...fresh, ...rest]
    if (rest.length === 0) next.value = page.next
    failure.value = null
  } catch {
    // What is shown stays; the next event or poll asks again.
  }
}

/** Keep the list up to date until the function that is returned is called. */
export function follow(): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined
  const soon = () => {
    clearTimeout(timer)
    timer = setTimeout(() => void renew(), CALM_MS)
  }
  let wanted = ''
  const unlisten = listen({
    missed: soon,
    event: ({ type, task_id: id }) => {
      const isNew = type === 'task.created' || !loaded.peek()?.includes(id)
      if (isNew && type !== 'task.progress' && !type.startsWith('upload.')) soon()
    },
  })
  const unwatch = effect(() => {
    const now = JSON.stringify(queryOf(filter.value))
    if (now === wanted) return
    wanted = now
    void loadFirst()
  })
  return () => {
    clearTimeout(timer)
    unlisten()
    unwatch()
  }
}

function take(found: readonly Task[]): void {
  keep(...found)
}

function queryOf({ name, status, period, from, to, order }: Filter): TaskQuery {
  return {
    ...(name && { name }),
    ...(status && { status: STATUSES[status] }),
    ...(period && span(period, from, to)),
    ...(order && ORDERS[order]),
  }
}

/** The times between which a period lies: whole days of the person who looks. */
function span(period: Period, from: string, to: string): Pick<TaskQuery, 'from' | 'to'> {
  if (period === 'custom') {
    return {
      ...(from && { from: midnight(from, 0).toISOString() }),
      ...(to && { to: midnight(to, 1).toISOString() }),
    }
  }
  const start = new Date()
  start.setHours(0, 0, 0, 0)
  start.setDate(start.getDate() - (period === 'today' ? 0 : Number(period) - 1))
  return { from: start.toISOString() }
}

function midnight(day: string, later: number): Date {
  const at = new Date(`${day}T00:00:00`)
  at.setDate(at.getDate() + later)
  return at
}
