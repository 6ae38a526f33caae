// Uploads in flight: how far, how fast, whose, from what; and the end of one.

import { useState } from 'preact/hooks'

import { endUpload, getOverview, type OpenUpload } from '../../api/admin'
import { bytes, count, percent, speed, timespan } from '../../format'
import { Button } from '../../parts/button'
import { Progress } from '../../parts/progress'
import { Empty, Failure, Loading } from '../../parts/states'
import { type Column, Table } from '../../parts/table'
import { useLive } from '../../state/live'
import { toast } from '../../state/toasts'
import { hasText, t } from '../../text'
import { OVERVIEW_MS, UPLOAD_EVENTS } from './pace'
import { Stamp, Sure } from './parts'

export function Uploads() {
  const overview = useLive(getOverview, OVERVIEW_MS / 2, UPLOAD_EVENTS)
  const [ending, setEnding] = useState<OpenUpload | null>(null)
  if (!overview.value) {
    return overview.error ? <Failure error={overview.error} again={() => void overview.refresh()} /> : <Loading />
  }
  const { open, items, bytes_per_second } = overview.value.uploads
  const end = async ({ id, filename }: OpenUpload) => {
    await endUpload(id)
    toast(() => t('admin.ended', { name: filename ?? t('admin.unnamed') }))
    await overview.refresh()
  }
  const dialog = ending && (
    <Sure
      heading={t('admin.end_heading')}
      hint={t('admin.end_hint', { name: ending.filename ?? t('admin.unnamed') })}
      action={t('admin.end')}
      act={() => end(ending)}
      close={() => setEnding(null)}
    />
  )
  if (items.length === 0) {
    return (
      <>
        <Empty icon="upload" heading={t('admin.uploads_none')}>
          {t('admin.uploads_none_hint')}
        </Empty>
        {dialog}
      </>
    )
  }
  return (
    <>
      <p class="room-hint">
        {t('admin.uploads_summary', { n: count(open), speed: speed(bytes_per_second ?? 0) })}
        {open > items.length && ` ${t('admin.uploads_more', { n: count(open), shown: count(items.length) })}`}
      </p>
      <div class="panel card">
        <Table
          id="uploads"
          label={t('admin.uploads')}
          columns={columns(setEnding)}
          rows={items}
          keyOf={({ id }) => id}
        />
      </div>
      {dialog}
    </>
  )
}

const columns = (end: (upload: OpenUpload) => void): Column<OpenUpload>[] => [
  {
    id: 'file',
    label: t('admin.file'),
    isHead: true,
    isWide: true,
    cell: ({ filename }) => <bdi>{filename || t('admin.unnamed')}</bdi>,
  },
  { id: 'owner', label: t('admin.owner'), cell: ({ owner }) => <bdi>{owner}</bdi> },
  { id: 'client', label: t('admin.client'), cell: ({ client }) => clientWord(client) },
  { id: 'created', label: t('admin.created'), cell: ({ created_at }) => <Stamp at={created_at} /> },
  { id: 'received', label: t('admin.received'), cell: (row) => <Received {...row} /> },
  { id: 'speed', label: t('admin.speed'), isNumber: true, cell: pace },
  {
    id: 'actions',
    label: t('admin.actions'),
    isActions: true,
    // A form is one request: its client ends it, or the server when nothing more comes.
    cell: (row) =>
      row.protocol === 'tus' && (
        <Button
          class="end"
          label={t('admin.end_of', { name: row.filename ?? t('admin.unnamed') })}
          title={t('admin.end')}
          onClick={() => end(row)}
        >
          {t('admin.end')}
        </Button>
      ),
  },
]

function Received({ filename, received, length }: OpenUpload) {
  const name = filename ?? t('admin.unnamed')
  return (
    <div class="bar is-tall">
      <Progress value={length ? received / length : null} label={t('admin.progress_of', { name })} />
      <span>
        {length === null
          ? t('admin.received_unknown', { received: bytes(received) })
          : `${t('admin.received_of', { received: bytes(received), length: bytes(length) })} · ${percent(length > 0 ? received / length : 1)}`}
      </span>
    </div>
  )
}

/** The speed while bytes come; else what the upload waits for, and how long already. */
function pace({ bytes_per_second, idle_seconds, why }: OpenUpload) {
  if (bytes_per_second) return speed(bytes_per_second)
  const key = `admin.why_${why}`
  return (
    <span class="quiet">
      {hasText(key) ? t(key as 'admin.why_no_bytes') : (why ?? '–')}
      {idle_seconds !== null && idle_seconds > 0 && ` · ${timespan(idle_seconds)}`}
    </span>
  )
}

function clientWord(client: string): string {
  const key = `admin.client_${client}`
  return hasText(key) ? t(key as 'admin.client_other') : client
}
