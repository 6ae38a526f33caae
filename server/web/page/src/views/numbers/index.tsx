// Numbers of uploads and processing, pictures before tables.
//
// Rule: everything is from the reports of the API; what one of them lacks hides none of the others.

import { useEffect, useRef } from 'preact/hooks'

import { Refusal } from '../../api/client'
import { utcDays } from '../../format'
import { Button, LinkButton } from '../../parts/button'
import { Empty, Failure, Loading } from '../../parts/states'
import { href } from '../../router'
import { can, isProtected, visitor } from '../../state/session'
import { reasonText, t } from '../../text'
import { RatesByDay, TimesByDay, UploadsByDay } from './days'
import { Figures } from './figures'
import { Failures, Storage } from './lists'
import { Queue } from './queue'
import { before, chooseLength, owner, range, wanted } from './range'
import { type Found, useReport } from './report'
import { Tools } from './tools'

const SUGGESTED = 100

export default function Numbers() {
  // Nothing of one visitor stays on the screen for another.
  return <Everything key={visitor.value?.owner ?? ''} />
}

function Everything() {
  const earlier = before(range.value)
  const totals = useReport('totals', wanted.value)
  const totalsBefore = useReport('totals', { ...earlier, owner: owner.value })
  const storage = useReport('storage', wanted.value)
  const seesAll = isProtected && can('admin')
  const suggested = useRef<readonly string[]>([])
  if (seesAll && storage.rows && !storage.of?.owner) {
    suggested.current = storage.rows.slice(0, SUGGESTED).map((row) => row.owner)
  }
  const stored = storage.rows && {
    originals: storage.rows.reduce((sum, row) => sum + row.originals, 0),
    bytes: storage.rows.reduce((sum, row) => sum + row.bytes, 0),
  }
  useTitle()
  const [now] = totals.rows ?? []
  const [then = null] = (isOf(totalsBefore, earlier) && totalsBefore.rows) || []
  const hasOwners = seesAll && !owner.value
  const isForbidden = totals.error instanceof Refusal && totals.error.status === 403
  return (
    <section class="numbers" aria-labelledby="numbers-heading">
      <h1 id="numbers-heading">{t('numbers.heading')}</h1>
      {!isForbidden && <Tools owners={seesAll ? suggested.current : null} />}
      <p class="numbers-note" hidden={isForbidden}>
        {t('numbers.note', {
          days: utcDays(range.value.from, range.value.to),
          earlier: utcDays(earlier.from, earlier.to),
        })}
      </p>
      {!now ? (
        totals.error ? (
          <Trouble totals={totals} />
        ) : (
          <Loading />
        )
      ) : now.uploads > 0 ? (
        <>
          <Figures now={now} then={then} days={range.value.days} stored={stored} />
          <div class="panels">
            <UploadsByDay />
            <RatesByDay />
            <TimesByDay />
            <Failures />
            <Storage found={storage} hasOwners={hasOwners} />
            {can('admin') && !owner.value && <Queue />}
          </div>
        </>
      ) : (
        <>
          <Nothing isFirst={(stored?.originals ?? 0) === 0} hasOwners={seesAll} />
          {stored && stored.originals > 0 && (
            <div class="panels">
              <Storage found={storage} hasOwners={hasOwners} />
            </div>
          )}
        </>
      )}
    </section>
  )
}

/** Whether an answer is of these days; it may still be that of a choice before. */
function isOf({ of }: Found<unknown>, { from, to }: { from: string; to: string }): boolean {
  return of?.from === from && of.to === to && of.owner === owner.value
}

function useTitle() {
  const heading = t('numbers.heading')
  useEffect(() => {
    const earlier = document.title
    document.title = `${heading} · Videodock`
    return () => {
      document.title = earlier
    }
  }, [heading])
}

function Trouble({ totals }: { totals: Found<unknown> }) {
  const { error, again } = totals
  if (error instanceof Refusal && error.code === 'report_too_large') {
    return (
      <Empty icon="chart" heading={t('numbers.too_large')}>
        {reasonText(error.reason)}
      </Empty>
    )
  }
  return <Failure error={error} again={again} />
}

/** No uploads: perhaps of these days, or none at all. */
function Nothing({ isFirst, hasOwners }: { isFirst: boolean; hasOwners: boolean }) {
  const isYear = range.value.length === 365
  const isNone = isFirst && isYear && !owner.value
  return (
    <Empty
      icon="chart"
      heading={t(isNone ? 'numbers.empty_all' : 'numbers.empty')}
      actions={
        <>
          {isFirst && can('upload') && (
            <LinkButton to={href('')} look="primary" icon="upload">
              {t('videos.first')}
            </LinkButton>
          )}
          {!isYear && <Button onClick={() => chooseLength(365)}>{t('numbers.empty_year')}</Button>}
        </>
      }
    >
      {t(isNone ? 'numbers.empty_all_hint' : hasOwners ? 'numbers.empty_hint' : 'numbers.empty_own_hint')}
    </Empty>
  )
}
