// Owners: what each of them has, and how much of it they may have.

import { useRef, useState } from 'preact/hooks'

import { LIMITS, type Limit, limitOwner, listOwners, type Owner } from '../../api/admin'
import { bytes, count } from '../../format'
import { Button } from '../../parts/button'
import { Dialog } from '../../parts/dialog'
import { Progress } from '../../parts/progress'
import { Empty } from '../../parts/states'
import type { Column } from '../../parts/table'
import { tried } from '../../state/actions'
import { usePages } from '../../state/live'
import { toast } from '../../state/toasts'
import { t } from '../../text'
import { PagedTable } from './paged'
import { Field } from './parts'
import { parseLimit, writtenLimit } from './sizes'

/** Limits that count something else than bytes. */
const COUNTS: ReadonlySet<Limit> = new Set(['open_uploads', 'waiting_tasks'])

export function Owners() {
  const list = usePages((cursor) => listOwners({ cursor }))
  const [edited, setEdited] = useState<Owner | 'new' | null>(null)
  const change = (owner: Owner) => {
    if (edited === 'new') void list.again()
    else list.edit((rows) => rows.map((row) => (row.owner === owner.owner ? owner : row)))
    setEdited(null)
  }
  const button = (
    <Button id="new-limits" onClick={() => setEdited('new')}>
      {t('admin.new_limits')}
    </Button>
  )
  return (
    <>
      {list.rows !== null && list.rows.length > 0 && <div class="room-tools">{button}</div>}
      <PagedTable
        list={list}
        isCard
        id="owners"
        label={t('admin.owners')}
        columns={columns(setEdited)}
        keyOf={({ owner }) => owner}
        empty={
          <Empty icon="person" heading={t('admin.owners_none')} actions={button}>
            {t('admin.owners_none_hint')}
          </Empty>
        }
      />
      {edited && <Limits owner={edited === 'new' ? null : edited} changed={change} close={() => setEdited(null)} />}
    </>
  )
}

const columns = (edit: (owner: Owner) => void): Column<Owner>[] => [
  { id: 'owner', label: t('admin.owner'), isHead: true, cell: ({ owner }) => <bdi>{owner}</bdi> },
  ...LIMITS.map(
    (limit): Column<Owner> => ({
      id: limit,
      label: t(`admin.limit_${limit}`),
      cell: (owner) => <Used owner={owner} limit={limit} />,
    }),
  ),
  {
    id: 'actions',
    label: t('admin.actions'),
    isActions: true,
    cell: (owner) => (
      <Button
        icon="edit"
        class="set-limits"
        label={t('admin.set_limits_of', { owner: owner.owner })}
        title={t('admin.set_limits')}
        onClick={() => edit(owner)}
      />
    ),
  },
]

const shown = (limit: Limit, value: number) => (COUNTS.has(limit) ? count(value) : bytes(value))

function Used({ owner, limit }: { owner: Owner; limit: Limit }) {
  const used = owner.usage[limit]
  const most = owner.limits[limit]
  if (most === 0) return <span>{shown(limit, used)}</span>
  const share = Math.min(1, used / most)
  const words = t('admin.used_of', { used: shown(limit, used), limit: shown(limit, most) })
  return (
    <div class="bar is-tall">
      <Progress
        value={share}
        label={`${owner.owner}: ${t(`admin.limit_${limit}`)}`}
        tone={share >= 1 ? 'warn' : 'send'}
      />
      <span class={share >= 1 ? 'is-over' : ''}>{words}</span>
    </div>
  )
}

function Limits({
  owner,
  changed,
  close,
}: {
  owner: Owner | null
  changed: (owner: Owner) => void
  close: () => void
}) {
  const form = useRef<HTMLFormElement>(null)
  const [wrong, setWrong] = useState<ReadonlySet<string>>(new Set())
  const [isBusy, setBusy] = useState(false)
  const save = async (event: Event) => {
    event.preventDefault()
    const fields = form.current?.elements
    const written = (name: string) => (fields?.namedItem(name) as HTMLInputElement | null)?.value.trim() ?? ''
    const name = owner?.owner ?? written('owner')
    const values = LIMITS.map((limit) => [limit, parseLimit(written(limit), !COUNTS.has(limit))] as const)
    const bad = new Set<string>(values.filter(([, value]) => value === undefined).map(([limit]) => limit))
    if (name === '') bad.add('owner')
    setWrong(bad)
    const [first] = bad
    if (first !== undefined) {
      const field = [...(bad.has('owner') ? ['owner'] : []), first][0] ?? first
      ;(fields?.namedItem(field) as HTMLInputElement | null)?.focus()
      return
    }
    setBusy(true)
    await tried(async () => {
      const made = await limitOwner(name, Object.fromEntries(values) as Partial<Record<Limit, number | null>>)
      toast(() => t('admin.limits_set', { owner: name }))
      changed(made.owner)
    })
    setBusy(false)
  }
  return (
    <Dialog
      heading={owner ? t('admin.limits_heading', { owner: owner.owner }) : t('admin.limits_new_heading')}
      onClose={close}
      buttons={
        <>
          <Button onClick={close}>{t('common.cancel')}</Button>
          <Button id="save-limits" look="primary" disabled={isBusy} onClick={() => form.current?.requestSubmit()}>
            {t('admin.save')}
          </Button>
        </>
      }
    >
      <form ref={form} class="form" noValidate onSubmit={(event) => void save(event)}>
        {!owner && (
          <Field
            id="limit-owner"
            label={t('admin.owner')}
            {...(wrong.has('owner') && { error: t('admin.owner_missing') })}
          >
            <input
              id="limit-owner"
              name="owner"
              class="field"
              autocapitalize="none"
              autocomplete="off"
              aria-invalid={wrong.has('owner')}
            />
          </Field>
        )}
        <p class="dialog-hint" id="limits-hint">
          {t('admin.limits_hint')}
        </p>
        <div class="form-grid">
          {LIMITS.map((limit) => (
            <Field
              key={limit}
              id={`limit-${limit}`}
              label={t(`admin.limit_${limit}`)}
              {...(wrong.has(limit) && { error: t('admin.limit_wrong') })}
            >
              <input
                id={`limit-${limit}`}
                name={limit}
                class="field"
                autocomplete="off"
                inputMode={COUNTS.has(limit) ? 'numeric' : 'text'}
                placeholder={t('admin.limit_setting')}
                defaultValue={writtenLimit(owner?.own_limits[limit] ?? null, !COUNTS.has(limit))}
                aria-invalid={wrong.has(limit)}
                aria-describedby="limits-hint"
              />
            </Field>
          ))}
        </div>
        <button type="submit" hidden tabIndex={-1} />
      </form>
    </Dialog>
  )
}
