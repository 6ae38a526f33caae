// What was sent to a webhook, and what it answered.

import { useEffect, useState } from 'preact/hooks'

import { type Delivery, type DeliveryStatus, listDeliveries, replayWebhook } from '../../api/admin'
import { count } from '../../format'
import { Button } from '../../parts/button'
import { Dialog } from '../../parts/dialog'
import type { Column } from '../../parts/table'
import { tried } from '../../state/actions'
import { usePages } from '../../state/live'
import { toast } from '../../state/toasts'
import { t } from '../../text'
import { PagedTable } from './paged'
import { Badge, Choose, Panel, Stamp, shortSpan, type Tone } from './parts'

const STATUSES = ['pending', 'delivered', 'dead'] as const
const TONES: Record<DeliveryStatus, Tone> = { pending: 'work', delivered: 'good', dead: 'bad' }
const REFRESH_MS = 3000

export function Deliveries({
  webhook,
  sent,
  changed,
}: {
  webhook: string
  /** Counts what was sent by hand: then the list is read again. */
  sent: number
  changed: () => Promise<void>
}) {
  const [status, setStatus] = useState<DeliveryStatus | ''>('')
  const [isDeep, setDeep] = useState(false)
  const [opened, setOpened] = useState<Delivery | null>(null)
  const list = usePages((cursor) => listDeliveries(webhook, { status, cursor, limit: '25' }), status)
  useEffect(() => {
    if (sent > 0) void list.again()
  }, [sent])
  useEffect(() => {
    // Who has gone to older pages reads them; the first one is kept fresh.
    if (isDeep) return
    const timer = setInterval(() => document.hidden || void list.again(), REFRESH_MS)
    return () => clearInterval(timer)
  }, [isDeep, status])
  const replay = (id: string) =>
    tried(async () => {
      await replayWebhook(webhook, { message_id: id })
      toast(() => t('admin.replayed'))
      await list.again()
      await changed()
    })
  const choices = [
    ['', t('admin.any_status')] as const,
    ...STATUSES.map((one) => [one, t(`admin.delivery_${one}`)] as const),
  ]
  return (
    <Panel
      id="deliveries"
      heading={t('admin.deliveries')}
      beside={
        <Choose
          id="delivery-status"
          label={t('admin.deliveries_status')}
          value={status}
          choices={choices}
          choose={setStatus}
        />
      }
    >
      <PagedTable
        list={list}
        label={t('admin.deliveries')}
        columns={columns(setOpened, (id) => void replay(id))}
        keyOf={({ message_id }) => message_id}
        dataOf={(row) => row.status}
        isQuiet
        more={() => {
          setDeep(true)
          list.more()
        }}
        empty={<p class="pane-empty">{t('admin.deliveries_none')}</p>}
      />
      {opened && <Answers delivery={opened} close={() => setOpened(null)} />}
    </Panel>
  )
}

function columns(open: (row: Delivery) => void, replay: (id: string) => void): Column<Delivery>[] {
  return [
    {
      id: 'message',
      label: t('admin.message'),
      isHead: true,
      isWide: true,
      cell: ({ type, message_id }) => (
        <>
          <code>{type}</code>
          <p class="quiet">{message_id}</p>
        </>
      ),
    },
    {
      id: 'state',
      label: t('admin.state'),
      cell: ({ status }) => <Badge tone={TONES[status]}>{t(`admin.delivery_${status}`)}</Badge>,
    },
    { id: 'answer', label: t('admin.answer'), cell: lastAnswer },
    {
      id: 'when',
      label: t('admin.when'),
      cell: ({ created_at, ended_at }) => <Stamp at={ended_at ?? created_at} />,
    },
    {
      id: 'actions',
      label: t('admin.actions'),
      isActions: true,
      cell: (row) => (
        <>
          {row.attempts.length > 0 && (
            <Button
              look="quiet"
              class="answers"
              label={t('admin.details_of', { id: row.message_id })}
              title={t('admin.details')}
              onClick={() => open(row)}
            >
              {t('admin.details')}
            </Button>
          )}
          {row.status !== 'pending' && (
            <Button
              icon="retry"
              class="replay"
              label={t('admin.replay_of', { id: row.message_id })}
              title={t('admin.replay')}
              onClick={() => replay(row.message_id)}
            />
          )}
        </>
      ),
    },
  ]
}

type Attempt = Delivery['attempts'][number]

function answerLine({ answer_status, error, seconds }: Attempt): string {
  if (answer_status !== null) return t('admin.answer_of', { status: answer_status, time: shortSpan(seconds) })
  return error?.message ?? t('admin.no_answer')
}

function lastAnswer({ attempts }: Delivery) {
  const last = attempts.at(-1)
  if (!last) return '–'
  return (
    <>
      {answerLine(last)}
      {attempts.length > 1 && <p class="quiet">{t('admin.attempts', { n: count(attempts.length) })}</p>}
    </>
  )
}

function Answers({ delivery, close }: { delivery: Delivery; close: () => void }) {
  return (
    <Dialog heading={t('admin.details')} onClose={close}>
      <p class="dialog-hint">
        <code>{delivery.message_id}</code>
      </p>
      <ol class="attempts">
        {delivery.attempts.map((attempt) => (
          <li key={attempt.at}>
            <p>
              <strong>{answerLine(attempt)}</strong> <Stamp at={attempt.at} isExact />
            </p>
            {attempt.answer_status !== null && attempt.error && <p class="form-error">{attempt.error.message}</p>}
            {attempt.answer ? (
              <pre>
                <code>{attempt.answer}</code>
              </pre>
            ) : (
              attempt.answer_status !== null && <p class="dialog-hint">{t('admin.answer_empty')}</p>
            )}
          </li>
        ))}
      </ol>
    </Dialog>
  )
}
