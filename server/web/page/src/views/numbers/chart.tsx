// A chart over time, drawn by uPlot on a canvas.
//
// Rule: what can be pointed at can be reached by keyboard and is read aloud: to a screen reader the chart is a slider over
// its points. Colours are those of the style sheet, whatever scheme is on.

import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import uPlot from 'uplot'

import { utcDay, utcHour, utcMark } from '../../format'
import { language } from '../../state/language'
import { t } from '../../text'
import { marksTo, roof, type Scale, TIME_STEPS } from './scale'

export interface Series {
  label: string
  values: readonly (number | null)[]
  colour: '--accent' | '--work'
  look: 'bars' | 'line' | 'area'
}

/** Points of a series that are marked, where there are so few. */
const FEW = 45
/** Bars, where there are so few; more of them touch. */
const MOST_BARS = 120
const AXIS_FONT = 12
const LEAST_WIDTH = 120

export function Chart({
  id,
  name,
  times,
  step,
  series,
  scale,
}: {
  id: string
  name: string
  /** Seconds since 1970, ascending. */
  times: readonly number[]
  /** Seconds that a point stands for. */
  step: number
  series: readonly Series[]
  scale: Scale
}) {
  const frame = useRef<HTMLDivElement>(null)
  const plot = useRef<uPlot | null>(null)
  const [at, setAt] = useState<number | null>(null)
  const spoken = language.value
  const data = useMemo<uPlot.AlignedData>(
    () => [[...times], ...series.map(({ values }) => [...values])] as uPlot.AlignedData,
    [times, series],
  )
  useEffect(() => {
    const place = frame.current
    if (!place) return
    const options = optionsOf(place, { times, step, series, scale }, (index) => setAt(index))
    const drawn = new uPlot(options, data, place)
    plot.current = drawn
    const sized = new ResizeObserver(() => {
      const { width, height } = sizeOf(place)
      if (width !== drawn.width || height !== drawn.height) drawn.setSize({ width, height })
    })
    sized.observe(place)
    const schemes = [matchMedia('(prefers-color-scheme: dark)'), matchMedia('(forced-colors: active)')]
    const redraw = () => drawn.redraw()
    for (const one of schemes) one.addEventListener('change', redraw)
    return () => {
      for (const one of schemes) one.removeEventListener('change', redraw)
      sized.disconnect()
      drawn.destroy()
      plot.current = null
      setAt(null)
    }
  }, [data, spoken, step, scale])

  const last = times.length - 1
  const point = (index: number | null) => {
    const drawn = plot.current
    const time = index === null ? undefined : times[index]
    if (time === undefined) drawn?.setCursor({ left: -10, top: -10 })
    else drawn?.setCursor({ left: drawn.valToPos(time, 'x'), top: 0 })
    setAt(index)
  }
  const move = (event: KeyboardEvent) => {
    const week = step < 86_400 ? 24 : 7
    const now = at ?? last + 1
    const to = {
      ArrowLeft: now - 1,
      ArrowDown: now - 1,
      ArrowRight: at === null ? last : now + 1,
      ArrowUp: at === null ? last : now + 1,
      PageDown: now - week,
      PageUp: now + week,
      Home: 0,
      End: last,
    }[event.key]
    if (event.key === 'Escape') point(null)
    else if (to === undefined || event.altKey || event.ctrlKey || event.metaKey) return
    else point(Math.min(last, Math.max(0, to)))
    event.preventDefault()
  }
  const shown = at ?? last
  const when = times[shown] === undefined ? '' : whenOf(times[shown], step)
  const words = series.map((one) => t('numbers.pair', { name: one.label, value: valueAt(one, shown, scale) }))
  return (
    <figure class="chart">
      <p class="chart-reading" aria-hidden="true">
        {series.map((one) => (
          <span key={one.label} class={`chart-series is-${one.colour.slice(2)}`}>
            <span class="chart-swatch" />
            {one.label}
            {at !== null && <strong>{valueAt(one, at, scale)}</strong>}
          </span>
        ))}
        {at !== null && <span class="chart-when">{when}</span>}
      </p>
      <div
        ref={frame}
        id={id}
        class="chart-frame"
        role="slider"
        tabIndex={0}
        aria-label={t('numbers.chart_of', { name })}
        aria-valuemin={0}
        aria-valuemax={Math.max(0, last)}
        aria-valuenow={Math.max(0, shown)}
        aria-valuetext={t('numbers.point', { when, values: words.join(t('unit.comma')) })}
        onKeyDown={move}
        onBlur={() => point(null)}
      />
    </figure>
  )
}

