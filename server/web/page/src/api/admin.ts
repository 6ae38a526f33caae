// The calls of an operator: `/api/admin/…`, `/api/webhooks…`, and the end of an upload.
//
// Rule: that of index.ts; types are those that /openapi.json describes.

import { ask } from './client'
import type { ApiError, Scope } from './types'

export interface Check {
  name: string
  ok: boolean
  message: string | null
  required: boolean
}

export interface Working {
  worker: string | null
  task_id: string
  owner: string
  title: string | null
  step: string | null
  progress: number
  eta_seconds: number | null
  attempt: number
  started_at: string | null
}

export interface OpenUpload {
  id: string
  owner: string
  filename: string | null
  protocol: string
  client: string
  created_at: string
  received: number
  length: number | null
  bytes_per_second: number | null
  idle_seconds: number | null
  why: string | null
}

export interface Failed {
  task_id: string
  owner: string
  title: string | null
  error: ApiError
  failed_at: string
  attempt: number
}

export interface Overview {
  version: string
  database: string
  authentication: boolean
  readiness: { ready: boolean; checks: Check[] }
  queue: {
    waiting: number
    running: number
    gathering: number
    abandoned: number
    oldest_waiting_seconds: number
    postponed: { code: string; message: string; tasks: number }[]
    wait_p50_seconds: number | null
    wait_p95_seconds: number | null
  }
  workers: Working[]
  uploads: { open: number; bytes_per_second: number | null; items: OpenUpload[] }
  failures: { last_day: number; items: Failed[] }
  disk: { capacity: number; free: number; reserve: number; reserved: number; left: number }
}

/** What may be limited, of each owner. */
export const LIMITS = ['stored_bytes', 'open_bytes', 'open_uploads', 'daily_bytes', 'waiting_tasks'] as const
export type Limit = (typeof LIMITS)[number]
type Numbers<V> = Record<Limit, V>

export interface Owner {
  owner: string
  usage: Numbers<number>
  /** 0: no limit. */
  limits: Numbers<number>
  /** Null: the setting holds. */
  own_limits: Numbers<number | null>
}

export type Validity = 'valid' | 'expired' | 'revoked'

export interface Key {
  id: string
  owner: string
  scopes: Scope[]
  state: Validity
  created_at: string
  expires_at: string | null
  revoked_at: string | null
  last_used_at: string | null
}

export interface Grant {
  id: string
  owner: string
  created_by: string
  state: Validity
  created_at: string
  expires_at: string
  revoked_at: string | null
  uploads: number
  used: number
  filename: string | null
  task: string | null
}

export interface AuditEntry {
  id: number
  at: string
  action: string
  actor: string
  owner: string | null
  object_kind: string | null
  object_id: string | null
  object_owner: string | null
  address: string | null
  request_id: string | null
  details: Record<string, unknown> | null
}

export interface Setting {
  name: string
  variable: string
  value: string
  default: string
  description: string
  source: 'environment' | 'file' | 'default'
  is_default: boolean
  is_secret: boolean
}

export interface Examined {
  name: string
  title: string
  state: 'ok' | 'problem' | 'advice' | 'skipped'
  note: string
  findings: { code: string; level: 'problem' | 'advice'; text: string; change: string }[]
}

export interface Doctor {
  at: string
  seconds: number
  checks: Examined[]
}

export const EVENTS = [
  'upload.created',
  'upload.finished',
  'upload.expired',
  'upload.rejected',
  'task.processing',
  'video.playable',
  'task.completed',
  'task.failed',
  'task.cancelled',
  'task.removed',
] as const

export interface Webhook {
  id: string
  url: string
  /** Null: the events of every owner. */
  owner: string | null
  events: string[]
  enabled: boolean
  /** Why the server disabled it; null where a person did. */
  disabled: ApiError | null
  failures: number
  retry_at: string | null
  pending: number
  dead: number
  created_at: string
}

