// A video's title, changed in place: Enter keeps it, Escape leaves it as it was.

import { useEffect, useRef } from 'preact/hooks'

import { renameTask } from '../api'
import type { Task } from '../api/types'
import { reasonOf } from '../state/actions'
import { toast } from '../state/toasts'
import { keep, nameOf, tasks } from '../state/videos'
import { t } from '../text'

const MOST = 200

export function TitleField({ task, close }: { task: Task; close: () => void }) {
  const field = useRef<HTMLInputElement>(null)
  const isOver = useRef(false)
  const name = nameOf(task)
  useEffect(() => field.current?.select(), [])
  const end = () => {
    isOver.current = true
    const box = field.current?.parentElement
    close()
    // The focus goes to what stands in the field's place.
    setTimeout(() => box?.querySelector<HTMLElement>('a, button')?.focus({ preventScroll: true }))
  }
  const save = async (value: string) => {
    if (isOver.current) return
    const title = value.trim() || null
    end()
    if (title === task.title || title === name) return
    const before = tasks.peek().get(task.task_id) ?? task
    keep({ ...before, title })
    try {
      keep(await renameTask(task.task_id, title))
    } catch (error) {
      keep(before)
      toast(() => t('videos.not_renamed', { reason: reasonOf(error) }), { tone: 'bad' })
    }
  }
  return (
    <input
      ref={field}
      class="title-field"
      dir="auto"
      maxLength={MOST}
      defaultValue={name}
      aria-label={t('videos.title_of', { name })}
      onKeyDown={(event) => {
        if (event.key === 'Enter' && !event.isComposing) void save(event.currentTarget.value)
        else if (event.key === 'Escape') end()
        else return
        event.preventDefault()
        event.stopPropagation()
      }}
      onBlur={({ currentTarget }) => void save(currentTarget.value)}
    />
  )
}
