// Which days, and whose: what the address says.
//
// Rule: days are those of UTC, as in the reports. Whatever the address has, the range is one that the server accepts.

import { computed } from '@preact/signals'

import type { ReportQuery } from '../../api'
import { query, setQuery } from '../../router'

/** Ranges that end today, by their number of days. */
export const LENGTHS = [7, 30, 90, 365] as const
export type Length = (typeof LENGTHS)[number]
const USUAL: Length = 30
const MOST_DAYS = 366
const DAY_MS = 86_400_000
/** Browsers write the years before as something else. */
const FIRST = '1970-01-01'

export interface Range {
  from: string
  to: string
  /** How many days. */
  days: number
  /** Null where the dates were chosen. */
  length: Length | null
}

export const today = () => new Date().toISOString().slice(0, 10)

/** The day so many days later. */
export function plus(day: string, days: number): string {
  return new Date(Date.parse(day) + days * DAY_MS).toISOString().slice(0, 10)
}

const distance = (from: string, to: string) => Math.round((Date.parse(to) - Date.parse(from)) / DAY_MS)

/** All days from one to another, both included. */
export function daysOf(from: string, to: string): string[] {
  return Array.from({ length: distance(from, to) + 1 }, (_, place) => plus(from, place))
}

/** As many days, just before. */
export function before({ from, days }: Range): { from: string; to: string } {
  return { from: plus(from, -days), to: plus(from, -1) }
}

export const range = computed<Range>(() => {
  const from = dayIn('from')
  const to = dayIn('to')
  if (from && to && from <= to) {
    const days = Math.min(MOST_DAYS, distance(from, to) + 1)
    return { from: plus(to, 1 - days), to, days, length: null }
  }
  const length = LENGTHS.find((one) => String(one) === query.value.get('range')) ?? USUAL
  return { from: plus(today(), 1 - length), to: today(), days: length, length }
})

/** Undefined: all that the visitor may see. */
export const owner = computed(() => query.value.get('owner') || undefined)

/** What reports are asked for. */
export const wanted = computed<ReportQuery>(() => ({ from: range.value.from, to: range.value.to, owner: owner.value }))

export function chooseLength(length: Length): void {
  setQuery({ range: length === USUAL ? null : String(length), from: null, to: null })
}

/** Choose dates; the other end follows where a range would be empty or too long. */
export function chooseDays(change: { from?: string; to?: string }): void {
  let { from, to } = { ...range.peek(), ...change }
  if (change.to && from > to) from = to
  if (from > to) to = from
  if (distance(from, to) >= MOST_DAYS) {
    if (change.to) from = plus(to, 1 - MOST_DAYS)
    else to = plus(from, MOST_DAYS - 1)
  }
  setQuery({ range: null, from, to })
}

export function chooseOwner(name: string): void {
  setQuery({ owner: name })
}

/** The query of an address of this view, with another owner. */
export function addressOf(name: string): string {
  const next = new URLSearchParams(query.value)
  next.set('owner', name)
  return `numbers?${next}`
}

function dayIn(name: string): string | null {
  const value = query.value.get(name) ?? ''
  if (!/^\d{4}-\d\d-\d\d$/.test(value) || value < FIRST) return null
  const at = new Date(value)
  return !Number.isNaN(at.getTime()) && at.toISOString().startsWith(value) ? value : null
}
