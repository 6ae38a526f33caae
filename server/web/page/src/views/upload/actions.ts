// What the buttons of a row do.
//
// Rule: what can be undone is done after ten seconds; the page shows it at once.

import { signal } from '@preact/signals'

import { cancelTask, retryTask } from '../../api'
import type { Task } from '../../api/types'
import type { IconName } from '../../parts/icon'
import { copyLinks, deleteVideos } from '../../state/actions'
import { toast, undoable } from '../../state/toasts'
import { type Item, moving, pause, permit, remove, resume } from '../../state/uploads'
import { take } from '../../state/uploads/items'
import { terminate } from '../../state/uploads/tus'
import { refresh } from '../../state/videos'
import { reasonText, t } from '../../text'
import { type Entry, hide, unhide } from './list'

export interface Action {
  id: string
  label: string
  icon?: IconName
  act: () => void
  danger?: boolean
}

/** Tasks that are stopped unless that is undone. */
export const stopping = signal<ReadonlySet<string>>(new Set())

/** The buttons of an entry; `choose` lets a person choose its file. */
export function actionsOf(entry: Entry, name: string, choose: () => void): Action[] {
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
  const bin: Action = {
    id: 'delete',
    label: t('upload.delete'),
    icon: 'bin',
    act: () => deleteVideos([task]),
  }
  if (stopping.value.has(id)) return []
  switch (task.status) {
    case 'uploaded':
    case 'processing':
      return [...link(task), { id: 'cancel', label: t('upload.cancel'), icon: 'cross', act: () => stop(id, name) }]
    case 'completed':
      return [...link(task), bin]
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

/** The same address as in the view of all videos: that of the video's page. */
function link({ task_id: id, playable }: Task): Action[] {
  return playable ? [{ id: 'link', label: t('videos.copy_link'), icon: 'link', act: () => void copyLinks([id]) }] : []
}