function whenOf(time: number, step: number): string {
  return step < 86_400 ? utcHour(time) : utcDay(new Date(time * 1000).toISOString())
}

function valueAt({ values }: Series, place: number, { format }: Scale): string {
  const value = values[place]
  return value === null || value === undefined ? t('numbers.no_value') : format(value)
}

function sizeOf(place: HTMLElement) {
  return { width: Math.max(LEAST_WIDTH, Math.floor(place.clientWidth)), height: place.clientHeight }
}

function optionsOf(
  place: HTMLElement,
  { times, step, series, scale }: { times: readonly number[]; step: number; series: readonly Series[]; scale: Scale },
  point: (index: number | null) => void,
): uPlot.Options {
  const styles = getComputedStyle(place) // live: it has the colours of the scheme of now
  const colour = (name: string) => styles.getPropertyValue(name).trim()
  const font = `${AXIS_FONT}px ${styles.fontFamily}`
  const first = times[0] ?? 0
  const last = times.at(-1) ?? 0
  const line = { stroke: () => colour('--line'), width: 1 }
  const axis = { font, stroke: () => colour('--muted'), ticks: { show: false } }
  return {
    ...sizeOf(place),
    padding: [10, 18, 0, 0],
    legend: { show: false },
    tzDate: (time) => uPlot.tzDate(new Date(time * 1000), 'Etc/UTC'),
    scales: {
      x: { time: true, range: () => [first - step / 2, last + step / 2] },
      y: { range: (_, __, most) => [0, roof(most, scale)] },
    },
    axes: [
      {
        ...axis,
        grid: { show: false },
        size: 26,
        gap: 6,
        space: 64,
        incrs: TIME_STEPS.filter((one) => one >= step),
        values: (_, marks, __, ___, between) => marks.map((mark) => utcMark(mark, between)),
      },
      {
        ...axis,
        grid: line,
        gap: 6,
        splits: (_, __, ___, end) => marksTo(end, scale),
        size: (_, marks) => widest(marks ?? [], font) + 10,
        values: (_, marks) => marks.map((mark) => scale.mark(mark)),
      },
    ],
    series: [{}, ...series.map((one) => seriesOf(one, colour))],
    cursor: {
      y: false,
      // On the point, not between two of them.
      move: (drawn, left, top) => [left < 0 ? left : drawn.valToPos(times[drawn.posToIdx(left)] ?? 0, 'x'), top],
      drag: { x: false, y: false, setScale: false },
      points: {
        size: 9,
        width: 2,
        stroke: () => colour('--card'),
        fill: (_, place) => colour(colourAt(series, place)),
      },
      sync: { key: `numbers-${step}`, scales: ['x', null] },
    },
    hooks: { setCursor: [({ cursor }) => point((cursor.left ?? -1) < 0 ? null : (cursor.idx ?? null))] },
  }
}

const colourAt = (series: readonly Series[], place: number) => series[place - 1]?.colour ?? '--accent'

function seriesOf(one: Series, colour: (name: string) => string): uPlot.Series {
  const known = one.values.filter((value) => value !== null).length
  const stroke = () => colour(one.colour)
  const tint = () => (/^#[\da-f]{6}$/i.test(stroke()) ? `${stroke()}38` : 'transparent')
  const isBars = one.look === 'bars' && one.values.length <= MOST_BARS
  const paths = isBars
    ? uPlot.paths.bars?.({ size: [0.7, 36, 1], radius: 0.12 })
    : one.look === 'line'
      ? uPlot.paths.linear?.()
      : uPlot.paths.stepped?.({ align: 1 })
  return {
    label: one.label,
    stroke,
    width: one.look === 'bars' ? 0 : 2,
    ...(one.look === 'bars' ? { fill: stroke } : one.look === 'line' ? {} : { fill: tint }),
    ...(paths && { paths }),
    spanGaps: true,
    points: { show: one.look === 'line' && known <= FEW, size: 6, fill: stroke, stroke },
  }
}

const ruler = document.createElement('canvas').getContext('2d')

/** Pixels that the longest of these takes. */
function widest(words: readonly string[], font: string): number {
  if (!ruler) return 48
  ruler.font = font
  return Math.ceil(Math.max(0, ...words.map((one) => ruler.measureText(one).width)))
}
