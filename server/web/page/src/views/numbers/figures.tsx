// The figures that an operator reads in ten seconds, each compared with the days before.
//
// Rule: a change is said in words, too; colour and arrow are beside it. What is neither good nor bad has no colour.

import type { Reports } from '../../api/types'
import { bytes, compact, count, measured, number, percent } from '../../format'
import { t } from '../../text'

type Totals = Reports['totals']

interface Change {
  arrow: '↑' | '↓' | ''
  words: string
  spoken: string
  tone: 'good' | 'bad' | 'plain'
}

export function Figures({
  now,
  then,
  days,
  stored,
}: {
  now: Totals
  /** Null until it is known. */
  then: Totals | null
  days: number
  /** What is on the disk; null until it is known. */
  stored: { originals: number; bytes: number } | null
}) {
  const unsuccessful = now.failed + now.rejected + now.expired
  const most = now.p95_seconds === null ? null : measured(now.p95_seconds)
  return (
    <dl class="figures card" aria-label={t('numbers.figures')}>
      <Figure
        id="uploads"
        label={t('numbers.uploads')}
        value={compact(now.uploads)}
        title={count(now.uploads)}
        note={t('numbers.arrived', { n: compact(now.arrived) })}
        change={then && grown(now.uploads, then.uploads)}
      />
      <Figure
        id="bytes"
        label={t('numbers.data')}
        value={bytes(now.bytes)}
        note={t('numbers.a_day', { bytes: bytes(now.bytes / days) })}
        change={then && grown(now.bytes, then.bytes)}
      />
      <Figure
        id="success"
        label={t('numbers.success')}
        value={share(now.success_rate)}
        note={t('numbers.unsuccessful', { n: compact(unsuccessful), total: compact(now.ended) })}
        change={then && moved(now.success_rate, then.success_rate, true)}
      />
      <Figure
        id="playable"
        label={t('numbers.playable')}
        value={now.p50_seconds === null ? '–' : measured(now.p50_seconds)}
        note={most === null ? '' : t('numbers.playable_most', { time: most })}
        change={then && grown(now.p50_seconds, then.p50_seconds, 'less')}
      />
      <Figure
        id="resumed"
        label={t('numbers.resumed')}
        value={share(now.resume_rate)}
        note={t('numbers.resumed_of', { n: compact(now.resumed), total: compact(now.arrived) })}
        change={then && moved(now.resume_rate, then.resume_rate)}
      />
      <Figure
        id="stored"
        label={t('numbers.stored')}
        value={stored ? bytes(stored.bytes) : '–'}
        note={stored ? t('numbers.originals', { n: compact(stored.originals) }) : ''}
      />
    </dl>
  )
}

function Figure({
  id,
  label,
  value,
  title,
  note,
  change,
}: {
  id: string
  label: string
  value: string
  title?: string
  note: string
  change?: Change | null
}) {
  return (
    <div class="figure" data-figure={id}>
      <dt>{label}</dt>
      <dd class="figure-value" title={title}>
        {value}
      </dd>
      <dd class="figure-note">{note}</dd>
      <dd class={`figure-change is-${change?.tone ?? 'plain'}`}>
        {change && (
          <>
            <span aria-hidden="true">{`${change.arrow} ${change.words}`.trim()}</span>
            <span class="unseen">{change.spoken}</span>
          </>
        )}
      </dd>
    </div>
  )
}

const share = (rate: number | null) => (rate === null ? '–' : percent(rate, 1))

const UNKNOWN = (): Change => ({ arrow: '', words: '–', spoken: t('numbers.nothing_before'), tone: 'plain' })
const SAME = (): Change => ({ arrow: '', words: t('numbers.same'), spoken: t('numbers.same'), tone: 'plain' })

/** The change of an amount, relative to what it was; `better` where one direction is. */
function grown(now: number | null, before: number | null, better?: 'less'): Change {
  if (now === null || !before) return UNKNOWN()
  const part = now / before - 1
  if (Math.abs(part) < 0.005) return SAME()
  const words =
    part >= 9 ? t('numbers.times_more', { n: compact(Math.round(part + 1)) }) : `${number(Math.abs(part) * 100)}%`
  return toward(part > 0, words, better && part < 0 === (better === 'less'))
}

/** The change of a rate, in points of a percentage. */
function moved(now: number | null, before: number | null, isMoreBetter?: boolean): Change {
  if (now === null || before === null) return UNKNOWN()
  const points = Math.round((now - before) * 1000) / 10
  if (points === 0) return SAME()
  const words = t('numbers.points', { n: number(Math.abs(points), 1) })
  return toward(points > 0, words, isMoreBetter && points > 0)
}

/** `isBetter` is undefined where no direction is better. */
function toward(isMore: boolean, words: string, isBetter: boolean | undefined): Change {
  const tone = isBetter === undefined ? 'plain' : isBetter ? 'good' : 'bad'
  const spoken = t(isMore ? 'numbers.more' : 'numbers.less', { change: words })
  return { arrow: isMore ? '↑' : '↓', words, spoken, tone }
}
