// What a task's status is in words: the same on every view.
//
// Rule: the server's own sentences, where it has some; the rest is text/.

import type { Task, TaskFile } from '../api/types'
import { clock, codec, number, timespan } from '../format'
import { hasText, t } from '../text'

/** The status of a task in one line. */
export function statusLine(task: Task): string {
  const [file] = task.files
  if (task.removed) return t('status.deleted')
  switch (task.status) {
    case 'uploaded':
      return t('status.queued')
    case 'processing':
      return task.waiting ? task.message : workLine(task)
    case 'error':
      return file?.error?.message ?? task.message
    case 'completed':
      return (file && factsLine(file)) || t('status.completed')
    case 'cancelled':
      return t('status.cancelled')
  }
}

function workLine(task: Task): string {
  const parts = [t('status.processing', { percent: number(task.progress) })]
  const step = `step.${task.step}`
  if (hasText(step)) parts.push(t(step as 'step.scan'))
  if (task.eta_seconds) parts.push(t('upload.left', { time: timespan(task.eta_seconds) }))
  return parts.join(' · ')
}

/** What a video is: duration, size, frame rate, codecs, remarks. */
export function factsLine(file: TaskFile): string {
  const parts: string[] = []
  if (file.duration) parts.push(clock(file.duration))
  if (file.width && file.height) parts.push(`${file.width}\u00a0×\u00a0${file.height}`)
  if (file.frame_rate) parts.push(t('unit.fps', { n: number(file.frame_rate, 2) }))
  if (file.video_codec) parts.push(codec(file.video_codec))
  if (file.video_codec) parts.push(file.audio_codec ? codec(file.audio_codec) : t('status.no_sound'))
  for (const remark of file.remarks) parts.push(remark.message)
  return parts.join(' · ')
}

/** The status of a task in a word or two. */
export function statusWord(task: Task): string {
  if (task.removed) return t('status.deleted')
  if (task.status === 'uploaded') return t('status.waiting')
  if (task.status === 'processing')
    return task.waiting ? t('status.waiting') : t('status.processing', { percent: number(task.progress) })
  return t(`status.${task.status}`)
}
