// The calls of the API that the page makes, one function each.
//
// Rule: a function has the name of what it does there; its types are those of types.ts.

import { ask } from './client'
import type { Config, Session, Task, TaskPage, UploadPage } from './types'

export interface TaskQuery {
  status?: readonly string[]
  name?: string
  from?: string
  to?: string
  owner?: string
  limit?: number
  cursor?: string
}

export const getConfig = () => ask<Config>('GET', 'api/config')

export const getSession = () => ask<Session>('GET', 'api/session')

/** Sign in with a key, which begins with `vdk_`, or a token. */
export const signIn = (credential: string) =>
  ask<Session>('POST', 'api/session', {
    body: credential.startsWith('vdk_') ? { key: credential } : { token: credential },
  })

export const signOut = () => ask<Session>('DELETE', 'api/session')

/** A page of tasks, the newest first. */
export const listTasks = (query: TaskQuery = {}, signal?: AbortSignal) =>
  ask<TaskPage>('GET', 'api/tasks', { query: { ...query }, ...(signal && { signal }) })

export const getTask = (id: string, signal?: AbortSignal) =>
  ask<Task>('GET', `api/task/status/${id}`, signal ? { signal } : {})

export const cancelTask = (id: string) => ask<unknown>('POST', `api/task/cancel/${id}`)

export const retryTask = (id: string) => ask<unknown>('POST', `api/task/retry/${id}`)

/** Delete a task with everything made of it. */
export const deleteTask = (id: string) => ask<unknown>('DELETE', `api/task/${id}`)

/** Change a task's title; null takes it away. */
export const renameTask = (id: string, title: string | null) =>
  ask<unknown>('PATCH', `api/task/${id}`, { body: { title } })

/** A page of uploads, the newest first. */
export const listUploads = (query: { status?: readonly string[]; limit?: number; cursor?: string } = {}) =>
  ask<UploadPage>('GET', 'api/uploads', { query })
