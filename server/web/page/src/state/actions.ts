// What people do with videos, the same on every view: delete, process again, stop, copy a link, download.
//
// Rule: what can be undone is undone, not asked. Who deletes a video sees it go at once; the server hears of it when the
// time to undo is over, or the page is closed.

import { signal } from '@preact/signals'
import { cancelTask, deleteTask, retryTask } from '../api'
import { BASE, Refusal } from '../api/client'
import { mediaAddress } from '../api/media'
import type { Task, TaskFile } from '../api/types'
import { count } from '../format'
import { reasonText, t } from '../text'
import { copy } from './clipboard'
import { toast, undoable } from './toasts'
import { drop, nameOf, refresh, tasks } from './videos'

/** Requests at a time, where there are many. */
const AT_ONCE = 4
/** A browser asks whether a page may start many downloads; it starts them one after the other. */
const DOWNLOAD_GAP_MS = 400

/** Ids of videos that are being deleted: no view shows them. */
export const leaving = signal<ReadonlySet<string>>(new Set())

let isClosing = false
addEventListener('pagehide', () => (isClosing = true))
addEventListener('pageshow', () => (isClosing = false))

/** Delete videos with everything made of them, unless that is undone within ten seconds. */
export function deleteVideos(chosen: readonly Task[], { restored = () => {} } = {}): void {
  const ids = chosen.map(({ task_id }) => task_id)
  const [first] = chosen
  if (!first) return
  const name = nameOf(first)
  undoable({
    words: () =>
      ids.length === 1 ? t('videos.deleted_one', { name }) : t('videos.deleted_many', { n: count(ids.length) }),
    undo: () => t('common.undo'),
    hide: () => mark(ids, true),
    restore: () => {
      mark(ids, false)
      restored()
    },
    act: () => each(ids, deleteOne),
  })
}

async function deleteOne(id: string): Promise<void> {
  try {
    await deleteTask(id, { running: true })
    drop(id)
  } catch (error) {
    if (error instanceof Refusal && [404, 410].includes(error.status)) return drop(id)
    mark([id], false)
    toast(() => t('videos.not_deleted', { reason: reasonOf(error) }), { tone: 'bad' })
  }
}

function mark(ids: readonly string[], isLeaving: boolean): void {
  const next = new Set(leaving.peek())
  for (const id of ids) {
    if (isLeaving) next.add(id)
    else next.delete(id)
  }
  leaving.value = next
}

/** A few at a time; all at once when the page is being closed, since nothing comes after. */
async function each(ids: readonly string[], act: (id: string) => Promise<void>): Promise<void> {
  const left = [...ids]
  const work = async () => {
    for (let id = left.shift(); id !== undefined; id = left.shift()) await act(id)
  }
  await Promise.all(Array.from({ length: isClosing ? ids.length : AT_ONCE }, work))
}

/** Whether a video can be processed again. */
export const canRetry = ({ status, removed }: Task) => !removed && (status === 'error' || status === 'cancelled')

export const isRunning = ({ status }: Task) => status === 'uploaded' || status === 'processing'

/** Process videos again. */
export async function retryVideos(chosen: readonly Task[]): Promise<void> {
  let done = 0
  await each(
    chosen.map(({ task_id }) => task_id),
    async (id) => {
      if (await tried(() => retryTask(id))) done += 1
      await refresh(id)
    },
  )
  sayRetried(done)
}

/** Say how many videos are processed again; nothing where none is. */
export function sayRetried(done: number): void {
  if (done === 1) toast(() => t('videos.retried'))
  else if (done > 1) toast(() => t('videos.retried_many', { n: count(done) }))
}

/** Stop the processing of a video; `retryVideos` begins again. */
export async function stopVideo(id: string): Promise<void> {
  await tried(() => cancelTask(id))
  await refresh(id)
}

/** Whether something has worked; a toast says why not. */
export async function tried(act: () => Promise<unknown>): Promise<boolean> {
  try {
    await act()
    return true
  } catch (error) {
    toast(() => reasonOf(error), { tone: 'bad' })
    return false
  }
}

export function reasonOf(error: unknown): string {
  return error instanceof Refusal ? reasonText(error.reason) : t('common.no_answer')
}

/** The address of a video's page. */
export const pageOf = (id: string) => new URL(`v/${id}`, BASE).href

/** Put the addresses of videos on the clipboard, one a line. */
export async function copyLinks(ids: readonly string[]): Promise<void> {
  const link = ids.map(pageOf).join('\n')
  const done = await copy(link)
  if (!done) toast(() => t('videos.not_copied', { link }), { tone: 'bad' })
  else toast(() => (ids.length === 1 ? t('videos.copied') : t('videos.copied_many', { n: count(ids.length) })))
}

/** The address from which a result is downloaded, with the name that the server gives it; null without a result. */
export function downloadOf(url: string | null | undefined): string | null {
  const found = mediaAddress(url)
  if (!found) return null
  const address = new URL(found)
  address.searchParams.set('download', '1')
  return address.href
}

/** What "download" means without a choice: what plays everywhere, else the original. */
export function bestDownload(file: TaskFile | undefined): string | null {
  return downloadOf(file?.mp4_url) ?? downloadOf(file?.original_url)
}

/** Download the files of videos. */
export async function downloadVideos(chosen: readonly Task[]): Promise<void> {
  const found = chosen.flatMap(({ files }) => files.flatMap((file) => bestDownload(file) ?? []))
  if (found.length > 1) toast(() => t('videos.downloading', { n: count(found.length) }))
  for (const [place, address] of found.entries()) {
    if (place > 0) await new Promise((resolve) => setTimeout(resolve, DOWNLOAD_GAP_MS))
    const link = document.createElement('a')
    link.href = address
    link.download = ''
    link.click()
  }
}

/** The tasks of ids that the page knows. */
export function known(ids: Iterable<string>): Task[] {
  return [...ids].flatMap((id) => tasks.peek().get(id) ?? [])
}
