// One video on its way: from the first byte to the result, in one row.
//
// Rule: it shows the facts as they are. Uploading and processing are one way: one bar, which never goes back.

import { useEffect, useRef, useState } from 'preact/hooks'

import { mediaAddress } from '../../api/media'
import type { Task } from '../../api/types'
import { bytes, percent, speed, timespan } from '../../format'
import { Button } from '../../parts/button'
import { Icon, type IconName } from '../../parts/icon'
import { Progress } from '../../parts/progress'
import { href } from '../../router'
import { sessionState } from '../../state/session'
import { announce } from '../../state/toasts'
import { type Facts, type Item, moving, Speed } from '../../state/uploads'
import { nameOf } from '../../state/videos'
import { statusLine } from '../../state/words'
import { reasonText, t } from '../../text'
import { VIEWS } from '..'
import { actionsOf, stopping } from './actions'
import type { Entry } from './list'

/** The share of the way that is the upload; the rest is the processing. */
const UPLOAD_SHARE = 0.6
const TICK_MS = 500
const JUST_NOW_MS = 2000

type Tone = 'send' | 'work' | 'rest' | 'warn' | 'good' | 'bad'

interface Look {
  state: string
  line: string
  tone: Tone
  icon?: IconName
  /** Between 0 and 1; null while it goes on without a number; undefined at its end. */
  bar?: number | null
}

export function Row({ entry, choose }: { entry: Entry; choose: () => void }) {
  const { item, upload, task } = entry
  const facts = item?.now.value ?? null
  useTicks(facts)
  const name = task ? nameOf(task) : (item?.name ?? upload?.filename ?? '')
  const size = task?.files[0]?.size ?? item?.size ?? upload?.size ?? 0
  const look = lookOf(entry, facts)
  const actions = actionsOf(entry, name, choose)
  const row = useRef<HTMLLIElement>(null)
  useEffect(() => {
    // Files that are dropped far below come into view: the newest rows are at the top.
    if (item?.place === 0 && Date.now() - item.since < JUST_NOW_MS) row.current?.scrollIntoView({ block: 'nearest' })
  }, [])
  const before = useRef(look.state)
  useEffect(() => {
    // Once for each state, and not for each percent.
    if (before.current !== look.state) announce(`${name}: ${look.line}`)
    before.current = look.state
  }, [look.state])
  return (
    <li ref={row} class="row" data-state={look.state} data-tone={look.tone} id={`row-${entry.id}`}>
      <Picture task={task} preview={facts?.preview ?? null} name={name} />
      <div class="body">
        <p class="title">
          <Name task={task} name={name} />
          <span class="size">{bytes(size)}</span>
        </p>
        {look.bar !== undefined && (
          <Progress
            value={look.bar}
            tone={look.tone === 'bad' ? 'rest' : look.tone}
            label={t('common.progress_of', { name })}
          />
        )}
        <p class="line">
          {look.icon && <Icon name={look.icon} />}
          <span>{look.line}</span>
        </p>
      </div>
      <div class="actions">
        {actions.map(({ id, label, icon, act, danger }) => (
          <Button
            key={id}
            class={`action-${id}`}
            {...(icon ? { icon } : {})}
            look={danger ? 'danger' : 'plain'}
            label={t('common.about', { action: label, name })}
            title={icon ? label : ''}
            onClick={act}
          >
            {icon ? null : label}
          </Button>
        ))}
      </div>
    </li>
  )
}

function Name({ task, name }: { task: Task | null; name: string }) {
  const words = { class: 'name', dir: 'auto', title: name } as const
  const place = task && placeOf(task)
  return place ? (
    <a {...words} {...place}>
      {name}
    </a>
  ) : (
    <span {...words}>{name}</span>
  )
}

/** Where a video is watched: its view, or without one its file in another tab; null while it cannot be played. */
function placeOf({ task_id: id, playable, files }: Task): { href: string; target?: string } | null {
  if (!playable) return null
  if (VIEWS.some(({ matches }) => matches(['v', id]))) return { href: href(`v/${id}`) }
  const file = mediaAddress(files[0]?.mp4_url ?? files[0]?.hls_url)
  return file ? { href: file, target: '_blank' } : null
}

function Picture({ task, preview, name }: { task: Task | null; preview: string | null; name: string }) {
  const [isBroken, setBroken] = useState(false)
  const poster = mediaAddress(task?.files[0]?.poster_url) ?? preview
  useEffect(() => setBroken(false), [poster])
  const image =
    poster && !isBroken ? (
      <img src={poster} alt={t('upload.poster_of', { name })} onError={() => setBroken(true)} />
    ) : (
      <Icon name="film" />
    )
  const place = task && placeOf(task)
  if (!place) return <div class="picture">{image}</div>
  return (
    <a
      class="picture"
      href={place.href}
      target={place.target}
      aria-label={t('common.about', { action: t('upload.open'), name })}
      tabIndex={-1}
    >
      {image}
      <Icon name="play" class="on-picture" />
    </a>
  )
}

