// In which order files were chosen, also after a reload: the server knows when uploads were created, which is another one.
//
// Rule: everything works without it; other browsers show the server's order.

import { BASE } from '../../api/client'
import { attempt } from '../storage'

const KEY = `videodock-order:${BASE.pathname}`
const MOST = 200

type Place = readonly [since: number, place: number]

let known: Record<string, Place> | null = null

function all(): Record<string, Place> {
  known ??= attempt(() => JSON.parse(localStorage.getItem(KEY) ?? '{}') as Record<string, Place>) ?? {}
  return known
}

/** When an upload was chosen, in milliseconds, and which of the files chosen then; null when this browser does not know. */
export function orderOf(id: string): Place | null {
  return all()[id] ?? null
}

export function rememberOrder(id: string, since: number, place: number): void {
  const entries = [...Object.entries(all()).slice(1 - MOST), [id, [since, place] as Place] as const]
  known = Object.fromEntries(entries)
  attempt(() => localStorage.setItem(KEY, JSON.stringify(known)))
}

export function forgetOrder(): void {
  known = {}
  attempt(() => localStorage.removeItem(KEY))
}
