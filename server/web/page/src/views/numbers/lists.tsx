// The pictures that are bars beside words: why uploads fail, and who stores how much.
//
// Rule: a reason is said in the reader's language; its code is in the table.

import { reportFile } from '../../api'
import type { Reports } from '../../api/types'
import { bytes, count, percent } from '../../format'
import { href } from '../../router'
import { hasText, t } from '../../text'
import { type Bar, Bars } from './bars'
import { type Column, Panel } from './panel'
import { addressOf, wanted } from './range'
import { type Found, useReport } from './report'

const NUMBER = { isNumber: true } as const
/** Bars of a picture; what is less is one bar. */
const MOST_BARS = 7

type Failure = Reports['failures']

export function Failures() {
  const found = useReport('failures', wanted.value)
  const name = t('numbers.failures')
  const columns: Column<Failure>[] = [
    { id: 'reason', label: t('numbers.reason'), value: reasonOf },
    { id: 'uploads', label: t('numbers.uploads'), value: (row) => count(row.uploads), ...NUMBER },
    { id: 'code', label: t('numbers.code'), value: (row) => row.reason ?? row.outcome },
  ]
  return (
    <Panel
      id="numbers-failures"
      name={name}
      hint=""
      file={reportFile('failures', wanted.value)}
      found={found}
      columns={columns}
      none={t('numbers.failures_none')}
    >
      {(rows) => {
        const all = rows.reduce((sum, { uploads }) => sum + uploads, 0)
        const words = (n: number) => t('numbers.failure_share', { n: count(n), percent: percent(n / all, 1) })
        const bars = rows.map((row) => ({
          key: `${row.outcome} ${row.reason}`,
          label: reasonOf(row),
          value: row.uploads,
        }))
        return <Bars bars={topOf(bars, words, () => t('numbers.reason_other'))} tone="bad" name={name} />
      }}
    </Panel>
  )
}

function reasonOf({ outcome, reason, message }: Failure): string {
  const key = `numbers.reason_${reason ?? outcome}`
  return hasText(key) ? t(key as 'numbers.reason_expired') : (message ?? t('numbers.reason_other'))
}

/** The most of them, and the rest as one. */
function topOf(
  all: readonly Omit<Bar, 'words'>[],
  words: (value: number) => string,
  rest: (number: number) => string,
): Bar[] {
  const bars = all.slice(0, all.length > MOST_BARS + 1 ? MOST_BARS : all.length)
  const others = all.slice(bars.length)
  if (others.length > 0) {
    const value = others.reduce((sum, one) => sum + one.value, 0)
    bars.push({ key: '', label: rest(others.length), value })
  }
  return bars.map((bar) => ({ ...bar, words: words(bar.value) }))
}

type Stored = Reports['storage']

export function Storage({ found, hasOwners }: { found: Found<Stored>; hasOwners: boolean }) {
  const name = t(hasOwners ? 'numbers.storage' : 'numbers.storage_mine')
  const columns: Column<Stored>[] = [
    { id: 'owner', label: t('numbers.owner'), value: (row) => row.owner },
    { id: 'bytes', label: t('numbers.stored_bytes'), value: (row) => bytes(row.bytes), ...NUMBER },
    { id: 'originals', label: t('numbers.files'), value: (row) => count(row.originals), ...NUMBER },
    { id: 'open', label: t('numbers.open_uploads'), value: (row) => count(row.open_uploads), ...NUMBER },
    { id: 'reserved', label: t('numbers.open_bytes'), value: (row) => bytes(row.open_bytes), ...NUMBER },
  ]
  return (
    <Panel
      id="numbers-storage"
      name={name}
      hint={t('numbers.storage_hint')}
      file={reportFile('storage', wanted.value)}
      found={found}
      columns={columns}
      none={t('numbers.storage_none')}
    >
      {(rows) => (hasOwners ? <Owners rows={rows} name={name} /> : <Own rows={rows} />)}
    </Panel>
  )
}

function Owners({ rows, name }: { rows: readonly Stored[]; name: string }) {
  const bars = rows.map(({ owner, bytes }) => ({
    key: owner,
    label: (
      <a href={href(addressOf(owner))} dir="auto">
        {owner}
      </a>
    ),
    value: bytes,
  }))
  return <Bars bars={topOf(bars, bytes, (n) => t('numbers.storage_rest', { n: count(n) }))} tone="accent" name={name} />
}

/** What one owner has: a picture of one bar would say nothing. */
function Own({ rows }: { rows: readonly Stored[] }) {
  const sum = (key: 'bytes' | 'originals' | 'open_uploads' | 'open_bytes') =>
    rows.reduce((all, row) => all + row[key], 0)
  const open = sum('open_uploads')
  return (
    <dl class="panel-facts">
      <dt>{t('numbers.stored_bytes')}</dt>
      <dd>{bytes(sum('bytes'))}</dd>
      <dt>{t('numbers.files')}</dt>
      <dd>{count(sum('originals'))}</dd>
      <dt>{t('numbers.open')}</dt>
      <dd>
        {open === 0
          ? t('numbers.no_value')
          : t('numbers.open_some', { n: count(open), bytes: bytes(sum('open_bytes')) })}
      </dd>
    </dl>
  )
}
