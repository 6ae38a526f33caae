// What an operator looks at, kept fresh: a value that is asked for again, and lists that are read page by page.
//
// Rule: the refresh is quiet. It keeps what is shown while it asks, stops in a hidden window, and an event of the server
// makes it ask at once; only the first answer that fails is shown as a failure.

import { useEffect, useRef, useState } from 'preact/hooks'

import type { Rows } from '../api/admin'
import { Refusal } from '../api/client'
import { type Listener, listen } from '../api/events'
import { useLanguageChange } from './language'
import { sessionOver } from './session'

/** Events come in bursts; one question answers a burst. */
const BURST_MS = 700

/** The reason of a failure. A refresh is quiet, but for the end of a sign-in: what is shown may be no longer. */
function noted(reason: unknown): unknown {
  if (reason instanceof Refusal && reason.status === 401) sessionOver()
  return reason ?? new Error()
}

export interface Live<Value> {
  value: Value | null
  /** Why there is no value yet. */
  error: unknown
  /** Ask now. */
  refresh: () => Promise<void>
}

/**
 * A value that `ask` gives: now, again every so many milliseconds (0: never), after events of these types, and after a
 * change of the language, since the server's sentences follow it.
 */
export function useLive<Value>(
  ask: () => Promise<Value>,
  milliseconds: number,
  types: readonly string[] = [],
): Live<Value> {
  const [value, setValue] = useState<Value | null>(null)
  const [error, setError] = useState<unknown>(null)
  const latest = useRef(ask)
  latest.current = ask
  const turn = useRef(0)
  const refresh = async () => {
    const mine = ++turn.current
    try {
      const found = await latest.current()
      if (mine !== turn.current) return
      setValue(found)
      setError(null)
    } catch (reason) {
      if (mine === turn.current) setError(noted(reason))
    }
  }
  useEffect(() => {
    void refresh()
    return () => {
      turn.current += 1
    }
  }, [])
  useEffect(() => {
    let burst: ReturnType<typeof setTimeout> | undefined
    const now = () => document.hidden || void refresh()
    const soon = () => {
      burst ??= setTimeout(() => {
        burst = undefined
        now()
      }, BURST_MS)
    }
    const timer = milliseconds > 0 ? setInterval(now, milliseconds) : undefined
    const listener: Listener = { event: ({ type }) => types.includes(type) && soon() }
    const silence = types.length > 0 ? listen(listener) : undefined
    if (milliseconds > 0) document.addEventListener('visibilitychange', now)
    return () => {
      clearTimeout(burst)
      clearInterval(timer)
      silence?.()
      document.removeEventListener('visibilitychange', now)
    }
  }, [milliseconds])
  useLanguageChange(() => void refresh())
  return { value, error, refresh }
}

export interface Pages<Row> {
  /** Null until the first page is there. */
  rows: readonly Row[] | null
  hasMore: boolean
  isLoading: boolean
  error: unknown
  more: () => void
  /** Read the first page again, and forget the others. */
  again: () => Promise<void>
  /** Change the rows that are shown, after an action. */
  edit: (change: (rows: readonly Row[]) => readonly Row[]) => void
}

/** A list by its cursor; another `key` is another list. */
export function usePages<Row>(ask: (cursor: string | undefined) => Promise<Rows<Row>>, key = ''): Pages<Row> {
  const [rows, setRows] = useState<readonly Row[] | null>(null)
  const [next, setNext] = useState<string | null>(null)
  const [isLoading, setLoading] = useState(true)
  const [error, setError] = useState<unknown>(null)
  const latest = useRef(ask)
  latest.current = ask
  const turn = useRef(0)
  const load = async (cursor?: string) => {
    const mine = ++turn.current
    setLoading(true)
    try {
      const found = await latest.current(cursor)
      if (mine !== turn.current) return
      setRows((before) => (cursor && before ? [...before, ...found.rows] : found.rows))
      setNext(found.next)
      setError(null)
    } catch (reason) {
      if (mine === turn.current) setError(noted(reason))
    }
    if (mine === turn.current) setLoading(false)
  }
  useEffect(() => {
    void load()
    return () => {
      turn.current += 1
    }
  }, [key])
  useLanguageChange(() => void load())
  return {
    rows,
    hasMore: next !== null,
    isLoading,
    error,
    more: () => void load(next ?? undefined),
    again: () => load(),
    edit: (change) => setRows((before) => before && change(before)),
  }
}
