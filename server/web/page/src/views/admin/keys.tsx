// API keys and upload grants: made, seen, revoked.
//
// Rule: a key is shown once, when it is made.

import { useRef, useState } from 'preact/hooks'

import {
  addKey,
  type Grant,
  type Key,
  listGrants,
  listKeys,
  revokeGrant,
  revokeKey,
  type Validity,
} from '../../api/admin'
import type { Scope } from '../../api/types'
import { count } from '../../format'
import { Button } from '../../parts/button'
import { Dialog } from '../../parts/dialog'
import { Empty } from '../../parts/states'
import type { Column } from '../../parts/table'
import { query, setQuery } from '../../router'
import { tried } from '../../state/actions'
import { usePages } from '../../state/live'
import { toast } from '../../state/toasts'
import { t } from '../../text'
import { PagedTable } from './paged'
import { Badge, Field, Find, Panel, SecretDialog, Stamp, Sure, type Tone } from './parts'

const SCOPES: readonly Scope[] = ['upload', 'read', 'manage', 'admin']
const DAY = 86_400
const ENDS = [
  ['never', null],
  ['in_day', DAY],
  ['in_month', 30 * DAY],
  ['in_quarter', 90 * DAY],
  ['in_year', 365 * DAY],
] as const
const TONES: Record<Validity, Tone> = { valid: 'good', expired: 'rest', revoked: 'rest' }

export function Keys() {
  const owner = query.value.get('owner') ?? ''
  const keys = usePages((cursor) => listKeys({ owner, cursor }), owner)
  const grants = usePages((cursor) => listGrants({ owner, cursor }), owner)
  const [isMaking, setMaking] = useState(false)
  const [made, setMade] = useState<{ owner: string; text: string } | null>(null)
  const [revoked, setRevoked] = useState<Key | null>(null)
  const [ended, setEnded] = useState<Grant | null>(null)
  const button = (
    <Button id="new-key" look="primary" icon="key" onClick={() => setMaking(true)}>
      {t('admin.new_key')}
    </Button>
  )
  return (
    <>
      <search class="tools">
        <Find
          id="owner-filter"
          label={t('admin.filter_owner')}
          value={owner}
          find={(value) => setQuery({ owner: value })}
        />
        {button}
      </search>
      <div class="pane card">
        <PagedTable
          list={keys}
          id="keys"
          label={t('admin.keys')}
          columns={keyColumns(setRevoked)}
          keyOf={({ id }) => id}
          dataOf={({ state }) => state}
          empty={
            <Empty icon="key" heading={t('admin.keys_none')}>
              {t('admin.keys_none_hint')}
            </Empty>
          }
        />
      </div>
      <Panel id="grants" heading={t('admin.grants')}>
        <p class="pane-note">{t('admin.grants_hint')}</p>
        <PagedTable
          list={grants}
          label={t('admin.grants')}
          columns={grantColumns(setEnded)}
          keyOf={({ id }) => id}
          dataOf={({ state }) => state}
          empty={<p class="pane-empty">{t('admin.grants_none')}</p>}
        />
      </Panel>
      {isMaking && (
        <NewKey
          close={() => setMaking(false)}
          made={(whose, text) => {
            setMaking(false)
            setMade({ owner: whose, text })
            void keys.again()
          }}
        />
      )}
      {made && (
        <SecretDialog
          heading={t('admin.key_made', { owner: made.owner })}
          label={t('admin.key_of')}
          value={made.text}
          close={() => setMade(null)}
        />
      )}
      {revoked && (
        <Sure
          heading={t('admin.revoke_heading')}
          hint={t('admin.revoke_hint', { id: revoked.id, owner: revoked.owner })}
          action={t('admin.revoke')}
          act={async () => {
            await revokeKey(revoked.id)
            toast(() => t('admin.key_revoked'))
            await keys.again()
          }}
          close={() => setRevoked(null)}
        />
      )}
      {ended && (
        <Sure
          heading={t('admin.revoke_grant_heading')}
          hint={t('admin.revoke_grant_hint')}
          action={t('admin.revoke')}
          act={async () => {
            await revokeGrant(ended.id)
            toast(() => t('admin.grant_revoked'))
            await grants.again()
          }}
          close={() => setEnded(null)}
        />
      )}
    </>
  )
}

function stateCell({ state }: { state: Validity }) {
  return <Badge tone={TONES[state]}>{t(`admin.${state}`)}</Badge>
}

/** The server keeps it to the hour. */
function lastUse(at: string | null) {
  if (!at) return t('admin.never_used')
  return Date.now() - new Date(at).getTime() < 7_200_000 ? t('admin.used_lately') : <Stamp at={at} />
}

