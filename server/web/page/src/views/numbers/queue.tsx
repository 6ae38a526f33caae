// The queue by hour: how many videos wait, and how long.
//
// Rule: an hour without a row is like the one before; nothing came and nothing began.

import { useMemo } from 'preact/hooks'

import { reportFile } from '../../api'
import type { Reports } from '../../api/types'
import { count, measured, utcHour } from '../../format'
import { language } from '../../state/language'
import { t } from '../../text'
import { Chart, type Series } from './chart'
import { type Column, Panel } from './panel'
import { wanted } from './range'
import { useReport } from './report'
import { COUNTS, SECONDS } from './scale'

type Hour = Reports['queue']

const HOUR = 3600
const NUMBER = { isNumber: true } as const

const secondsOf = (hour: string) => Date.parse(`${hour.replace(' ', 'T')}:00Z`) / 1000

export function Queue() {
  const found = useReport('queue', wanted.value)
  const { rows, of } = found
  const words = (seconds: number | null) => (seconds === null ? '–' : measured(seconds))
  const columns: Column<Hour>[] = [
    { id: 'hour', label: t('numbers.hour'), value: (row) => utcHour(secondsOf(row.hour)) },
    { id: 'waiting', label: t('numbers.waiting'), value: (row) => count(row.waiting), ...NUMBER },
    { id: 'half', label: t('numbers.half'), value: (row) => words(row.wait_p50_seconds), ...NUMBER },
    { id: 'most', label: t('numbers.most'), value: (row) => words(row.wait_p95_seconds), ...NUMBER },
    { id: 'entered', label: t('numbers.entered'), value: (row) => count(row.entered), ...NUMBER },
    { id: 'started', label: t('numbers.started'), value: (row) => count(row.started), ...NUMBER },
    { id: 'ended', label: t('numbers.left'), value: (row) => count(row.ended), ...NUMBER },
  ]
  const drawn = useMemo(() => (rows && of ? series(rows, of) : null), [rows, of, language.value])
  const pictures = [
    { id: 'queue', name: t('numbers.queue'), hint: t('numbers.queue_hint'), scale: COUNTS, series: drawn?.waiting },
    { id: 'waits', name: t('numbers.waits'), hint: t('numbers.waits_hint'), scale: SECONDS, series: drawn?.waits },
  ]
  return (
    <>
      {pictures.map(({ id, name, hint, scale, series }) => (
        <Panel
          key={id}
          id={`numbers-${id}`}
          name={name}
          hint={hint}
          file={reportFile('queue', wanted.value)}
          found={found}
          columns={columns}
          isNewestFirst
          none={t('numbers.queue_none')}
        >
          {() =>
            drawn &&
            series && (
              <Chart
                id={`numbers-${id}-chart`}
                name={name}
                times={drawn.times}
                step={HOUR}
                series={series}
                scale={scale}
              />
            )
          }
        </Panel>
      ))}
    </>
  )
}

function series(rows: readonly Hour[], of: { from: string; to: string }) {
  const first = Date.parse(of.from) / 1000
  const now = Math.floor(Date.now() / 1000 / HOUR) * HOUR
  const last = Math.max(first, Math.min(Date.parse(of.to) / 1000 + 23 * HOUR, now))
  const times = Array.from({ length: (last - first) / HOUR + 1 }, (_, place) => first + place * HOUR)
  const byTime = new Map(rows.map((row) => [secondsOf(row.hour), row]))
  let waiting = 0
  const depth = times.map((time) => {
    waiting = byTime.get(time)?.waiting ?? waiting
    return waiting
  })
  const wait = (key: 'wait_p50_seconds' | 'wait_p95_seconds') => times.map((time) => byTime.get(time)?.[key] ?? null)
  const look = { look: 'line' } as const
  return {
    times,
    waiting: [{ label: t('numbers.waiting'), colour: '--accent', look: 'area', values: depth }] satisfies Series[],
    waits: [
      { label: t('numbers.half'), colour: '--accent', values: wait('wait_p50_seconds'), ...look },
      { label: t('numbers.most'), colour: '--work', values: wait('wait_p95_seconds'), ...look },
    ] satisfies Series[],
  }
}
