// The workers, and what each of them does now.

import type { Working as Worker } from '../../api/admin'
import { percent, timespan } from '../../format'
import { Progress } from '../../parts/progress'
import { type Column, Table } from '../../parts/table'
import { hasText, t } from '../../text'
import { VideoLink } from './parts'

export function Working({ workers }: { workers: readonly Worker[] }) {
  if (workers.length === 0) return <p class="pane-empty">{t('admin.working_none')}</p>
  const columns: Column<Worker>[] = [
    {
      id: 'task',
      label: t('admin.task'),
      isHead: true,
      isWide: true,
      cell: ({ task_id, title }) => <VideoLink id={task_id} name={title} />,
    },
    { id: 'owner', label: t('admin.owner'), cell: ({ owner }) => <bdi>{owner}</bdi> },
    { id: 'worker', label: t('admin.worker'), cell: ({ worker }) => <bdi>{worker}</bdi> },
    { id: 'step', label: t('admin.step'), cell: ({ step }) => stepWord(step) },
    {
      id: 'progress',
      label: t('admin.progress'),
      cell: ({ progress, title }) => (
        <div class="bar">
          <Progress
            value={progress / 100}
            tone="work"
            label={t('admin.progress_of', { name: title ?? t('admin.unnamed') })}
          />
          <span>{percent(progress / 100)}</span>
        </div>
      ),
    },
    {
      id: 'left',
      label: t('admin.left'),
      isNumber: true,
      cell: ({ eta_seconds }) => (eta_seconds === null ? '–' : timespan(eta_seconds)),
    },
  ]
  return <Table id="workers" label={t('admin.working')} columns={columns} rows={workers} keyOf={(row) => row.task_id} />
}

function stepWord(step: string | null): string {
  const key = `video.step_${step}`
  return hasText(key) ? t(key as 'video.step_mp4') : (step ?? '–')
}
