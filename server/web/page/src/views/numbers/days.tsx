// The pictures by day: uploads, bytes, rates, times.
//
// Rule: a day without a row had no uploads; its counts are 0, and its rates and times are not known.

import { useMemo } from 'preact/hooks'

import { reportFile } from '../../api'
import type { Reports } from '../../api/types'
import { bytes, count, measured, percent, utcDay } from '../../format'
import { language } from '../../state/language'
import { t } from '../../text'
import { Chart, type Series } from './chart'
import { type Column, Panel } from './panel'
import { daysOf, wanted } from './range'
import { type Found, useReport } from './report'
import { BYTES, COUNTS, type Scale, SECONDS, SHARES } from './scale'

const DAY = 86_400
const NUMBER = { isNumber: true } as const

/** The days of the rows that are shown, which may be those before another choice. */
function useDays({ of }: Found<unknown>): { days: string[]; times: number[] } {
  const { from, to } = of ?? wanted.value
  return useMemo(() => {
    const days = daysOf(from, to)
    return { days, times: days.map((day) => Date.parse(day) / 1000) }
  }, [from, to])
}

interface Line<Row> {
  label: string
  colour: Series['colour']
  look: Series['look']
  value: (row: Row) => number | null
  /** Of a day without a row. */
  otherwise: number | null
}

function Days<Row extends { day: string }>({
  id,
  name,
  rows,
  found,
  lines,
  scale,
}: {
  id: string
  name: string
  rows: readonly Row[]
  found: Found<Row>
  lines: readonly Line<Row>[]
  scale: Scale
}) {
  const { days, times } = useDays(found)
  const series = useMemo(() => {
    const byDay = new Map(rows.map((row) => [row.day, row]))
    return lines.map(({ label, colour, look, value, otherwise }) => ({
      label,
      colour,
      look,
      values: days.map((day) => {
        const row = byDay.get(day)
        return row ? value(row) : otherwise
      }),
    }))
  }, [rows, days, language.value])
  return <Chart id={`${id}-chart`} name={name} times={times} step={DAY} series={series} scale={scale} />
}

const dayColumn = <Row extends { day: string }>(): Column<Row> => ({
  id: 'day',
  label: t('numbers.day'),
  value: ({ day }) => utcDay(day),
})

type Upload = Reports['uploads']

/** Uploads and bytes: two pictures of one report. */
export function UploadsByDay() {
  const found = useReport('uploads', wanted.value)
  const file = reportFile('uploads', wanted.value)
  const columns: Column<Upload>[] = [
    dayColumn(),
    { id: 'uploads', label: t('numbers.uploads'), value: (row) => count(row.uploads), ...NUMBER },
    { id: 'completed', label: t('numbers.completed'), value: (row) => count(row.completed), ...NUMBER },
    { id: 'resumed', label: t('numbers.resumed'), value: (row) => count(row.resumed), ...NUMBER },
    { id: 'expired', label: t('numbers.expired'), value: (row) => count(row.expired), ...NUMBER },
    { id: 'bytes', label: t('numbers.bytes'), value: (row) => bytes(row.bytes), ...NUMBER },
  ]
  const pictures = [
    { id: 'uploads', scale: COUNTS, value: (row: Upload) => row.uploads, label: t('numbers.uploads') },
    { id: 'bytes', scale: BYTES, value: (row: Upload) => row.bytes, label: t('numbers.bytes') },
  ] as const
  return (
    <>
      {pictures.map(({ id, scale, value, label }) => {
        const name = t(`numbers.${id}_day`)
        const line: Line<Upload> = { label, colour: '--accent', look: 'bars', value, otherwise: 0 }
        return (
          <Panel
            key={id}
            id={`numbers-${id}`}
            name={name}
            hint={t(`numbers.${id}_day_hint`)}
            file={file}
            found={found}
            columns={columns}
            isNewestFirst
            none={t('numbers.none_in_chart')}
          >
            {(rows) => <Days id={`numbers-${id}`} name={name} rows={rows} found={found} lines={[line]} scale={scale} />}
          </Panel>
        )
      })}
    </>
  )
}

type Rate = Reports['rates']

export function RatesByDay() {
  const found = useReport('rates', wanted.value)
  const name = t('numbers.rates')
  const share = (rate: number | null) => (rate === null ? '–' : percent(rate, 1))
  const columns: Column<Rate>[] = [
    dayColumn(),
    { id: 'success', label: t('numbers.success_rate'), value: (row) => share(row.success_rate), ...NUMBER },
    { id: 'resume', label: t('numbers.resume_rate'), value: (row) => share(row.resume_rate), ...NUMBER },
    { id: 'ended', label: t('numbers.ended'), value: (row) => count(row.ended), ...NUMBER },
    { id: 'succeeded', label: t('numbers.succeeded'), value: (row) => count(row.succeeded), ...NUMBER },
    { id: 'failed', label: t('numbers.failed'), value: (row) => count(row.failed), ...NUMBER },
    { id: 'rejected', label: t('numbers.rejected'), value: (row) => count(row.rejected), ...NUMBER },
    { id: 'expired', label: t('numbers.expired'), value: (row) => count(row.expired), ...NUMBER },
  ]
  const look = { look: 'line', otherwise: null } as const
  const lines: Line<Rate>[] = [
    { label: t('numbers.success_rate'), colour: '--accent', value: (row) => row.success_rate, ...look },
    { label: t('numbers.resume_rate'), colour: '--work', value: (row) => row.resume_rate, ...look },
  ]
  return (
    <Panel
      id="numbers-rates"
      name={name}
      hint={t('numbers.rates_hint')}
      file={reportFile('rates', wanted.value)}
      found={found}
      columns={columns}
      isNewestFirst
      none={t('numbers.none_in_chart')}
    >
      {(rows) => <Days id="numbers-rates" name={name} rows={rows} found={found} lines={lines} scale={SHARES} />}
    </Panel>
  )
}

type Time = Reports['times']

export function TimesByDay() {
  const found = useReport('times', wanted.value)
  const name = t('numbers.times')
  const words = (seconds: number | null) => (seconds === null ? '–' : measured(seconds))
  const columns: Column<Time>[] = [
    dayColumn(),
    { id: 'p50', label: t('numbers.half'), value: (row) => words(row.p50_seconds), ...NUMBER },
    { id: 'p95', label: t('numbers.most'), value: (row) => words(row.p95_seconds), ...NUMBER },
    { id: 'uploads', label: t('numbers.uploads'), value: (row) => count(row.uploads), ...NUMBER },
  ]
  const look = { look: 'line', otherwise: null } as const
  const lines: Line<Time>[] = [
    { label: t('numbers.half'), colour: '--accent', value: (row) => row.p50_seconds, ...look },
    { label: t('numbers.most'), colour: '--work', value: (row) => row.p95_seconds, ...look },
  ]
  return (
    <Panel
      id="numbers-times"
      name={name}
      hint={t('numbers.times_hint')}
      file={reportFile('times', wanted.value)}
      found={found}
      columns={columns}
      isNewestFirst
      none={t('numbers.none_in_chart')}
    >
      {(rows) => <Days id="numbers-times" name={name} rows={rows} found={found} lines={lines} scale={SECONDS} />}
    </Panel>
  )
}
