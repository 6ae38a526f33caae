// The first screen: is all well, and if not, what is wrong and what to do.
//
// Rule: the answer comes first, in words; numbers stand below it. The doctor takes seconds, and nothing waits for it.

import { getDoctor, getOverview, listWebhooks, type Overview } from '../../api/admin'
import { bytes, count, moment, speed, timespan } from '../../format'
import { Icon } from '../../parts/icon'
import { Progress } from '../../parts/progress'
import { Failure, Loading } from '../../parts/states'
import { href } from '../../router'
import { useLive } from '../../state/live'
import { t } from '../../text'
import { Failures } from './failures'
import { type Finding, findings, isInTrouble } from './health'
import { OVERVIEW_MS, TASK_EVENTS, UPLOAD_EVENTS } from './pace'
import { Panel } from './parts'
import { Working } from './working'

const WEBHOOKS_MS = 15_000
const DOCTOR_MS = 300_000

export function OverviewRoom() {
  const overview = useLive(getOverview, OVERVIEW_MS, [...TASK_EVENTS, ...UPLOAD_EVENTS])
  const webhooks = useLive(async () => (await listWebhooks()).webhooks, WEBHOOKS_MS)
  const doctor = useLive(getDoctor, DOCTOR_MS)
  if (!overview.value) {
    return overview.error ? <Failure error={overview.error} again={() => void overview.refresh()} /> : <Loading />
  }
  const { value } = overview
  const found = findings(value, webhooks.value, doctor.value)
  const isLooking = doctor.value === null && doctor.error === null
  return (
    <>
      <Health found={found} isLooking={isLooking} />
      <div class="tiles">
        <QueueTile {...value} />
        <UploadsTile {...value} />
        <DiskTile {...value} />
        <Tile
          id="tile-webhooks"
          heading={t('admin.tile_webhooks')}
          room="webhooks"
          value={webhooks.value ? count(webhooks.value.length) : '–'}
          isBad={webhooks.value?.some(isInTrouble)}
        >
          {webhooks.value && webhookLine(webhooks.value)}
        </Tile>
        <Tile id="tile-doctor" heading={t('admin.tile_doctor')} room="doctor" {...doctorTile(doctor.value)}>
          {doctor.value ? t('admin.tile_doctor_at', { when: moment(doctor.value.at) }) : t('admin.doctor_looks')}
        </Tile>
      </div>
      <Panel id="working" heading={t('admin.working')} beside={<a href={href('admin/tasks')}>{t('admin.all_see')}</a>}>
        <Working workers={value.workers} />
      </Panel>
      <Failures failures={value.failures} changed={() => void overview.refresh()} />
      <p class="room-foot">
        {t('admin.tile_server', { version: value.version })} · {value.database === 'sqlite' ? 'SQLite' : 'PostgreSQL'}
      </p>
    </>
  )
}

function Health({ found, isLooking }: { found: readonly Finding[]; isLooking: boolean }) {
  const [first] = found
  const tone = first?.tone ?? 'good'
  const heading = !first
    ? t('admin.well')
    : tone === 'warn'
      ? t('admin.notes_only')
      : found.length === 1
        ? t('admin.trouble_one')
        : t('admin.trouble_many', { n: count(found.length) })
  return (
    <section class={`health card is-${tone}`} aria-labelledby="health-heading" data-tone={tone}>
      <div class="health-head" role="status">
        <Icon name={first ? 'alert' : 'check'} class="in-circle" />
        <div>
          <h2 id="health-heading">{heading}</h2>
          {!first && <p>{isLooking ? t('admin.well_so_far') : t('admin.well_hint')}</p>}
        </div>
      </div>
      {found.length > 0 && (
        <ul class="findings">
          {found.map(({ key, tone: one, heading: words, advice, room }) => (
            <li key={key} class={`finding is-${one}`}>
              <div>
                <p class="finding-heading">{words}</p>
                <p class="finding-advice">{advice}</p>
              </div>
              {room && (
                <a class="button is-plain" href={href(room)} aria-label={`${t('admin.look_there')}: ${words}`}>
                  {t('admin.look_there')}
                </a>
              )}
            </li>
          ))}
        </ul>
      )}
    </section>
  )
}