export interface NewWebhook {
  webhook: Webhook
  secret: string
  warnings: ApiError[]
}

export type DeliveryStatus = 'pending' | 'delivered' | 'dead'

export interface Delivery {
  message_id: string
  type: string
  task_id: string | null
  status: DeliveryStatus
  created_at: string
  next_attempt_at: string | null
  ended_at: string | null
  attempts: {
    at: string
    seconds: number
    answer_status: number | null
    answer: string | null
    error: ApiError | null
  }[]
}

/** A page of rows; `next` is null on the last one. */
export interface Rows<Row> {
  rows: Row[]
  next: string | null
}

/** Cursor and filters of a page. */
export type Wanted = Record<string, string | undefined>

async function page<Row>(path: string, name: string, query: Wanted): Promise<Rows<Row>> {
  const found = await ask<Record<string, unknown> & { next: string | null }>('GET', path, { query })
  return { rows: found[name] as Row[], next: found.next }
}

export const getOverview = () => ask<Overview>('GET', 'api/admin/overview')

/** It takes seconds. */
export const getDoctor = () => ask<Doctor>('GET', 'api/admin/doctor', { patience: 90 })

export const getSettings = () => ask<{ settings: Setting[] }>('GET', 'api/admin/settings')

export const listOwners = (query: Wanted) => page<Owner>('api/admin/owners', 'owners', query)

/** Set limits of an owner; null: the setting holds again, 0: no limit. */
export const limitOwner = (owner: string, limits: Partial<Numbers<number | null>>) =>
  ask<{ owner: Owner }>('PATCH', 'api/admin/owners', { body: { owner, ...limits } })

export const listKeys = (query: Wanted) => page<Key>('api/admin/keys', 'keys', query)

/** Make a key; its text is in this answer alone. Seconds until it ends, or null. */
export const addKey = (owner: string, scopes: readonly Scope[], seconds: number | null) =>
  ask<{ key: Key; text: string }>('POST', 'api/admin/keys', { body: { owner, scopes, expires_in: seconds } })

export const revokeKey = (id: string) => ask<unknown>('DELETE', `api/admin/keys/${id}`)

export const listGrants = (query: Wanted) => page<Grant>('api/admin/grants', 'grants', query)

export const revokeGrant = (id: string) => ask<unknown>('DELETE', `api/admin/grants/${id}`)

export const listAudit = (query: Wanted) => page<AuditEntry>('api/admin/audit', 'entries', query)

/** End an upload of the tus protocol; its bytes are removed. */
export const endUpload = (id: string) =>
  ask<unknown>('DELETE', `files/${id}`, { headers: { 'Tus-Resumable': '1.0.0' } })

export const listWebhooks = () => ask<{ webhooks: Webhook[] }>('GET', 'api/webhooks')

export const addWebhook = (url: string, events: readonly string[], owner: string | null) =>
  ask<NewWebhook>('POST', 'api/webhooks', { body: { url, events, owner } })

export const changeWebhook = (id: string, values: { events?: readonly string[]; enabled?: boolean }) =>
  ask<{ webhook: Webhook }>('PATCH', `api/webhooks/${id}`, { body: values })

export const removeWebhook = (id: string) => ask<unknown>('DELETE', `api/webhooks/${id}`)

export const rotateWebhook = (id: string) =>
  ask<{ secret: string; old_until: string }>('POST', `api/webhooks/${id}/rotate`)

export const testWebhook = (id: string) => ask<{ message_id: string }>('POST', `api/webhooks/${id}/test`)

/** Send one message again, or all of a time. */
export const replayWebhook = (id: string, what: { message_id: string } | { since: string; until?: string }) =>
  ask<{ count: number }>('POST', `api/webhooks/${id}/replay`, { body: what })

export const listDeliveries = (id: string, query: Wanted) =>
  page<Delivery>(`api/webhooks/${id}/deliveries`, 'deliveries', query)
