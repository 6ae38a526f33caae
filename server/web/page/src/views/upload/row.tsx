// One video on its way: from the first byte to the result, in one row.
//
// Rule: it shows the facts as they are. Uploading and processing are one way: one bar, which never goes back.

import { signal } from '@preact/signals'
import { useEffect, useState } from 'preact/hooks'

import { cancelTask, deleteTask, retryTask } from '../../api'
import { mediaAddress } from '../../api/media'
import type { Task, TaskFile } from '../../api/types'
import { bytes, percent, speed, timespan } from '../../format'
import { Button } from '../../parts/button'
import { Icon, type IconName } from '../../parts/icon'
import { Progress } from '../../parts/progress'
import { href } from '../../router'
import { copy } from '../../state/clipboard'
import { sessionState } from '../../state/session'
import { toast, undoable } from '../../state/toasts'
import { type Facts, type Item, moving, pause, permit, remove, resume, Speed } from '../../state/uploads'
import { take } from '../../state/uploads/items'
import { terminate } from '../../state/uploads/tus'
import { drop, nameOf, refresh } from '../../state/videos'
import { statusLine } from '../../state/words'
import { reasonText, t } from '../../text'
import { type Entry, hide, unhide } from './list'

/** The share of the way that is the upload; the rest is the processing. */
const UPLOAD_SHARE = 0.6
const TICK_MS = 500

type Tone = 'send' | 'work' | 'rest' | 'warn' | 'good' | 'bad'

interface Look {
  state: string
  line: string
  tone: Tone
  icon?: IconName
  /** Between 0 and 1; null while it goes on without a number; undefined at its end. */
  bar?: number | null
}

interface Action {
  id: string
  label: string
  icon?: IconName
  act: () => void
  danger?: boolean
}

