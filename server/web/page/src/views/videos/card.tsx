// One video in the list: the same parts in the grid and in the list; the style sheet places them.

import { useEffect, useRef, useState } from 'preact/hooks'

import { mediaAddress } from '../../api/media'
import type { Task } from '../../api/types'
import { bytes, clock, day, moment } from '../../format'
import { Icon } from '../../parts/icon'
import { Menu, type MenuItem } from '../../parts/menu'
import { StillImage, stillAt, useBoard } from '../../parts/player/storyboard'
import { Progress } from '../../parts/progress'
import { TitleField } from '../../parts/title-field'
import { href } from '../../router'
import {
  bestDownload,
  canRetry,
  copyLinks,
  deleteVideos,
  downloadVideos,
  isRunning,
  retryVideos,
  stopVideo,
} from '../../state/actions'
import { isSelected, press } from '../../state/selection'
import { may } from '../../state/session'
import { nameOf } from '../../state/videos'
import { statusWord } from '../../state/words'
import { t } from '../../text'

export function Card({ task, place, total }: { task: Task; place: number; total: number }) {
  const id = task.task_id
  const name = nameOf(task)
  const [file] = task.files
  const [isEdited, setEdited] = useState(false)
  const isChosen = isSelected(id)
  return (
    <li
      class={`video ${isChosen ? 'is-selected' : ''}`}
      data-state={task.status}
      data-id={id}
      aria-setsize={total}
      aria-posinset={place + 1}
    >
      <Picture task={task} name={name} />
      <input
        type="checkbox"
        class="video-check"
        checked={isChosen}
        aria-label={t('videos.select', { name })}
        onClick={({ shiftKey, currentTarget }) => {
          press(id, shiftKey)
          // With Shift, one that is selected stays so, whatever the browser has made of its box.
          currentTarget.checked = isSelected(id)
        }}
      />
      <div class="video-words">
        {isEdited ? (
          <TitleField task={task} close={() => setEdited(false)} />
        ) : (
          <a class="video-name" dir="auto" title={name} href={href(`v/${id}`)}>
            {name}
          </a>
        )}
        <p class="video-line">
          <span class={`video-status is-${task.waiting ? 'waiting' : task.status}`} title={reason(task)}>
            {task.status === 'error' && <Icon name="alert" />}
            {statusWord(task)}
          </span>
          <time class="video-date" dateTime={task.created_at_utc} title={moment(task.created_at_utc)}>
            {day(task.created_at_utc)}
          </time>
        </p>
      </div>
      <span class="video-length">{file?.duration ? clock(file.duration) : ''}</span>
      <span class="video-size">{file ? bytes(file.size) : ''}</span>
      <Menu label={t('videos.actions', { name })} items={items(task, () => setEdited(true))} />
    </li>
  )
}

function reason({ status, waiting, files, message }: Task): string | undefined {
  if (status === 'error') return files.find(({ error }) => error)?.error?.message ?? message
  return waiting ? message : undefined
}

function items(task: Task, edit: () => void): MenuItem[] {
  const id = task.task_id
  const found: MenuItem[] = [{ label: t('videos.copy_link'), icon: 'link', act: () => void copyLinks([id]) }]
  if (task.files.some(bestDownload))
    found.push({ label: t('videos.download'), icon: 'download', act: () => void downloadVideos([task]) })
  if (!may('manage')) return found
  found.unshift({ label: t('videos.rename'), icon: 'edit', act: edit })
  if (canRetry(task)) found.push({ label: t('videos.retry'), icon: 'retry', act: () => void retryVideos([task]) })
  if (isRunning(task)) found.push({ label: t('videos.stop'), icon: 'cross', act: () => void stopVideo(id) })
  found.push({ label: t('videos.delete'), icon: 'bin', danger: true, act: () => deleteVideos([task]) })
  return found
}

/** The poster; below the pointer, the moment of the video that it points at. */
function Picture({ task, name }: { task: Task; name: string }) {
  const [file] = task.files
  const poster = mediaAddress(file?.poster_url)
  const [isBroken, setBroken] = useState(false)
  const [at, setAt] = useState<number | null>(null)
  const [isWanted, setWanted] = useState(false)
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined)
  const board = useBoard(mediaAddress(file?.storyboard_url), isWanted)
  useEffect(() => setBroken(false), [poster])
  useEffect(() => () => clearTimeout(timer.current), [])
  const still = board && at !== null ? stillAt(board, at * (board.stills.at(-1)?.end ?? 0)) : null
  return (
    <a
      class="video-picture"
      href={href(`v/${task.task_id}`)}
      tabIndex={-1}
      onPointerEnter={({ pointerType }) => {
        if (pointerType === 'mouse') timer.current = setTimeout(() => setWanted(true), 120)
      }}
      onPointerMove={({ pointerType, clientX, currentTarget }) => {
        const { left, width } = currentTarget.getBoundingClientRect()
        if (pointerType === 'mouse') setAt(Math.max(0, Math.min(1, (clientX - left) / width)))
      }}
      onPointerLeave={() => {
        clearTimeout(timer.current)
        setAt(null)
      }}
    >
      <span class="unseen">{name}</span>
      {poster && !isBroken ? (
        <img src={poster} alt="" loading="lazy" decoding="async" onError={() => setBroken(true)} />
      ) : (
        <Icon name="film" />
      )}
      {board && still && (
        <span class="video-scrub">
          <StillImage board={board} still={still} />
          <span class="video-scrub-bar" style={{ width: `${(at ?? 0) * 100}%` }} />
        </span>
      )}
      {file?.duration && <span class="video-length">{clock(file.duration)}</span>}
      {isRunning(task) && (
        <Progress
          value={task.status === 'uploaded' ? null : task.progress / 100}
          tone={task.waiting ? 'warn' : 'work'}
          label={t('common.progress_of', { name })}
        />
      )}
    </a>
  )
}
