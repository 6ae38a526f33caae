// One report of the server, asked again whenever days, owner or visitor change.
//
// Rule: what is on the screen stays until the answer is there, so that nothing jumps.

import { useEffect, useState } from 'preact/hooks'

import { getReport, type ReportQuery } from '../../api'
import type { Reports } from '../../api/types'
import { sessionState } from '../../state/session'

export interface Found<Row> {
  /** Null before the first answer, and after an error. */
  rows: readonly Row[] | null
  /** What the rows are of. */
  of: ReportQuery | null
  error: unknown
  isLoading: boolean
  again: () => void
}

const NOTHING = { rows: null, of: null, error: null }

export function useReport<Name extends keyof Reports>(name: Name, query: ReportQuery): Found<Reports[Name]> {
  const [found, setFound] = useState<Omit<Found<Reports[Name]>, 'again' | 'isLoading'>>(NOTHING)
  const [isLoading, setLoading] = useState(true)
  const [tries, setTries] = useState(0)
  const { from, to, owner } = query
  const isIn = sessionState.value === 'in'
  useEffect(() => {
    if (!isIn) return
    const asked = new AbortController()
    const settle = (answer: typeof found) => {
      if (asked.signal.aborted) return
      setFound(answer)
      setLoading(false)
    }
    setLoading(true)
    getReport(name, { from, to, owner }, asked.signal).then(
      ({ rows }) => settle({ rows, of: { from, to, owner }, error: null }),
      (error: unknown) => settle({ ...NOTHING, error }),
    )
    return () => asked.abort()
  }, [name, from, to, owner, tries, isIn])
  return { ...found, isLoading, again: () => setTries((count) => count + 1) }
}
