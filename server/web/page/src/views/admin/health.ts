// What is wrong, in words, and what to do about it: the findings of the first screen.
//
// Rule: each finding is something that an operator can act on, the worst first. What only costs time, such as a queue
// that empties, is no finding.

import type { Doctor, Overview, Webhook } from '../../api/admin'
import { bytes, count, moment, timespan } from '../../format'
import { hasText, t } from '../../text'

export interface Finding {
  key: string
  tone: 'bad' | 'warn'
  heading: string
  advice: string
  /** Where more is said; a path below the base. */
  room?: string
}

/** A queue is long when the oldest task has waited for so many seconds. */
const LONG_SECONDS = 900
/** A task that nobody has taken after so many seconds, while nobody works, has no worker. */
const UNTAKEN_SECONDS = 120
/** Less than this share of the disk is little. */
const LOW_SHARE = 0.05

export function findings(overview: Overview, webhooks: readonly Webhook[] | null, doctor: Doctor | null): Finding[] {
  const found = [
    ...ofReadiness(overview),
    ...ofDisk(overview),
    ...ofQueue(overview),
    ...(webhooks ?? []).flatMap(ofWebhook),
    ...(doctor ? ofDoctor(doctor) : []),
    ...ofFailures(overview),
  ]
  return [...found.filter(({ tone }) => tone === 'bad'), ...found.filter(({ tone }) => tone === 'warn')]
}

function ofReadiness({ readiness }: Overview): Finding[] {
  return readiness.checks
    .filter(({ ok }) => !ok)
    .map(({ name, message, required }) => {
      const reason = message ?? ''
      const key = `admin.check_${name}`
      return {
        key: `check-${name}`,
        tone: required ? 'bad' : 'warn',
        heading: hasText(key) ? t(key as 'admin.check_store', { reason }) : t('admin.check_other', { name, reason }),
        advice: hasText(`admin.do_${name}`) ? t(`admin.do_${name}` as 'admin.do_store') : t('admin.do_other'),
        room: 'admin/doctor',
      }
    })
}

function ofDisk({ disk, readiness }: Overview): Finding[] {
  if (readiness.checks.some(({ name, ok }) => name === 'space' && !ok)) return []
  if (disk.left <= 0) return [{ key: 'disk', tone: 'bad', heading: t('admin.disk_full'), advice: t('admin.do_space') }]
  if (disk.left >= disk.capacity * LOW_SHARE) return []
  const heading = t('admin.disk_low', { left: bytes(disk.left) })
  return [{ key: 'disk', tone: 'warn', heading, advice: t('admin.do_space') }]
}

function ofQueue({ queue }: Overview): Finding[] {
  const found: Finding[] = []
  const { abandoned, running, waiting, oldest_waiting_seconds: oldest } = queue
  if (abandoned > 0) {
    const heading = abandoned === 1 ? t('admin.abandoned_one') : t('admin.abandoned_many', { n: count(abandoned) })
    found.push({ key: 'abandoned', tone: 'bad', heading, advice: t('admin.do_abandoned'), room: 'admin/tasks' })
  }
  const time = timespan(oldest)
  if (waiting > 0 && running === 0 && oldest >= UNTAKEN_SECONDS) {
    const heading = t('admin.no_worker', { time })
    found.push({ key: 'worker', tone: 'bad', heading, advice: t('admin.do_no_worker'), room: 'admin/tasks' })
  } else if (waiting > 0 && oldest >= LONG_SECONDS) {
    const heading = t('admin.queue_long', { time })
    found.push({ key: 'queue', tone: 'warn', heading, advice: t('admin.do_queue_long'), room: 'admin/tasks' })
  }
  for (const { code, message, tasks } of queue.postponed) {
    if (tasks === 0) continue
    const reason = message
    const heading =
      tasks === 1 ? t('admin.postponed_one', { reason }) : t('admin.postponed_many', { n: count(tasks), reason })
    found.push({
      key: `postponed-${code}`,
      tone: 'warn',
      heading,
      advice: t('admin.do_postponed'),
      room: 'admin/tasks',
    })
  }
  return found
}

/** Whether a webhook needs somebody: its circuit is broken, or messages were given up. */
export function isInTrouble({ disabled, enabled, retry_at, dead }: Webhook): boolean {
  return disabled !== null || (enabled && (retry_at !== null || dead > 0))
}

function ofWebhook(webhook: Webhook): Finding[] {
  if (!isInTrouble(webhook)) return []
  const { id, url, disabled, retry_at, dead } = webhook
  const about = {
    key: `webhook-${id}`,
    advice: t('admin.do_webhook', { url }),
    room: `admin/webhooks?webhook=${id}`,
  }
  if (disabled) return [{ ...about, tone: 'bad', heading: t('admin.webhook_off', { reason: disabled.message }) }]
  if (retry_at) return [{ ...about, tone: 'bad', heading: t('admin.webhook_waits', { when: moment(retry_at) }) }]
  return [{ ...about, tone: 'warn', heading: t('admin.webhook_dead', { n: count(dead) }) }]
}

function ofDoctor({ checks }: Doctor): Finding[] {
  return checks.flatMap(({ name, findings }) =>
    findings
      .filter(({ level }) => level === 'problem')
      .map(({ code, text, change }, place) => ({
        key: `doctor-${name}-${code}-${place}`,
        tone: 'bad' as const,
        heading: text,
        advice: change,
        room: 'admin/doctor',
      })),
  )
}

function ofFailures({ failures }: Overview): Finding[] {
  const { last_day: n } = failures
  if (n === 0) return []
  const heading = n === 1 ? t('admin.failed_one') : t('admin.failed_many', { n: count(n) })
  return [{ key: 'failed', tone: 'warn', heading, advice: t('admin.do_failed') }]
}