function Tile({
  id,
  heading,
  room,
  value,
  isBad = false,
  children,
}: {
  id: string
  heading: string
  room?: string
  value: string
  isBad?: boolean | undefined
  children?: preact.ComponentChildren
}) {
  return (
    <section class={`tile card ${isBad ? 'is-bad' : ''}`} id={id} aria-labelledby={`${id}-heading`}>
      <h2 id={`${id}-heading`}>{room ? <a href={href(`admin/${room}`)}>{heading}</a> : heading}</h2>
      <p class="tile-value">{value}</p>
      <div class="tile-more">{children}</div>
    </section>
  )
}

function QueueTile({ queue }: Overview) {
  const { waiting, running, wait_p50_seconds: p50, wait_p95_seconds: p95 } = queue
  const isIdle = waiting === 0 && running === 0
  return (
    <Tile
      id="tile-queue"
      heading={t('admin.tile_queue')}
      room="tasks"
      value={isIdle ? t('admin.tile_idle') : t('admin.tile_waiting', { n: count(waiting) })}
    >
      {!isIdle && <p>{t('admin.tile_running', { n: count(running) })}</p>}
      <p>
        {p50 === null || p95 === null
          ? t('admin.tile_no_wait')
          : t('admin.tile_wait', { p50: timespan(p50), p95: timespan(p95) })}
      </p>
    </Tile>
  )
}

function UploadsTile({ uploads }: Overview) {
  return (
    <Tile id="tile-uploads" heading={t('admin.tile_uploads')} room="uploads" value={count(uploads.open)}>
      {uploads.open > 0 && (uploads.bytes_per_second ? speed(uploads.bytes_per_second) : t('admin.tile_silent'))}
    </Tile>
  )
}

function DiskTile({ disk }: Overview) {
  const { capacity, free, left, reserve, reserved } = disk
  const used = Math.max(0, capacity - free)
  const share = capacity > 0 ? used / capacity : 0
  const label = t('admin.tile_disk_used', { used: bytes(used), capacity: bytes(capacity) })
  return (
    <Tile
      id="tile-disk"
      heading={t('admin.tile_disk')}
      value={t('admin.tile_left', { left: bytes(Math.max(0, left)) })}
      isBad={left <= 0}
    >
      <p>{t('admin.tile_left_hint', { reserve: bytes(reserve), reserved: bytes(reserved) })}</p>
      <Progress value={share} label={label} tone={left <= 0 ? 'warn' : 'send'} />
      <p>{label}</p>
    </Tile>
  )
}

function webhookLine(webhooks: readonly { pending: number }[]): string {
  if (webhooks.length === 0) return t('admin.tile_webhooks_none')
  const bad = (webhooks as Parameters<typeof isInTrouble>[0][]).filter(isInTrouble).length
  if (bad > 0) return t('admin.tile_webhooks_bad', { n: count(bad) })
  const pending = webhooks.reduce((sum, one) => sum + one.pending, 0)
  return pending > 0 ? t('admin.tile_pending', { n: count(pending) }) : t('admin.tile_webhooks_well')
}

function doctorTile(doctor: { checks: { findings: { level: string }[] }[] } | null): { value: string; isBad: boolean } {
  if (!doctor) return { value: '–', isBad: false }
  const all = doctor.checks.flatMap(({ findings }) => findings)
  const problems = all.filter(({ level }) => level === 'problem').length
  if (problems > 0) return { value: t('admin.tile_doctor_problems', { n: count(problems) }), isBad: true }
  if (all.length > 0) return { value: t('admin.tile_doctor_advice', { n: count(all.length) }), isBad: false }
  return { value: t('admin.tile_doctor_well'), isBad: false }
}