export function Row({ entry, choose }: { entry: Entry; choose: () => void }) {
  const { item, upload, task } = entry
  const facts = item?.now.value ?? null
  useTicks(facts)
  const name = task ? nameOf(task) : (item?.name ?? upload?.filename ?? '')
  const size = task?.files[0]?.size ?? item?.size ?? upload?.size ?? 0
  const look = lookOf(entry, facts)
  const actions = actionsOf(entry, name, choose)
  return (
    <li class="row" data-state={look.state} data-tone={look.tone} id={`row-${entry.id}`}>
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
  return task?.playable ? (
    <a class="name" dir="auto" title={name} href={href(`v/${task.task_id}`)}>
      {name}
    </a>
  ) : (
    <span class="name" dir="auto" title={name}>
      {name}
    </span>
  )
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
  if (!task?.playable) return <div class="picture">{image}</div>
  return (
    <a
      class="picture"
      href={href(`v/${task.task_id}`)}
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

/** Tasks that are stopped unless that is undone. */
const stopping = signal<ReadonlySet<string>>(new Set())

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

function actionsOf(entry: Entry, name: string, choose: () => void): Action[] {
  const { item, upload, task } = entry
  if (task && (!item || item.now.value.phase === 'sent')) return taskActions(task, name)
  if (item) return itemActions(item, entry, name, choose)
  if (!upload) return []
  const segment = upload.url?.split('/').pop()
  const end: Action[] = segment ? [discard(entry, name, () => terminate(segment).catch(() => {}))] : []
  const again: Action = { id: 'choose', label: t('upload.choose_again'), act: choose }
  return moving.value.has(upload.id) ? end : [again, ...end]
}

function itemActions(item: Item, entry: Entry, name: string, choose: () => void): Action[] {
  const { phase, needsPress } = item.now.value
  const wasPaused = phase === 'paused'
  const end = discard(
    entry,
    name,
    () => remove(item),
    () => pause(item),
    () => (wasPaused || phase === 'unchosen' ? undefined : resume(item)),
  )
  switch (phase) {
    case 'waiting':
    case 'sending':
      return [{ id: 'pause', label: t('upload.pause'), icon: 'pause', act: () => pause(item) }, end]
    case 'retrying':
      return [{ id: 'try', label: t('upload.try_now'), act: () => item.wake?.() }, end]
    case 'paused':
      return [{ id: 'resume', label: t('upload.resume'), icon: 'resume', act: () => resume(item) }, end]
    case 'unchosen': {
      const ask = async () => {
        if (!(await permit(item))) choose()
      }
      return [
        needsPress
          ? { id: 'go-on', label: t('upload.go_on'), act: ask }
          : { id: 'choose', label: t('upload.choose_again'), act: choose },
        end,
      ]
    }
    case 'refused':
      return [{ id: 'remove', label: t('upload.remove'), icon: 'cross', act: () => take(item) }]
    case 'sent':
      return []
  }
}

/** Take an upload away: at once from the page, and after ten seconds from the server. */
function discard(entry: Entry, name: string, act: () => unknown, hold = () => {}, goOn: () => void = () => {}): Action {
  const start = () =>
    undoable({
      words: () => t('upload.removed', { name }),
      undo: () => t('common.undo'),
      hide: () => {
        hold()
        hide(entry.id)
      },
      restore: () => {
        unhide(entry.id)
        goOn()
      },
      act: async () => {
        await act()
        unhide(entry.id)
      },
    })
  return { id: 'remove', label: t('upload.remove'), icon: 'cross', act: start }
}

function taskActions(task: Task, name: string): Action[] {
  const id = task.task_id
  const file = task.files[0]
  const bin: Action = {
    id: 'delete',
    label: t('upload.delete'),
    icon: 'bin',
    act: () =>
      undoable({
        words: () => t('upload.deleted', { name }),
        undo: () => t('common.undo'),
        hide: () => hide(id),
        restore: () => unhide(id),
        act: async () => {
          await settle(() => deleteTask(id))
          await refresh(id)
          drop(id)
          unhide(id)
        },
      }),
  }
  if (stopping.value.has(id)) return []
  switch (task.status) {
    case 'uploaded':
    case 'processing':
      return [...link(file), { id: 'cancel', label: t('upload.cancel'), icon: 'cross', act: () => stop(id, name) }]
    case 'completed':
      return [...link(file), bin]
    case 'error':
      return [{ id: 'retry', label: t('upload.retry'), icon: 'retry', act: () => void again(id) }, bin]
    case 'cancelled':
      return [bin]
  }
}

/** Stop processing, after ten seconds in which that can be undone. */
function stop(id: string, name: string): void {
  undoable({
    words: () => t('upload.cancelled', { name }),
    undo: () => t('common.undo'),
    hide: () => mark(id, true),
    restore: () => mark(id, false),
    act: async () => {
      await settle(() => cancelTask(id))
      await refresh(id)
      mark(id, false)
    },
  })
}

function mark(id: string, isStopping: boolean): void {
  const next = new Set(stopping.peek())
  if (isStopping) next.add(id)
  else next.delete(id)
  stopping.value = next
}

async function again(id: string): Promise<void> {
  await settle(() => retryTask(id))
  await refresh(id)
}

async function settle(act: () => Promise<unknown>): Promise<void> {
  try {
    await act()
  } catch (error) {
    const reason = (error as { reason?: Parameters<typeof reasonText>[0] }).reason
    toast(() => reasonText(reason) || t('common.no_answer'), { tone: 'bad' })
  }
}

function link(file: TaskFile | undefined): Action[] {
  const found = file?.playable ? mediaAddress(file.mp4_url ?? file.hls_url) : null
  if (!found) return []
  const act = async () => {
    const done = await copy(found)
    toast(() => (done ? t('upload.copied') : t('upload.not_copied', { link: found })))
  }
  return [{ id: 'link', label: t('upload.copy_link'), icon: 'link', act: () => void act() }]
}