/** Draw again while seconds or a speed are shown. */
function useTicks(facts: Facts | null): void {
  const [, tick] = useState(0)
  const isMoving = facts?.phase === 'retrying' || facts?.phase === 'sending'
  useEffect(() => {
    if (!isMoving) return
    const timer = setInterval(() => tick((count) => count + 1), TICK_MS)
    return () => clearInterval(timer)
  }, [isMoving])
}

function lookOf({ item, upload, task }: Entry, facts: Facts | null): Look {
  if (task && (!facts || facts.phase === 'sent')) return taskLook(task)
  if (item && facts) return itemLook(item, facts)
  if (!upload) return { state: 'sent', line: '', tone: 'rest' }
  const share = upload.size ? upload.offset / upload.size : 0
  const isMoving = moving.value.has(upload.id)
  const words = { percent: percent(share) }
  return {
    state: isMoving ? 'elsewhere' : 'resting',
    line: isMoving ? t('upload.elsewhere', words) : t('upload.resting', words),
    tone: isMoving ? 'send' : 'rest',
    bar: share * UPLOAD_SHARE,
  }
}

function itemLook(item: Item, facts: Facts): Look {
  const share = item.size === 0 ? 0 : Math.min(1, facts.sent / item.size)
  const bar = share * UPLOAD_SHARE
  const words = { percent: percent(share) }
  const state = facts.phase
  switch (facts.phase) {
    case 'waiting':
      return {
        state,
        line: t(sessionState.value === 'out' ? 'upload.waiting_sign_in' : 'upload.waiting'),
        tone: 'rest',
        bar,
      }
    case 'sending':
      return { state, line: sendingLine(item, facts, share), tone: 'send', bar }
    case 'retrying':
      return { state, line: retryLine(facts), tone: 'warn', icon: 'alert', bar }
    case 'paused':
      return { state, line: t('upload.paused', words), tone: 'rest', bar }
    case 'unchosen': {
      const line = facts.needsPress ? t('upload.press', words) : reasonText(facts.reason) || t('upload.unchosen', words)
      return { state, line, tone: 'rest', bar }
    }
    case 'sent':
      return { state, line: t('upload.sent'), tone: 'work', bar: UPLOAD_SHARE }
    case 'refused':
      return { state: 'failed', line: reasonText(facts.reason), tone: 'bad', icon: 'alert' }
  }
}

function taskLook(task: Task): Look {
  const line = statusLine(task)
  if (stopping.value.has(task.task_id)) return { state: 'stopping', line: t('status.cancelled'), tone: 'rest' }
  switch (task.status) {
    case 'uploaded':
      return { state: 'queued', line, tone: 'work', bar: UPLOAD_SHARE }
    case 'processing': {
      const bar = UPLOAD_SHARE + (1 - UPLOAD_SHARE) * (task.progress / 100)
      return task.waiting
        ? { state: 'processing', line, tone: 'warn', icon: 'alert', bar }
        : { state: 'processing', line, tone: 'work', bar }
    }
    case 'completed':
      return { state: 'done', line, tone: 'good', icon: 'check' }
    case 'cancelled':
      return { state: 'cancelled', line, tone: 'rest' }
    case 'error':
      return { state: 'failed', line, tone: 'bad', icon: 'alert' }
  }
}

const speeds = new WeakMap<Item, Speed>()

function sendingLine(item: Item, facts: Facts, share: number): string {
  if (facts.sent === 0) return t('upload.connecting')
  const known = speeds.get(item) ?? new Speed()
  speeds.set(item, known)
  known.note(facts.sent)
  const parts = [t('upload.sending', { percent: percent(share) })]
  const rate = known.now
  if (rate) parts.push(speed(rate), t('upload.left', { time: timespan((item.size - facts.sent) / rate) }))
  return parts.join(' · ')
}

function retryLine({ reason, retryAt }: Facts): string {
  if (!navigator.onLine) return t('upload.offline')
  const seconds = (retryAt - Date.now()) / 1000
  if (seconds <= 0) return t('upload.retrying')
  const time = timespan(seconds)
  return reason
    ? t('upload.busy', { reason: reasonText(reason).replace(/[.。]$/, ''), time })
    : t('upload.lost', { time })
}
