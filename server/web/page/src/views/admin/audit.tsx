// Who did what, when, from where, to which object.

import { type AuditEntry, listAudit } from '../../api/admin'
import { Button } from '../../parts/button'
import { Empty } from '../../parts/states'
import type { Column } from '../../parts/table'
import { query, setQuery } from '../../router'
import { usePages } from '../../state/live'
import { hasText, t } from '../../text'
import { en } from '../../text/en'
import { PagedTable } from './paged'
import { Choose, Find, Stamp } from './parts'

const PREFIX = 'action_'
/** The actions that have words; those of a newer server show their codes. */
const ACTIONS = Object.keys(en.audit)
  .filter((name) => name.startsWith(PREFIX))
  .map((name) => name.slice(PREFIX.length))
  .sort()

export function Audit() {
  const given = query.value
  const [owner, action, from, to] = ['owner', 'action', 'from', 'to'].map((name) => given.get(name) ?? '') as [
    string,
    string,
    string,
    string,
  ]
  const list = usePages(
    (cursor) => listAudit({ owner, action, from: from && dayStart(from, 0), to: to && dayStart(to, 1), cursor }),
    [owner, action, from, to].join(' '),
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
        <Choose
          id="action-filter"
          label={t('admin.action')}
          value={action}
          choices={[['', t('admin.any_action')], ...ACTIONS.map((one) => [one, actionWord(one)] as const)]}
          choose={(value) => setQuery({ action: value })}
        />
        <div class="tools-days">
          <Day id="from" label={t('admin.from')} value={from} />
          <Day id="to" label={t('admin.to')} value={to} />
        </div>
        <Button class="audit-refresh" icon="retry" label={t('admin.refresh')} onClick={() => void list.again()} />
      </search>
      <PagedTable
        list={list}
        isCard
        id="audit"
        label={t('admin.audit')}
        columns={columns()}
        keyOf={({ id }) => id}
        empty={
          <Empty icon="search" heading={t('admin.audit_none')}>
            {t('admin.audit_none_hint')}
          </Empty>
        }
        short={t('admin.audit_more_short')}
      />
    </>
  )
}

function Day({ id, label, value }: { id: 'from' | 'to'; label: string; value: string }) {
  return (
    <label class="day">
      <span>{label}</span>
      <input
        id={id}
        type="date"
        class="field"
        value={value}
        onChange={({ currentTarget }) => setQuery({ [id]: currentTarget.value })}
      />
    </label>
  )
}

/** The beginning of a day of the reader, or of the day after it, as the API takes it. */
function dayStart(day: string, later: number): string {
  const at = new Date(`${day}T00:00:00`)
  if (Number.isNaN(at.getTime())) return ''
  at.setDate(at.getDate() + later)
  return at.toISOString().replace(/\.\d+Z$/, 'Z')
}

function actionWord(action: string): string {
  const key = `audit.${PREFIX}${action}`
  return hasText(key) ? t(key as 'audit.action_sign_in') : action
}

const columns = (): Column<AuditEntry>[] => [
  {
    id: 'action',
    label: t('admin.action'),
    isHead: true,
    cell: ({ action }) => <span title={action}>{actionWord(action)}</span>,
  },
  {
    id: 'by',
    label: t('admin.by'),
    cell: ({ owner, actor }) => (
      <>
        {owner && <bdi>{owner}</bdi>}
        <p class="quiet audit-actor">{actor}</p>
      </>
    ),
  },
  {
    id: 'object',
    label: t('admin.object'),
    isWide: true,
    cell: ({ object_kind, object_id, object_owner, details }) =>
      (object_kind || object_id || object_owner || Object.keys(details ?? {}).length > 0) && (
        <>
          {object_kind && `${kindWord(object_kind)} `}
          {object_id && <code>{object_id}</code>}
          {object_owner && <p class="quiet">{t('admin.of_owner', { owner: object_owner })}</p>}
          {details && Object.keys(details).length > 0 && (
            <p class="quiet">
              {Object.entries(details)
                .map(([name, value]) => `${name}: ${typeof value === 'object' ? JSON.stringify(value) : String(value)}`)
                .join(' · ')}
            </p>
          )}
        </>
      ),
  },
  {
    id: 'address',
    label: t('admin.from_address'),
    cell: ({ address }) => address && <bdi class="audit-address">{address}</bdi>,
  },
  { id: 'when', label: t('admin.when'), cell: ({ at }) => <Stamp at={at} isExact /> },
]

function kindWord(kind: string): string {
  const key = `audit.kind_${kind}`
  return hasText(key) ? t(key as 'audit.kind_key') : kind
}
