// Which videos are selected, and how a press changes that.
//
// Rule: with shift, a press reaches from the last one to this one, as in a file manager.

import { computed, signal } from '@preact/signals'

import { shown } from './library'

const chosen = signal<ReadonlySet<string>>(new Set())
let anchor: string | null = null

/** The selected videos that are shown, in their order. */
export const selected = computed<readonly string[]>(() => (shown.value ?? []).filter((id) => chosen.value.has(id)))
export const isSelected = (id: string) => chosen.value.has(id)

/** Select a video, or take it out; with `isRange`, all from the last one to it. */
export function press(id: string, isRange: boolean): void {
  const next = new Set(chosen.peek())
  const isOn = !next.has(id)
  const all = shown.peek() ?? []
  const from = anchor === null || !isRange ? -1 : all.indexOf(anchor)
  const to = all.indexOf(id)
  const range = from < 0 ? [id] : all.slice(Math.min(from, to), Math.max(from, to) + 1)
  for (const one of range) {
    if (isOn || isRange) next.add(one)
    else next.delete(one)
  }
  anchor = id
  chosen.value = next
}

export function selectAll(): void {
  chosen.value = new Set(shown.peek())
}

export function selectNone(): void {
  anchor = null
  chosen.value = new Set()
}
