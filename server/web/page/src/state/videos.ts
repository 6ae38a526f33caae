// The tasks that the page knows, whatever view shows them, kept up to date by events.
//
// Rule: the server's status is the only truth. A view lists ids and looks the tasks up here; so a change shows everywhere.

import { signal } from '@preact/signals'
import type { TaskQuery } from '../api'
import * as api from '../api'
import { closeEvents, listen, openEvents } from '../api/events'
import type { Task } from '../api/types'
import { language } from './language'
import { may, onVisitor } from './session'

/** Tasks by id. */
export const tasks = signal<ReadonlyMap<string, Task>>(new Map())

/** Take over statuses of the server. */
export function keep(...found: readonly Task[]): void {
  if (found.length === 0) return
  const next = new Map(tasks.peek())
  for (const task of found)
    next.set(task.task_id, { ...task, files: task.files.map((file) => withSteps(file, next.get(task.task_id))) })
  tasks.value = next
}

/** Lists leave out the steps of a file; what is known of them stays. */
function withSteps(file: Task['files'][number], before: Task | undefined): Task['files'][number] {
  const steps = file.steps ?? before?.files.find(({ id }) => id === file.id)?.steps
  return steps ? { ...file, steps } : file
}

/** Forget a task that is no more. */
export function drop(id: string): void {
  const next = new Map(tasks.peek())
  if (next.delete(id)) tasks.value = next
}

/** A page of tasks, kept; the ids in order, and the cursor of the next page. */
export async function load(
  query: TaskQuery = {},
  signal?: AbortSignal,
): Promise<{ ids: string[]; next: string | null }> {
  const page = await api.listTasks(query, signal)
  keep(...page.tasks)
  return { ids: page.tasks.map(({ task_id }) => task_id), next: page.next }
}

/** The name that people know a task by. */
export function nameOf(task: Task): string {
  return task.title ?? task.files[0]?.name ?? ''
}

listen({
  event: ({ status }) => {
    if (status) keep(status)
  },
})

onVisitor((owner, isOther) => {
  if (isOther) {
    tasks.value = new Map()
    closeEvents()
  }
  // A key that may only upload has nothing to read.
  if ((owner !== null || !isOther) && may('read')) openEvents()
})

// The sentences of the server are in one language each.
language.subscribe(() => {
  for (const task of tasks.peek().values()) if (task.status === 'error' || task.waiting) void refresh(task.task_id)
})

/** Ask for a task's status again; what fails says nothing. */
export async function refresh(id: string): Promise<void> {
  try {
    keep(await api.getTask(id))
  } catch {
    // The next event or poll brings it.
  }
}
