// The calls of the API that the page makes, one function each.
//
// Rule: a function has the name of what it does there; its types are those of types.ts.

import { address, ask } from './client'
import type { Config, NewShare, Reports, Session, Share, SharedVideo, Task, TaskPage, UploadPage } from './types'

export interface TaskQuery {
  status?: readonly string[]
  name?: string
  from?: string
  to?: string
  owner?: string
  sort?: string
  order?: string
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

/** Delete a task with everything made of it, also while the page is being closed. `running`: also one that runs. */
export const deleteTask = (id: string, { running = false } = {}) =>
  ask<unknown>('DELETE', `api/task/${id}`, running ? { query: { cancel: 1 } } : {})

/** Change a task's title; null takes it away. */
export const renameTask = (id: string, title: string | null) =>
  ask<Task>('PATCH', `api/task/${id}`, { body: { title } })

/** Take another poster: the frame at a time in seconds, or an own picture. */
export const setPoster = (id: string, file: string, chosen: { seconds: number } | Blob) =>
  ask<Task>('PUT', `api/task/${id}/poster`, { query: { file }, body: chosen })

/** Let the server choose the poster again. */
export const resetPoster = (id: string, file: string) =>
  ask<Task>('DELETE', `api/task/${id}/poster`, { query: { file } })

export const listShares = (id: string) => ask<{ shares: Share[] }>('GET', `api/task/${id}/shares`)

/** Make a link; it ends after so many seconds, or never. */
export const share = (id: string, seconds: number | null) =>
  ask<NewShare>('POST', `api/task/${id}/shares`, { body: { expires_in: seconds } })

export const revokeShare = (id: string, share: string) => ask<unknown>('DELETE', `api/task/${id}/shares/${share}`)

/** What a link shows; needs no sign-in. */
export const getShared = (token: string) => ask<SharedVideo>('GET', `api/shared/${encodeURIComponent(token)}`)

/** A page of uploads, the newest first. */
export const listUploads = (
  query: { status?: readonly string[]; owner?: string; limit?: number; cursor?: string } = {},
) => ask<UploadPage>('GET', 'api/uploads', { query })

/** Days of UTC, both included, as `2026-11-30`; without an owner, all that the visitor may see. */
export interface ReportQuery {
  from: string
  to: string
  owner?: string | undefined
}

/** The rows of a report. */
export const getReport = <Name extends keyof Reports>(name: Name, query: ReportQuery, signal?: AbortSignal) =>
  ask<{ rows: Reports[Name][] }>('GET', `api/reports/${name}`, { query: { ...query }, ...(signal && { signal }) })

/** The address of a report as a file for a spreadsheet. */
export const reportFile = (name: keyof Reports, query: ReportQuery) =>
  address(`api/reports/${name}`, { ...query, format: 'csv' }).href
