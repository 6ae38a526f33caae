// Short messages at the edge of the page: what was done, and how to undo it.
//
// Rule: an action that can be undone asks nothing. It waits for ten seconds in a toast, and is then done in fact.

import { signal } from '@preact/signals'

const SHOWN_MS = 5000
/** How long somebody has to undo something. */
export const UNDO_MS = 10_000

export interface Toast {
  id: number
  /** Draws the words, so that they follow the language. */
  words: () => string
  tone?: 'plain' | 'bad'
  /** The label and the action of its button. */
  action?: { label: () => string; act: () => void }
}

export const toasts = signal<readonly Toast[]>([])
/** What screen readers are told; the same words as a toast, or without one. */
export const news = signal('')

let last = 0

/** Show a message for a few seconds. */
export function toast(words: () => string, options: Partial<Omit<Toast, 'id' | 'words'>> = {}): () => void {
  return show({ ...options, id: ++last, words }, SHOWN_MS)
}

/** Tell screen readers something that is seen elsewhere on the page. */
export function announce(words: string): void {
  news.value = words
}

/**
 * Do something in ten seconds, unless somebody undoes it. `hide` takes it off the page at once and `restore` brings it
 * back; `act` does it in fact. When the page is closed before, it is done at once.
 */
export function undoable(given: {
  words: () => string
  undo: () => string
  hide: () => void
  restore: () => void
  act: () => void | Promise<void>
}): void {
  given.hide()
  let isOver = false
  const finish = () => {
    if (isOver) return
    isOver = true
    removeEventListener('pagehide', finish)
    void given.act()
  }
  const dismiss = show(
    {
      id: ++last,
      words: given.words,
      action: {
        label: given.undo,
        act: () => {
          if (isOver) return
          isOver = true
          removeEventListener('pagehide', finish)
          dismiss()
          given.restore()
        },
      },
    },
    UNDO_MS,
    finish,
  )
  addEventListener('pagehide', finish)
}

/** The timers of the toasts, which wait while somebody points at one or is in it. */
const timers = new Map<number, { milliseconds: number; end: () => void; timer?: ReturnType<typeof setTimeout> }>()

/** Let no message vanish while somebody reads one, and begin again after that. */
export function holdToasts(isHeld: boolean): void {
  for (const entry of timers.values()) {
    clearTimeout(entry.timer)
    if (!isHeld) entry.timer = setTimeout(entry.end, entry.milliseconds)
  }
}

function show(made: Toast, milliseconds: number, ended: () => void = () => {}): () => void {
  toasts.value = [...toasts.value, made]
  news.value = made.words()
  const dismiss = () => {
    clearTimeout(timers.get(made.id)?.timer)
    timers.delete(made.id)
    toasts.value = toasts.value.filter(({ id }) => id !== made.id)
  }
  const end = () => {
    dismiss()
    ended()
  }
  timers.set(made.id, { milliseconds, end, timer: setTimeout(end, milliseconds) })
  return dismiss
}
