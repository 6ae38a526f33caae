// Everything that the signed-in owner has, the newest first.

import { useEffect, useState } from 'preact/hooks'

import { listen } from '../../api/events'
import { mediaAddress } from '../../api/media'
import type { Task } from '../../api/types'
import { clock, day, number } from '../../format'
import { Button, LinkButton } from '../../parts/button'
import { Icon } from '../../parts/icon'
import { Empty, Failure, Loading } from '../../parts/states'
import { href } from '../../router'
import { load, nameOf, tasks } from '../../state/videos'
import { t } from '../../text'

export default function Videos() {
  const [ids, setIds] = useState<readonly string[] | null>(null)
  const [next, setNext] = useState<string | null>(null)
  const [error, setError] = useState<unknown>(null)
  const first = async () => {
    setError(null)
    try {
      const page = await load()
      setIds(page.ids)
      setNext(page.next)
    } catch (problem) {
      setError(problem)
    }
  }
  const more = async () => {
    if (next === null) return
    const page = await load({ cursor: next })
    setIds([...(ids ?? []), ...page.ids])
    setNext(page.next)
  }
  useEffect(() => {
    void first()
    return listen({ missed: () => void first() })
  }, [])

  if (ids === null) return error ? <Failure error={error} again={first} /> : <Loading />
  if (ids.length === 0) {
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
  return (
    <section aria-labelledby="videos-heading">
      <h1 id="videos-heading">{t('videos.heading')}</h1>
      <ul class="rows">
        {ids.map((id) => {
          const task = tasks.value.get(id)
          return task && <Row key={id} task={task} />
        })}
      </ul>
      {next !== null && <Button onClick={more}>{t('common.load_more')}</Button>}
    </section>
  )
}

function Row({ task }: { task: Task }) {
  const [file] = task.files
  const poster = mediaAddress(file?.poster_url)
  return (
    <li class="row" data-state={task.status}>
      <div class="picture">{poster ? <img src={poster} alt="" loading="lazy" /> : <Icon name="film" />}</div>
      <div class="body">
        <p class="title">
          <span class="name" dir="auto" title={nameOf(task)}>
            {nameOf(task)}
          </span>
          {file?.duration ? <span class="size">{clock(file.duration)}</span> : null}
        </p>
        <p class="line">
          {statusWords(task)} · {day(task.created_at_utc)}
        </p>
      </div>
    </li>
  )
}

function statusWords(task: Task): string {
  if (task.removed) return t('status.deleted')
  if (task.status === 'uploaded') return t('status.queued')
  if (task.status === 'processing') return t('status.processing', { percent: number(task.progress) })
  return t(`status.${task.status}`)
}
