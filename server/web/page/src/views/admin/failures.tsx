// What failed in the last day, why, and a way to process it again.

import { useState } from 'preact/hooks'

import { retryTask } from '../../api'
import type { Failed, Overview } from '../../api/admin'
import { count } from '../../format'
import { Button } from '../../parts/button'
import { type Column, Table } from '../../parts/table'
import { sayRetried, tried } from '../../state/actions'
import { t } from '../../text'
import { Panel, Stamp, VideoLink } from './parts'

export function Failures({ failures, changed }: { failures: Overview['failures']; changed: () => void }) {
  const [busy, setBusy] = useState<ReadonlySet<string>>(new Set())
  const { items, last_day } = failures
  const retry = async (chosen: readonly Failed[]) => {
    setBusy(new Set(chosen.map(({ task_id }) => task_id)))
    let done = 0
    for (const { task_id } of chosen) if (await tried(() => retryTask(task_id))) done += 1
    sayRetried(done)
    setBusy(new Set())
    changed()
  }
  const columns: Column<Failed>[] = [
    {
      id: 'task',
      label: t('admin.task'),
      isHead: true,
      cell: ({ task_id, title }) => <VideoLink id={task_id} name={title} />,
    },
    { id: 'reason', label: t('admin.reason'), isWide: true, cell: ({ error }) => error.message },
    { id: 'owner', label: t('admin.owner'), cell: ({ owner }) => <bdi>{owner}</bdi> },
    { id: 'when', label: t('admin.when'), cell: ({ failed_at }) => <Stamp at={failed_at} /> },
    {
      id: 'actions',
      label: t('admin.actions'),
      isActions: true,
      cell: (row) => (
        <Button
          icon="retry"
          class="retry"
          label={t('admin.retry_of', { name: row.title ?? t('admin.unnamed') })}
          title={t('admin.retry')}
          disabled={busy.has(row.task_id)}
          onClick={() => void retry([row])}
        />
      ),
    },
  ]
  return (
    <Panel
      id="failures"
      heading={t('admin.failures')}
      beside={
        items.length > 1 && (
          <Button id="retry-all" look="quiet" icon="retry" disabled={busy.size > 0} onClick={() => void retry(items)}>
            {t('admin.retry_all')}
          </Button>
        )
      }
    >
      {items.length === 0 ? (
        <p class="pane-empty">{t('admin.failures_none')}</p>
      ) : (
        <Table label={t('admin.failures')} columns={columns} rows={items} keyOf={({ task_id }) => task_id} />
      )}
      {last_day > items.length && (
        <p class="pane-note">{t('admin.failures_more', { shown: count(items.length), n: count(last_day) })}</p>
      )}
    </Panel>
  )
}
