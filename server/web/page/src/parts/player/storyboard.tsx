// Pictures of a whole video in one sheet, and which of them shows a moment.
//
// Rule: a storyboard is an extra. What fails here shows nothing.

import { useEffect, useState } from 'preact/hooks'

export interface Still {
  /** Seconds. */
  start: number
  end: number
  /** The sheet, and the place in it in pixels. */
  url: string
  x: number
  y: number
  width: number
  height: number
}

export interface Board {
  stills: readonly Still[]
  /** Pixels of the sheet. */
  width: number
  height: number
}

const boards = new Map<string, Promise<Board | null>>()

/** The storyboard at an address (WebVTT); null when there is none. */
export function getBoard(url: string): Promise<Board | null> {
  let found = boards.get(url)
  if (!found) {
    found = read(url)
    boards.set(url, found)
  }
  return found
}

/** The storyboard at an address, once it is there; asked for when `isWanted`. */
export function useBoard(url: string | null, isWanted = true): Board | null {
  const [board, setBoard] = useState<Board | null>(null)
  useEffect(() => {
    setBoard(null)
    if (!url || !isWanted) return
    let isOver = false
    void getBoard(url).then((found) => isOver || setBoard(found))
    return () => {
      isOver = true
    }
  }, [url, isWanted])
  return board
}

/** The picture of a moment, in seconds. */
export function stillAt({ stills }: Board, seconds: number): Still | null {
  return stills.find(({ end }) => seconds < end) ?? stills.at(-1) ?? null
}

/** One picture of a storyboard, as large as its box allows. */
export function StillImage({ board, still, class: more = '' }: { board: Board; still: Still; class?: string }) {
  const { x, y, width, height, url } = still
  const place = (at: number, size: number, whole: number) => (whole === size ? 0 : (100 * at) / (whole - size))
  return (
    <span
      class={`still ${more}`}
      style={{
        aspectRatio: `${width} / ${height}`,
        backgroundImage: `url("${url}")`,
        backgroundSize: `${(100 * board.width) / width}% ${(100 * board.height) / height}%`,
        backgroundPosition: `${place(x, width, board.width)}% ${place(y, height, board.height)}%`,
      }}
    />
  )
}

async function read(url: string): Promise<Board | null> {
  try {
    const response = await fetch(url)
    if (!response.ok) throw new Error()
    const stills = parse(await response.text(), response.url || url)
    if (stills.length === 0) return null
    return {
      stills,
      width: Math.max(...stills.map(({ x, width }) => x + width)),
      height: Math.max(...stills.map(({ y, height }) => y + height)),
    }
  } catch {
    boards.delete(url)
    return null
  }
}

/** The cues of a storyboard: `00:00:01.000 --> 00:00:02.000`, and below it `sheet.jpg#xywh=160,0,160,90`. */
function parse(text: string, base: string): Still[] {
  const cue = /(\S+) --> (\S+)[^\n]*\n([^\n#]+)#xywh=(\d+),(\d+),(\d+),(\d+)/g
  return Array.from(text.replaceAll('\r\n', '\n').matchAll(cue), ([, start = '', end = '', name = '', ...place]) => {
    const [x = 0, y = 0, width = 1, height = 1] = place.map(Number)
    return { start: seconds(start), end: seconds(end), url: new URL(name, base).href, x, y, width, height }
  })
}

function seconds(stamp: string): number {
  return stamp.split(':').reduce((sum, part) => sum * 60 + Number(part), 0)
}
