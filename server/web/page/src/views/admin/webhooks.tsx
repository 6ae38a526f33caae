// Webhooks of all owners: a list, a new one, and one with its deliveries.

import { useRef, useState } from 'preact/hooks'

import { addWebhook, EVENTS, listWebhooks, type NewWebhook, type Webhook } from '../../api/admin'
import { count, moment } from '../../format'
import { Button } from '../../parts/button'
import { Dialog } from '../../parts/dialog'
import { Empty, Failure, Loading } from '../../parts/states'
import { type Column, Table } from '../../parts/table'
import { href, query } from '../../router'
import { tried } from '../../state/actions'
import { useLive } from '../../state/live'
import { isProtected } from '../../state/session'
import { t } from '../../text'
import { Badge, Field, SecretDialog } from './parts'
import { OneWebhook } from './webhook'

const REFRESH_MS = 5000

export function WebhooksRoom() {
  const list = useLive(async () => (await listWebhooks()).webhooks, REFRESH_MS)
  const [isMaking, setMaking] = useState(false)
  const [made, setMade] = useState<NewWebhook | null>(null)
  const chosen = query.value.get('webhook')
  if (list.value === null) {
    return list.error ? <Failure error={list.error} again={() => void list.refresh()} /> : <Loading />
  }
  if (chosen !== null) {
    const found = list.value.find(({ id }) => id === chosen)
    return found ? (
      <OneWebhook key={chosen} webhook={found} changed={list.refresh} />
    ) : (
      <Empty
        icon="link"
        heading={t('admin.webhook_gone')}
        actions={<a href={href('admin/webhooks')}>{t('admin.all_webhooks')}</a>}
      />
    )
  }
  const button = (
    <Button id="new-webhook" look="primary" icon="link" onClick={() => setMaking(true)}>
      {t('admin.new_webhook')}
    </Button>
  )
  return (
    <>
      {list.value.length === 0 ? (
        <Empty icon="link" heading={t('admin.webhooks_none')} actions={button}>
          {t('admin.webhooks_none_hint')}
        </Empty>
      ) : (
        <>
          <div class="room-tools">{button}</div>
          <div class="pane card">
            <Table
              id="webhooks"
              label={t('admin.webhooks')}
              columns={columns()}
              rows={list.value}
              keyOf={({ id }) => id}
            />
          </div>
        </>
      )}
      {isMaking && (
        <New
          close={() => setMaking(false)}
          made={(one) => {
            setMaking(false)
            setMade(one)
            void list.refresh()
          }}
        />
      )}
      {made && (
        <SecretDialog
          heading={t('admin.webhook_made')}
          label={t('admin.secret')}
          value={made.secret}
          notes={[t('admin.secret_hint'), ...made.warnings.map(({ message }) => message)]}
          close={() => setMade(null)}
        />
      )}
    </>
  )
}

/** What its circuit is like, in words. */
export function WebhookState({ webhook }: { webhook: Webhook }) {
  const { enabled, disabled, retry_at } = webhook
  if (disabled) return <Badge tone="bad">{t('admin.off_because', { reason: disabled.message })}</Badge>
  if (!enabled) return <Badge tone="rest">{t('admin.off')}</Badge>
  if (retry_at) return <Badge tone="bad">{t('admin.waits', { when: moment(retry_at) })}</Badge>
  return <Badge tone="good">{t('admin.works')}</Badge>
}

const columns = (): Column<Webhook>[] => [
  {
    id: 'address',
    label: t('admin.address'),
    isHead: true,
    isWide: true,
    cell: ({ id, url }) => (
      <a class="webhook-link" href={href(`admin/webhooks?webhook=${id}`)} dir="ltr">
        {url}
      </a>
    ),
  },
  {
    id: 'owner',
    label: t('admin.whose'),
    cell: ({ owner }) => (owner === null ? t('admin.every_owner') : <bdi>{owner}</bdi>),
  },
  { id: 'state', label: t('admin.state'), cell: (webhook) => <WebhookState webhook={webhook} /> },
  { id: 'pending', label: t('admin.pending'), isNumber: true, cell: ({ pending }) => count(pending) },
  { id: 'dead', label: t('admin.dead'), isNumber: true, cell: ({ dead }) => count(dead) },
]

/** A choice of events. */
export function EventChoice({
  chosen,
  choose,
}: {
  chosen: readonly string[]
  choose: (events: readonly string[]) => void
}) {
  return (
    <fieldset class="choices is-pairs">
      <legend>{t('admin.events')}</legend>
      {EVENTS.map((event) => (
        <label key={event} class="check">
          <input
            type="checkbox"
            checked={chosen.includes(event)}
            onChange={({ currentTarget }) =>
              choose(EVENTS.filter((one) => (one === event ? currentTarget.checked : chosen.includes(one))))
            }
          />
          <code>{event}</code>
        </label>
      ))}
      {chosen.length === 0 && (
        <p class="form-error" role="alert">
          {t('admin.events_missing')}
        </p>
      )}
    </fieldset>
  )
}

function New({ made, close }: { made: (webhook: NewWebhook) => void; close: () => void }) {
  const address = useRef<HTMLInputElement>(null)
  const owner = useRef<HTMLInputElement>(null)
  const [events, setEvents] = useState<readonly string[]>(['task.completed', 'task.failed'])
  const [isWrong, setWrong] = useState(false)
  const [isBusy, setBusy] = useState(false)
  const add = async (event: Event) => {
    event.preventDefault()
    const url = address.current?.value.trim() ?? ''
    const isBad = !/^https?:\/\/./i.test(url)
    setWrong(isBad)
    if (isBad) address.current?.focus()
    if (isBad || events.length === 0 || isBusy) return
    setBusy(true)
    await tried(async () => made(await addWebhook(url, events, owner.current?.value.trim() || null)))
    setBusy(false)
  }
  return (
    <Dialog
      heading={t('admin.new_webhook')}
      onClose={close}
      buttons={
        <>
          <Button onClick={close}>{t('common.cancel')}</Button>
          <Button id="add-webhook" look="primary" disabled={isBusy} onClick={(event) => void add(event)}>
            {t('admin.add')}
          </Button>
        </>
      }
    >
      <form class="form" noValidate onSubmit={(event) => void add(event)}>
        <Field
          id="webhook-address"
          label={t('admin.address')}
          hint={t('admin.address_hint')}
          {...(isWrong && { error: t('admin.address_missing') })}
        >
          <input
            ref={address}
            id="webhook-address"
            type="url"
            class="field"
            dir="ltr"
            autocomplete="off"
            aria-invalid={isWrong}
            aria-describedby="webhook-address-hint"
          />
        </Field>
        {isProtected && (
          <Field id="webhook-owner" label={t('admin.whose')} hint={t('admin.whose_hint')}>
            <input
              ref={owner}
              id="webhook-owner"
              class="field"
              autocapitalize="none"
              autocomplete="off"
              aria-describedby="webhook-owner-hint"
            />
          </Field>
        )}
        <EventChoice chosen={events} choose={setEvents} />
        <button type="submit" hidden tabIndex={-1} />
      </form>
    </Dialog>
  )
}
