// What opens under a button and closes again: the focus, the arrows and the presses of every menu.
//
// Rule: arrows move in it, Escape and a press elsewhere close it, and the focus comes back to the button. How it looks
// is the matter of who draws it.

import type { RefObject } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'

export interface Dropdown {
  isOpen: boolean
  /** Of the element that holds the button, which is its first one, and the list. */
  root: RefObject<HTMLDivElement | null>
  toggle: () => void
  /** Close it; the focus goes to the button. */
  close: () => void
  /** Close it, and leave the focus where it is. */
  leave: () => void
  /** For the keys that are pressed in the list. */
  move: (event: KeyboardEvent) => void
}

export function useDropdown(): Dropdown {
  const [isOpen, setOpen] = useState(false)
  const root = useRef<HTMLDivElement>(null)
  const entries = () => Array.from(root.current?.querySelectorAll<HTMLElement>('[role^="menuitem"]') ?? [])
  const leave = () => setOpen(false)
  const close = () => {
    leave()
    root.current?.querySelector('button')?.focus()
  }
  useEffect(() => {
    if (!isOpen) return
    const all = entries()
    const chosen = all.find((entry) => entry.ariaChecked === 'true') ?? all[0]
    chosen?.focus()
    const elsewhere = (event: Event) => {
      if (!root.current?.contains(event.target as Node)) leave()
    }
    document.addEventListener('pointerdown', elsewhere)
    document.addEventListener('focusin', elsewhere)
    return () => {
      document.removeEventListener('pointerdown', elsewhere)
      document.removeEventListener('focusin', elsewhere)
    }
  }, [isOpen])
  const move = (event: KeyboardEvent) => {
    const all = entries()
    const at = all.indexOf(document.activeElement as HTMLElement)
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 }[event.key]
    if (event.key === 'Escape') close()
    else if (to === undefined) return
    else all.at(to >= all.length ? 0 : to)?.focus()
    event.preventDefault()
    // The keys of what is around it, the player for example, are not meant.
    event.stopPropagation()
  }
  return { isOpen, root, toggle: () => setOpen(!isOpen), close, leave, move }
}
