// The queue: how many videos wait, and how long.
//
// Rule: an hour without a row is like the one before; nothing came and nothing began. Of many days, each has its worst
// hour: percentiles of hours cannot be added up.

import { useMemo } from 'preact/hooks'

import { type ReportQuery, reportFile } from '../../api'
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
const DAY = 24 * HOUR
/** So many days are shown by hour. */
const MOST_BY_HOUR = 14
const NUMBER = { isNumber: true } as const

const secondsOf = (hour: string) => Date.parse(`${hour.replace(' ', 'T')}:00Z`) / 1000

export function Queue() {
  const found = useReport('queue', wanted.value)
  const { rows, of } = found
  const words = (seconds: number | null) => (seconds === null ? '–' : measured(seconds))
  const columns: Column<Hour>[] = [
    { id: 'hour', label: t('numbers.hour'), value: (row) => utcHour(secondsOf(row.hour)) },
    { id: 'waiting', label: t('numbers.waiting'), value: (row) => count(row.waiting), ...NUMBER },
    { id: 'half', label: t('numbers.half_videos'), value: (row) => words(row.wait_p50_seconds), ...NUMBER },
    { id: 'most', label: t('numbers.most_videos'), value: (row) => words(row.wait_p95_seconds), ...NUMBER },
    { id: 'entered', label: t('numbers.entered'), value: (row) => count(row.entered), ...NUMBER },
    { id: 'started', label: t('numbers.started'), value: (row) => count(row.started), ...NUMBER },
    { id: 'ended', label: t('numbers.left'), value: (row) => count(row.ended), ...NUMBER },
  ]
  const drawn = useMemo(() => (rows && of ? series(rows, of) : null), [rows, of, language.value])
  const by = isByHour(of ?? wanted.value) ? '' : 'day_'
  const pictures = [
    {
      id: 'queue',
      name: t('numbers.queue'),
      hint: t(`numbers.queue_${by}hint`),
      scale: COUNTS,
      series: drawn?.waiting,
    },
    { id: 'waits', name: t('numbers.waits'), hint: t(`numbers.waits_${by}hint`), scale: SECONDS, series: drawn?.waits },
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
                step={drawn.step}
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

type Days = Pick<ReportQuery, 'from' | 'to'>

const isByHour = ({ from, to }: Days) => Date.parse(to) - Date.parse(from) < MOST_BY_HOUR * DAY * 1000

function series(rows: readonly Hour[], of: Days) {
  const first = Date.parse(of.from) / 1000
  const now = Math.floor(Date.now() / 1000 / HOUR) * HOUR
  const last = Math.max(first, Math.min(Date.parse(of.to) / 1000 + 23 * HOUR, now))
  const byTime = new Map(rows.map((row) => [secondsOf(row.hour), row]))
  let waiting = 0
  const hours = Array.from({ length: (last - first) / HOUR + 1 }, (_, place) => {
    const row = byTime.get(first + place * HOUR)
    waiting = row?.waiting ?? waiting
    return { waiting, half: row?.wait_p50_seconds ?? null, most: row?.wait_p95_seconds ?? null }
  })
  const step = isByHour(of) ? HOUR : DAY
  const points = groupsOf(hours, step / HOUR)
  const look = { look: 'line' } as const
  const depth = points.map((some) => Math.max(...some.map((hour) => hour.waiting)))
  const wait = (key: 'half' | 'most') =>
    points.map((some) => some.reduce<number | null>((most, hour) => greater(most, hour[key]), null))
  const half: Series = { label: t('numbers.half_videos'), colour: '--accent', values: wait('half'), ...look }
  const most: Series = { label: t('numbers.most_videos'), colour: '--work', values: wait('most'), ...look }
  return {
    step,
    times: points.map((_, place) => first + place * step),
    waiting: [
      { label: t('numbers.waiting'), colour: '--accent', look: step === DAY ? 'bars' : 'area', values: depth },
    ] satisfies Series[],
    // Half of the few videos of one hour say nothing of a day.
    waits: step === DAY ? [most] : [half, most],
  }
}

const greater = (one: number | null, other: number | null) =>
  one === null || other === null ? (one ?? other) : Math.max(one, other)

function groupsOf<One>(all: readonly One[], size: number): One[][] {
  return Array.from({ length: Math.ceil(all.length / size) }, (_, place) => all.slice(place * size, (place + 1) * size))
}
