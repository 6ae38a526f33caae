// Uploads in flight: how far, how fast, whose, from what; and the end of one.

import { useState } from 'preact/hooks'

import { listUploads } from '../../api'
import { endUpload, getOverview, type OpenUpload } from '../../api/admin'
import type { Upload } from '../../api/types'
import { bytes, count, percent, speed, timespan } from '../../format'
import { Button } from '../../parts/button'
import { Progress } from '../../parts/progress'
import { Empty } from '../../parts/states'
import { type Column, Table } from '../../parts/table'
import { query, setQuery } from '../../router'
import { useLive, usePages } from '../../state/live'
import { isProtected } from '../../state/session'
import { toast } from '../../state/toasts'
import { hasText, t } from '../../text'
import { OVERVIEW_MS, UPLOAD_EVENTS } from './pace'
import { Awaited, PagedTable } from './paged'
import { Choose, Find, Stamp, Sure } from './parts'

export function Uploads() {
  const owner = query.value.get('owner') ?? ''
  const which = query.value.get('show') === 'all' ? 'all' : 'newest'
  const [ending, setEnding] = useState<{ upload: OpenUpload; then: () => Promise<void> } | null>(null)
  const end = async () => {
    if (!ending) return
    const { upload, then } = ending
    await endUpload(upload.id)
    toast(() => t('admin.ended', { name: upload.filename ?? t('admin.unnamed') }))
    await then()
  }
  const ask = (upload: OpenUpload, then: () => Promise<void>) => setEnding({ upload, then })
  return (
    <>
      <search class="tools">
        {isProtected && (
          <Find
            id="owner-filter"
            label={t('admin.filter_owner')}
            value={owner}
            find={(value) => setQuery({ owner: value })}
          />
        )}
        <Choose
          id="which"
          label={t('admin.uploads')}
          value={owner ? 'all' : which}
          choices={[
            ['newest', t('admin.uploads_newest')],
            ['all', t('admin.uploads_all')],
          ]}
          choose={(value) => setQuery({ show: value === 'all' ? 'all' : null, owner: null })}
        />
      </search>
      {owner || which === 'all' ? <Listed key={owner} owner={owner} end={ask} /> : <Newest end={ask} />}
      {ending && (
        <Sure
          heading={t('admin.end_heading')}
          hint={t('admin.end_hint', { name: ending.upload.filename ?? t('admin.unnamed') })}
          action={t('admin.end')}
          act={end}
          close={() => setEnding(null)}
        />
      )}
    </>
  )
}

type End = (upload: OpenUpload, then: () => Promise<void>) => void

/** Those whose bytes came last, with their speeds. */
function Newest({ end }: { end: End }) {
  const overview = useLive(getOverview, OVERVIEW_MS / 2, UPLOAD_EVENTS)
  if (!overview.value) {
    return <Awaited error={overview.error} again={overview.refresh} />
  }
  const { open, items, bytes_per_second } = overview.value.uploads
  if (items.length === 0) return <None />
  return (
    <>
      <p class="room-hint">
        {t('admin.uploads_summary', { n: count(open), speed: speed(bytes_per_second ?? 0) })}
        {open > items.length && ` ${t('admin.uploads_more', { n: count(open), shown: count(items.length) })}`}
      </p>
      <div class="pane card">
        <Table
          id="uploads"
          label={t('admin.uploads')}
          columns={columns((upload) => end(upload, overview.refresh))}
          rows={items}
          keyOf={({ id }) => id}
        />
      </div>
    </>
  )
}

/** All that are open, or those of an owner, by pages. It is a line of the audit log, so nothing asks for it by itself. */
function Listed({ owner, end }: { owner: string; end: End }) {
  const list = usePages(async (cursor) => {
    const { uploads, next } = await listUploads({
      status: ['open'],
      ...(owner && { owner }),
      ...(cursor && { cursor }),
    })
    return { rows: uploads.map(asOpen), next }
  })
  return (
    <PagedTable
      list={list}
      isCard
      id="uploads"
      label={t('admin.uploads')}
      columns={columns((upload) => end(upload, list.again)).filter(({ id }) => id !== 'client' && id !== 'speed')}
      keyOf={({ id }) => id}
      empty={<None />}
    />
  )
}

function asOpen({ id, owner = '', filename, protocol, created_at, offset, size }: Upload): OpenUpload {
  const unknown = { client: 'unknown', bytes_per_second: null, idle_seconds: null, why: null }
  return { ...unknown, id, owner, filename, protocol, created_at, received: offset, length: size }
}

function None() {
  return (
    <Empty icon="upload" heading={t('admin.uploads_none')}>
      {t('admin.uploads_none_hint')}
    </Empty>
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
