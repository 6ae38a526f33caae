// Everything that the signed-in owner has, from every device.
//
// Rule: only the rows near the window are drawn, and pages are loaded while somebody scrolls; so ten thousand videos are
// as quick as ten.

import { useEffect, useRef } from 'preact/hooks'

import { Button, LinkButton } from '../../parts/button'
import { Empty, Failure, Loading } from '../../parts/states'
import { href } from '../../router'
import {
  failure,
  follow,
  hasMore,
  isFiltered,
  isLoading,
  isTruncated,
  loadFirst,
  loadMore,
  shown,
  wantAll,
} from '../../state/library'
import { selected } from '../../state/selection'
import { tasks } from '../../state/videos'
import { t } from '../../text'
import { Card } from './card'
import { Chosen } from './chosen'
import { useRange } from './layout'
import { look } from './look'
import { Toolbar } from './toolbar'

export default function Videos() {
  useEffect(follow, [])
  const ids = shown.value
  // A page of a search may have nothing, and still be followed by one that has.
  const isEmpty = ids?.length === 0 && !hasMore.value && !isLoading.value
  const isBare = isEmpty && !isFiltered.value
  return (
    <section class="library" aria-labelledby="videos-heading">
      <h1 id="videos-heading">{t('videos.heading')}</h1>
      {!isBare && ids !== null && <Toolbar />}
      {ids === null ? (
        failure.value ? (
          <Failure error={failure.value} again={() => void loadFirst()} />
        ) : (
          <Loading />
        )
      ) : isBare ? (
        <First />
      ) : isEmpty ? (
        <Empty
          icon="search"
          heading={t('videos.none')}
          actions={<Button onClick={wantAll}>{t('videos.clear_filters')}</Button>}
        >
          {t('videos.none_hint')}
        </Empty>
      ) : (
        <List ids={ids} />
      )}
      <Chosen />
    </section>
  )
}

function First() {
  return (
    <Empty
      icon="film"
      heading={t('videos.empty')}
      actions={
        <LinkButton to={href('')} look="primary" icon="upload">
          {t('videos.first')}
        </LinkButton>
      }
    >
      {t('videos.empty_hint')}
    </Empty>
  )
}

function List({ ids }: { ids: readonly string[] }) {
  const list = useRef<HTMLUListElement>(null)
  const { start, end, above, below } = useRange(list, ids.length, look.value)
  const isNearEnd = end >= ids.length - 1
  useEffect(() => {
    if (isNearEnd && hasMore.value && !isLoading.value && !failure.value) void loadMore()
  }, [isNearEnd, ids.length, hasMore.value, isLoading.value])
  const total = hasMore.value ? -1 : ids.length
  return (
    <>
      {isTruncated.value && <p class="library-note">{t('videos.truncated')}</p>}
      {look.value === 'list' && <Heads />}
      <div style={{ paddingTop: `${above}px`, paddingBottom: `${below}px` }} class="videos-room">
        <ul
          ref={list}
          class={`videos is-${look.value} ${selected.value.length > 0 ? 'is-selecting' : ''}`}
          aria-label={t('videos.heading')}
          aria-busy={isLoading.value}
        >
          {ids.slice(start, end).map((id, place) => {
            const task = tasks.value.get(id)
            return task && <Card key={id} task={task} place={start + place} total={total} />
          })}
        </ul>
      </div>
      {hasMore.value && (
        <div class="library-more">
          {failure.value ? (
            <>
              <p>{t('videos.more_failed')}</p>
              <Button
                icon="retry"
                onClick={() => {
                  failure.value = null
                  void loadMore()
                }}
              >
                {t('common.try_again')}
              </Button>
            </>
          ) : (
            <span class="spinner" />
          )}
        </div>
      )}
    </>
  )
}

/** The heads of the columns; screen readers hear each value in its own row. */
function Heads() {
  return (
    <div class="video-heads" aria-hidden="true">
      <span class="video-head-name">{t('videos.name')}</span>
      <span>{t('videos.status')}</span>
      <span>{t('videos.date')}</span>
      <span>{t('videos.length')}</span>
      <span>{t('videos.size')}</span>
    </div>
  )
}
