// The workers, and all tasks of all owners in the order that is wanted.
//
// Rule: a list of what belongs to others is a line of the audit log, so the list is asked for when somebody wants it;
// in between, events change its rows.

import { useEffect } from 'preact/hooks'

import { getTask, listTasks } from '../../api'
import { getOverview } from '../../api/admin'
import { listen } from '../../api/events'
import type { Task } from '../../api/types'
import { bytes, clock } from '../../format'
import { Button } from '../../parts/button'
import { Empty } from '../../parts/states'
import type { Column } from '../../parts/table'
import { query, setQuery } from '../../router'
import { canRetry, retryVideos, tried } from '../../state/actions'
import { useLive, usePages } from '../../state/live'
import { isProtected } from '../../state/session'
import { nameOf } from '../../state/videos'
import { statusWord } from '../../state/words'
import { t } from '../../text'
import { OVERVIEW_MS, TASK_EVENTS } from './pace'
import { Awaited, PagedTable } from './paged'
import { Badge, Choose, Find, Panel, Stamp, type Tone, VideoLink } from './parts'
import { Working } from './working'

const STATUSES = {
  all: [],
  failed: ['error'],
  open: ['uploaded', 'processing'],
  ready: ['completed'],
  cancelled: ['cancelled'],
} as const
type Wanted = keyof typeof STATUSES
const TONES: Record<Task['status'], Tone> = {
  uploaded: 'rest',
  processing: 'work',
  completed: 'good',
  error: 'bad',
  cancelled: 'rest',
}

export function Tasks() {
  const overview = useLive(getOverview, OVERVIEW_MS, TASK_EVENTS)
  return (
    <>
      <Panel id="working" heading={t('admin.working')}>
        {overview.value ? (
          <Working workers={overview.value.workers} />
        ) : (
          <Awaited error={overview.error} again={overview.refresh} />
        )}
      </Panel>
      <List />
    </>
  )
}

function List() {
  const given = query.value
  const status = (Object.hasOwn(STATUSES, given.get('status') ?? '') ? given.get('status') : 'all') as Wanted
  const owner = given.get('owner') ?? ''
  const sort = given.get('sort') ?? 'created'
  const isDescending = given.get('order') !== 'asc'
  const list = usePages(async (cursor) => {
    const asked = { status: STATUSES[status], owner, sort, order: isDescending ? 'desc' : 'asc', limit: 50 }
    const { tasks, next } = await listTasks({ ...asked, ...(cursor && { cursor }) })
    return { rows: tasks, next }
  }, `${status} ${owner} ${sort} ${isDescending}`)
  const { edit } = list
  useEffect(
    () =>
      listen({
        event: ({ status: now, task_id }) =>
          now && edit((rows) => rows.map((row) => (row.task_id === task_id ? { ...row, ...now } : row))),
      }),
    [],
  )
  const retry = async (task: Task) => {
    await retryVideos([task])
    await tried(async () => {
      const now = await getTask(task.task_id)
      edit((rows) => rows.map((row) => (row.task_id === task.task_id ? { ...row, ...now } : row)))
    })
  }
  return (
    <Panel id="tasks" heading={t('admin.all_tasks')}>
      <search class="tools pane-tools">
        {isProtected && (
          <Find
            id="owner-filter"
            label={t('admin.filter_owner')}
            value={owner}
            find={(value) => setQuery({ owner: value })}
          />
        )}
        <Choose
          id="status-filter"
          label={t('admin.state')}
          value={status}
          choices={[
            ['all', t('admin.any_status')],
            ['open', t('videos.only_processing')],
            ['failed', t('videos.only_failed')],
            ['ready', t('videos.only_ready')],
            ['cancelled', t('videos.only_cancelled')],
          ]}
          choose={(value) => setQuery({ status: value === 'all' ? null : value })}
        />
        <Button icon="retry" label={t('admin.refresh')} onClick={() => void list.again()} />
      </search>
      <PagedTable
        list={list}
        label={t('admin.all_tasks')}
        columns={columns(retry)}
        keyOf={({ task_id }) => task_id}
        sorting={{
          by: sort,
          isDescending,
          choose: (by, down) => setQuery({ sort: by === 'created' ? null : by, order: down ? null : 'asc' }),
        }}
        empty={
          <Empty icon="film" heading={t('admin.tasks_none')}>
            {t('admin.tasks_none_hint')}
          </Empty>
        }
        short={t('admin.audit_more_short')}
      />
      {list.rows !== null && (sort !== 'created' || !isDescending) && (
        <p class="pane-note">{t('admin.sorted_newest')}</p>
      )}
    </Panel>
  )
}

const columns = (retry: (task: Task) => Promise<void>): Column<Task>[] => [
  {
    id: 'name',
    label: t('admin.name'),
    isHead: true,
    isWide: true,
    sort: 'name',
    isAscending: true,
    cell: (task) => <VideoLink id={task.task_id} name={nameOf(task)} />,
  },
  { id: 'owner', label: t('admin.owner'), cell: ({ owner }) => owner && <bdi>{owner}</bdi> },
  {
    id: 'state',
    label: t('admin.state'),
    cell: (task) => (
      <>
        <Badge tone={task.waiting ? 'warn' : TONES[task.status]}>{statusWord(task)}</Badge>
        {task.status === 'error' && <p class="quiet">{task.files[0]?.error?.message ?? task.message}</p>}
        {task.waiting && <p class="quiet">{task.waiting.message}</p>}
      </>
    ),
  },
  {
    id: 'created',
    label: t('admin.created'),
    sort: 'created',
    cell: ({ created_at_utc }) => <Stamp at={created_at_utc} />,
  },
  {
    id: 'length',
    label: t('admin.length'),
    isNumber: true,
    sort: 'duration',
    cell: ({ files }) => {
      const seconds = files.reduce((sum, { duration }) => sum + (duration ?? 0), 0)
      return seconds > 0 && clock(seconds)
    },
  },
  {
    id: 'size',
    label: t('admin.size'),
    isNumber: true,
    sort: 'size',
    cell: ({ files }) => bytes(files.reduce((sum, { size }) => sum + size, 0)),
  },
  {
    id: 'actions',
    label: t('admin.actions'),
    isActions: true,
    cell: (task) =>
      canRetry(task) && (
        <Button
          icon="retry"
          label={t('admin.retry_of', { name: nameOf(task) })}
          title={t('admin.retry')}
          onClick={() => void retry(task)}
        />
      ),
  },
]