function keyColumns(revoke: (key: Key) => void): Column<Key>[] {
  return [
    { id: 'owner', label: t('admin.owner'), isHead: true, cell: ({ owner }) => <bdi>{owner}</bdi> },
    { id: 'key', label: t('admin.key_of'), cell: ({ id }) => <code>{id}</code> },
    {
      id: 'scopes',
      label: t('admin.scopes'),
      cell: ({ scopes }) =>
        SCOPES.filter((scope) => scopes.includes(scope))
          .map((scope) => t(`admin.scope_${scope}`))
          .join(t('unit.comma')),
    },
    { id: 'state', label: t('admin.state'), cell: stateCell },
    { id: 'created', label: t('admin.created'), cell: ({ created_at }) => <Stamp at={created_at} /> },
    {
      id: 'used',
      label: t('admin.last_used'),
      cell: ({ last_used_at }) => lastUse(last_used_at),
    },
    {
      id: 'expires',
      label: t('admin.expires'),
      cell: ({ expires_at }) => (expires_at ? <Stamp at={expires_at} isExact /> : t('admin.never')),
    },
    {
      id: 'actions',
      label: t('admin.actions'),
      isActions: true,
      cell: (key) =>
        key.state === 'valid' && (
          <Button
            class="revoke"
            label={t('admin.revoke_key', { id: key.id, owner: key.owner })}
            title={t('admin.revoke')}
            onClick={() => revoke(key)}
          >
            {t('admin.revoke')}
          </Button>
        ),
    },
  ]
}

function grantColumns(revoke: (grant: Grant) => void): Column<Grant>[] {
  return [
    { id: 'owner', label: t('admin.owner'), isHead: true, cell: ({ owner }) => <bdi>{owner}</bdi> },
    { id: 'grant', label: t('admin.grant'), cell: ({ id }) => <code>{id}</code> },
    { id: 'by', label: t('admin.made_by'), cell: ({ created_by }) => <bdi>{created_by}</bdi> },
    { id: 'state', label: t('admin.state'), cell: stateCell },
    {
      id: 'used',
      label: t('admin.used_uploads'),
      isNumber: true,
      cell: ({ used, uploads }) => t('admin.used_places', { used: count(used), uploads: count(uploads) }),
    },
    { id: 'created', label: t('admin.created'), cell: ({ created_at }) => <Stamp at={created_at} /> },
    { id: 'expires', label: t('admin.expires'), cell: ({ expires_at }) => <Stamp at={expires_at} isExact /> },
    {
      id: 'actions',
      label: t('admin.actions'),
      isActions: true,
      cell: (grant) =>
        grant.state === 'valid' && (
          <Button
            class="revoke-grant"
            label={t('admin.revoke_grant', { id: grant.id, owner: grant.owner })}
            title={t('admin.revoke')}
            onClick={() => revoke(grant)}
          >
            {t('admin.revoke')}
          </Button>
        ),
    },
  ]
}

function NewKey({ made, close }: { made: (owner: string, text: string) => void; close: () => void }) {
  const owner = useRef<HTMLInputElement>(null)
  const [scopes, setScopes] = useState<readonly Scope[]>(['upload', 'read', 'manage'])
  const [ends, setEnds] = useState<(typeof ENDS)[number][0]>('never')
  const [isTried, setTried] = useState(false)
  const [isBusy, setBusy] = useState(false)
  const whose = () => owner.current?.value.trim() ?? ''
  const make = async (event: Event) => {
    event.preventDefault()
    setTried(true)
    if (whose() === '') owner.current?.focus()
    if (whose() === '' || scopes.length === 0 || isBusy) return
    setBusy(true)
    const seconds = ENDS.find(([name]) => name === ends)?.[1] ?? null
    await tried(async () => made(whose(), (await addKey(whose(), scopes, seconds)).text))
    setBusy(false)
  }
  const isNameless = isTried && whose() === ''
  return (
    <Dialog
      heading={t('admin.new_key')}
      onClose={close}
      buttons={
        <>
          <Button onClick={close}>{t('common.cancel')}</Button>
          <Button id="create-key" look="primary" disabled={isBusy} onClick={(event) => void make(event)}>
            {t('admin.create')}
          </Button>
        </>
      }
    >
      <form class="form" noValidate onSubmit={(event) => void make(event)}>
        <Field id="key-owner" label={t('admin.owner')} {...(isNameless && { error: t('admin.owner_missing') })}>
          <input
            ref={owner}
            id="key-owner"
            class="field"
            autocapitalize="none"
            autocomplete="off"
            spellcheck={false}
            aria-invalid={isNameless}
            onInput={() => setTried(false)}
          />
        </Field>
        <fieldset class="choices">
          <legend>{t('admin.scopes')}</legend>
          {SCOPES.map((scope) => (
            <label key={scope} class="check">
              <input
                type="checkbox"
                id={`scope-${scope}`}
                checked={scopes.includes(scope)}
                onChange={({ currentTarget }) =>
                  setScopes(SCOPES.filter((one) => (one === scope ? currentTarget.checked : scopes.includes(one))))
                }
              />
              <span>
                {t(`admin.scope_${scope}`)}
                <span class="dialog-hint">{t(`admin.scope_${scope}_hint`)}</span>
              </span>
            </label>
          ))}
          {scopes.length === 0 && (
            <p class="form-error" role="alert">
              {t('admin.scopes_missing')}
            </p>
          )}
        </fieldset>
        <Field id="key-ends" label={t('admin.expires')}>
          <select
            id="key-ends"
            class="field choice"
            value={ends}
            onChange={({ currentTarget }) => setEnds(currentTarget.value as typeof ends)}
          >
            {ENDS.map(([name]) => (
              <option key={name} value={name}>
                {t(`admin.${name}`)}
              </option>
            ))}
          </select>
        </Field>
        <button type="submit" hidden tabIndex={-1} />
      </form>
    </Dialog>
  )
}
