// What is wanted of the list: a name, a status, a time, an order, and how it looks.

import { useEffect, useRef } from 'preact/hooks'

import { Button } from '../../parts/button'
import { Icon } from '../../parts/icon'
import { query } from '../../router'
import { filter, ORDERS, type Order, PERIODS, STATUSES, want } from '../../state/library'
import { t } from '../../text'
import { look, setLook } from './look'

const TYPING_MS = 250

const STATUS_TEXT = {
  ready: 'videos.only_ready',
  processing: 'videos.only_processing',
  failed: 'videos.only_failed',
  cancelled: 'videos.only_cancelled',
} as const
const PERIOD_TEXT = {
  today: 'videos.today',
  7: 'videos.last_7',
  30: 'videos.last_30',
  365: 'videos.last_365',
  custom: 'videos.custom',
} as const
const ORDER_TEXT = {
  oldest: 'videos.oldest',
  name: 'videos.by_name',
  longest: 'videos.longest',
  largest: 'videos.largest',
} as const

export function Toolbar() {
  const { status, period, from, to, order } = filter.value
  return (
    <search class="tools">
      <Search />
      <div class="tools-choices">
        <Choice
          id="status"
          label={t('videos.status')}
          value={status}
          first={t('videos.any_status')}
          choices={(Object.keys(STATUSES) as (keyof typeof STATUSES)[]).map((one) => [one, t(STATUS_TEXT[one])])}
          choose={(value) => want({ status: value })}
        />
        <Choice
          id="period"
          label={t('videos.period')}
          value={period}
          first={t('videos.any_time')}
          choices={PERIODS.map((one) => [one, t(PERIOD_TEXT[one])])}
          choose={(value) => want({ period: value, from: null, to: null })}
        />
        <Choice
          id="order"
          label={t('videos.sort')}
          value={order}
          first={t('videos.newest')}
          choices={(Object.keys(ORDERS) as Order[]).map((one) => [one, t(ORDER_TEXT[one])])}
          choose={(value) => want({ order: value })}
        />
      </div>
      <div class="tools-look" role="group" aria-label={t('videos.look')}>
        <Button icon="grid" label={t('videos.grid')} pressed={look.value === 'grid'} onClick={() => setLook('grid')} />
        <Button icon="list" label={t('videos.list')} pressed={look.value === 'list'} onClick={() => setLook('list')} />
      </div>
      {period === 'custom' && (
        <div class="tools-days is-below">
          <Day id="from" label={t('videos.from')} value={from} most={to} choose={(value) => want({ from: value })} />
          <Day id="to" label={t('videos.to')} value={to} least={from} choose={(value) => want({ to: value })} />
        </div>
      )}
    </search>
  )
}

function Search() {
  const field = useRef<HTMLInputElement>(null)
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined)
  const name = query.value.get('q') ?? ''
  /** What this field has wanted last. */
  const wanted = useRef(name)
  useEffect(() => {
    if (!field.current || name === wanted.current) return
    // Something else has changed the address: "show all", or the way back. What was typed last is not wanted any more.
    clearTimeout(timer.current)
    wanted.current = name
    field.current.value = name
  }, [name])
  useEffect(() => {
    const find = (event: KeyboardEvent) => {
      if (event.key !== '/' || (event.target as HTMLElement).closest('input, textarea, select, dialog')) return
      event.preventDefault()
      field.current?.focus()
    }
    document.addEventListener('keydown', find)
    return () => {
      clearTimeout(timer.current)
      document.removeEventListener('keydown', find)
    }
  }, [])
  const search = (value: string, milliseconds: number) => {
    clearTimeout(timer.current)
    timer.current = setTimeout(() => {
      wanted.current = value.trim()
      want({ q: wanted.current || null })
    }, milliseconds)
  }
  return (
    <label class="tools-search">
      <Icon name="search" />
      <input
        ref={field}
        id="search"
        type="search"
        class="field"
        defaultValue={name}
        placeholder={t('videos.search')}
        aria-label={t('videos.search')}
        enterKeyHint="search"
        autoComplete="off"
        onInput={({ currentTarget }) => search(currentTarget.value, TYPING_MS)}
        onKeyDown={({ key, currentTarget }) => key === 'Enter' && search(currentTarget.value, 0)}
      />
    </label>
  )
}

function Choice({
  id,
  label,
  value,
  first,
  choices,
  choose,
}: {
  id: string
  label: string
  /** Null for the first one, which wants nothing. */
  value: string | null
  first: string
  choices: readonly (readonly [value: string, label: string])[]
  choose: (value: string | null) => void
}) {
  return (
    <select
      id={id}
      class={`field choice ${value ? 'is-chosen' : ''}`}
      aria-label={label}
      title={label}
      value={value ?? ''}
      onChange={({ currentTarget }) => choose(currentTarget.value || null)}
    >
      <option value="">{first}</option>
      {choices.map(([one, words]) => (
        <option key={one} value={one}>
          {words}
        </option>
      ))}
    </select>
  )
}

function Day({
  id,
  label,
  value,
  least,
  most,
  choose,
}: {
  id: string
  label: string
  value: string
  least?: string
  most?: string
  choose: (value: string | null) => void
}) {
  return (
    <label class="day">
      <span>{label}</span>
      <input
        id={id}
        type="date"
        class="field"
        value={value}
        min={least || undefined}
        max={most || undefined}
        onChange={({ currentTarget }) => choose(currentTarget.value || null)}
      />
    </label>
  )
}
