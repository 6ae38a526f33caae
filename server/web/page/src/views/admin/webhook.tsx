// One webhook: what it is, what can be done with it, and its deliveries.

import { useRef, useState } from 'preact/hooks'

import { changeWebhook, removeWebhook, replayWebhook, rotateWebhook, testWebhook, type Webhook } from '../../api/admin'
import { count, moment } from '../../format'
import { Button } from '../../parts/button'
import { Dialog } from '../../parts/dialog'
import { Menu } from '../../parts/menu'
import { go, href } from '../../router'
import { tried } from '../../state/actions'
import { toast } from '../../state/toasts'
import { t } from '../../text'
import { Deliveries } from './deliveries'
import { Field, SecretDialog, Sure } from './parts'
import { EventChoice, WebhookState } from './webhooks'

type Asked = 'rotate' | 'remove' | 'events' | 'range'

export function OneWebhook({ webhook, changed }: { webhook: Webhook; changed: () => Promise<void> }) {
  const { id, url, owner, events, enabled, failures, pending, dead } = webhook
  const [asked, setAsked] = useState<Asked | null>(null)
  const [secret, setSecret] = useState<{ text: string; until: string } | null>(null)
  const [sent, setSent] = useState(0)
  const close = () => setAsked(null)
  const test = () =>
    tried(async () => {
      await testWebhook(id)
      toast(() => t('admin.tested'))
      setSent(sent + 1)
      await changed()
    })
  const enable = (isEnabled: boolean) =>
    tried(async () => {
      await changeWebhook(id, { enabled: isEnabled })
      toast(() => t(isEnabled ? 'admin.enabled' : 'admin.disabled'))
      await changed()
    })
  return (
    <>
      <p class="room-back">
        <a href={href('admin/webhooks')}>{t('admin.all_webhooks')}</a>
      </p>
      <section class="pane card" aria-labelledby="webhook-heading">
        <div class="pane-head">
          <h2 id="webhook-heading" class="is-address" dir="ltr">
            {url}
          </h2>
          <div class="pane-actions">
            <Button id="webhook-test" onClick={() => void test()}>
              {t('admin.test')}
            </Button>
            <Button id="webhook-enable" onClick={() => void enable(!enabled)}>
              {enabled ? t('admin.disable') : t('admin.enable')}
            </Button>
            <Menu
              id="webhook-more"
              label={t('shell.more')}
              items={[
                { label: t('admin.change_events'), icon: 'edit', act: () => setAsked('events') },
                { label: t('admin.replay_range'), icon: 'retry', act: () => setAsked('range'), id: 'webhook-range' },
                { label: t('admin.rotate'), icon: 'key', act: () => setAsked('rotate'), id: 'webhook-rotate' },
                {
                  label: t('admin.remove'),
                  icon: 'bin',
                  danger: true,
                  act: () => setAsked('remove'),
                  id: 'webhook-remove',
                },
              ]}
            />
          </div>
        </div>
        <dl class="about">
          <div>
            <dt>{t('admin.state')}</dt>
            <dd>
              <WebhookState webhook={webhook} />
              {failures > 0 && <span class="quiet"> {t('admin.failures_row', { n: count(failures) })}</span>}
            </dd>
          </div>
          <div>
            <dt>{t('admin.whose')}</dt>
            <dd>{owner === null ? t('admin.every_owner') : <bdi>{owner}</bdi>}</dd>
          </div>
          <div>
            <dt>{t('admin.pending')}</dt>
            <dd>{count(pending)}</dd>
          </div>
          <div>
            <dt>{t('admin.dead')}</dt>
            <dd>{count(dead)}</dd>
          </div>
          <div class="is-long">
            <dt>{t('admin.events')}</dt>
            <dd>
              {events.map((event) => (
                <code key={event}>{event}</code>
              ))}
            </dd>
          </div>
        </dl>
      </section>
      <Deliveries webhook={id} sent={sent} changed={changed} />
      {asked === 'events' && <Events webhook={webhook} changed={changed} close={close} />}
      {asked === 'range' && (
        <Range
          replay={async (since, until) => {
            const { count: n } = await replayWebhook(id, { since, ...(until && { until }) })
            toast(() => t('admin.replayed_many', { n: count(n) }))
            setSent(sent + 1)
            await changed()
          }}
          close={close}
        />
      )}
      {asked === 'rotate' && (
        <Sure
          heading={t('admin.rotate_heading')}
          hint={t('admin.rotate_hint')}
          action={t('admin.rotate')}
          act={async () => {
            const made = await rotateWebhook(id)
            setSecret({ text: made.secret, until: made.old_until })
          }}
          close={close}
        />
      )}
      {asked === 'remove' && (
        <Sure
          heading={t('admin.remove_heading')}
          hint={t('admin.remove_hint')}
          action={t('admin.remove')}
          act={async () => {
            await removeWebhook(id)
            toast(() => t('admin.removed'))
            go('admin/webhooks', { replace: true })
            await changed()
          }}
          close={close}
        />
      )}
      {secret && (
        <SecretDialog
          heading={t('admin.rotated')}
          label={t('admin.secret')}
          value={secret.text}
          notes={[t('admin.rotated_until', { when: moment(secret.until) })]}
          close={() => setSecret(null)}
        />
      )}
    </>
  )
}

function Events({ webhook, changed, close }: { webhook: Webhook; changed: () => Promise<void>; close: () => void }) {
  const [events, setEvents] = useState<readonly string[]>(webhook.events)
  const save = async () => {
    if (events.length === 0) return
    const isDone = await tried(() => changeWebhook(webhook.id, { events }))
    if (!isDone) return
    toast(() => t('admin.events_changed'))
    close()
    await changed()
  }
  return (
    <Dialog
      heading={t('admin.change_events')}
      onClose={close}
      buttons={
        <>
          <Button onClick={close}>{t('common.cancel')}</Button>
          <Button look="primary" onClick={() => void save()}>
            {t('admin.save')}
          </Button>
        </>
      }
    >
      <EventChoice chosen={events} choose={setEvents} />
    </Dialog>
  )
}

/** A time of which everything is sent again, in the clock of the reader. */
function Range({
  replay,
  close,
}: {
  replay: (since: string, until: string | null) => Promise<void>
  close: () => void
}) {
  const since = useRef<HTMLInputElement>(null)
  const until = useRef<HTMLInputElement>(null)
  const [isWrong, setWrong] = useState(false)
  const act = async () => {
    const from = moments(since.current?.value)
    setWrong(from === null)
    if (from === null) {
      since.current?.focus()
      return
    }
    if (await tried(() => replay(from, moments(until.current?.value)))) close()
  }
  return (
    <Dialog
      heading={t('admin.replay_range')}
      onClose={close}
      buttons={
        <>
          <Button onClick={close}>{t('common.cancel')}</Button>
          <Button id="replay-range" look="primary" onClick={() => void act()}>
            {t('admin.replay')}
          </Button>
        </>
      }
    >
      <p class="dialog-hint">{t('admin.replay_range_hint')}</p>
      <div class="form-grid">
        <Field id="replay-from" label={t('admin.from')} {...(isWrong && { error: t('admin.from_missing') })}>
          <input ref={since} id="replay-from" type="datetime-local" class="field" aria-invalid={isWrong} />
        </Field>
        <Field id="replay-to" label={t('admin.to')}>
          <input ref={until} id="replay-to" type="datetime-local" class="field" />
        </Field>
      </div>
    </Dialog>
  )
}

function moments(local: string | undefined): string | null {
  const at = local ? new Date(local) : null
  return at && !Number.isNaN(at.getTime()) ? at.toISOString() : null
}
