// Which rows of a long list are in the window, so that only those are drawn.
//
// Rule: all rows have one height, which the style sheet makes; it is measured, not known here.

import type { RefObject } from 'preact'
import { useLayoutEffect, useState } from 'preact/hooks'

/** Rows above and below the window that are drawn, too. */
const SPARE = 3
const FIRST = 24

export interface Range {
  /** Places in the list; `end` is the first that is not drawn. */
  start: number
  end: number
  /** Pixels of what is not drawn above and below. */
  above: number
  below: number
}

/** The part of `total` items in `list`, a grid in a room of its own, that is near the window; drawn again when that changes. */
export function useRange(list: RefObject<HTMLElement | null>, total: number, look: string): Range {
  const [range, setRange] = useState<Range>(begin(total))
  useLayoutEffect(() => {
    const target = list.current
    if (!target) return
    let frame = 0
    const measure = () => {
      frame = 0
      const item = target.firstElementChild as HTMLElement | null
      if (!item) {
        // There was none before, and so nothing to measure.
        if (total === 0) return
        setRange(begin(total))
        frame = requestAnimationFrame(measure)
        return
      }
      const style = getComputedStyle(target)
      const columns = Math.max(1, style.gridTemplateColumns.split(' ').length)
      const gap = Number.parseFloat(style.rowGap) || 0
      const height = item.offsetHeight + gap
      const room = target.parentElement ?? target
      const top = room.getBoundingClientRect().top
      const rows = Math.ceil(total / columns)
      const first = Math.max(0, Math.min(rows, Math.floor(-top / height) - SPARE))
      const last = Math.min(rows, Math.max(first + 1, Math.ceil((innerHeight - top) / height) + SPARE))
      const found = {
        start: first * columns,
        end: Math.min(total, last * columns),
        above: first * height,
        below: Math.max(0, rows - last) * height,
      }
      setRange((before) => (JSON.stringify(before) === JSON.stringify(found) ? before : found))
    }
    const soon = () => {
      frame ||= requestAnimationFrame(measure)
    }
    measure()
    addEventListener('scroll', soon, { passive: true })
    const observer = new ResizeObserver(soon)
    observer.observe(document.documentElement)
    return () => {
      cancelAnimationFrame(frame)
      removeEventListener('scroll', soon)
      observer.disconnect()
    }
  }, [total, look])
  return range
}

function begin(total: number): Range {
  return { start: 0, end: Math.min(total, FIRST), above: 0, below: 0 }
}
