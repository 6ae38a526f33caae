// Which days and whose numbers: the choices above the pictures.

import { useEffect, useRef } from 'preact/hooks'

import { t } from '../../text'
import { chooseDays, chooseLength, chooseOwner, LENGTHS, type Length, owner, plus, range, today } from './range'

const OWN = 'own'
const FIRST_DAY = '1970-01-01'

export function Tools({
  owners,
}: {
  /** Suggestions; null where there is no choice. */ owners: readonly string[] | null
}) {
  const { length, from, to } = range.value
  const choose = (value: string) => (value === OWN ? chooseDays({ from, to }) : chooseLength(Number(value) as Length))
  return (
    <search class="tools" aria-label={t('numbers.tools')}>
      <select
        id="numbers-range"
        class={`field choice ${length === null ? 'is-chosen' : ''}`}
        aria-label={t('numbers.range')}
        value={length === null ? OWN : String(length)}
        onChange={({ currentTarget }) => choose(currentTarget.value)}
      >
        {LENGTHS.map((one) => (
          <option key={one} value={one}>
            {t(`numbers.days_${one}`)}
          </option>
        ))}
        <option value={OWN}>{t('numbers.own')}</option>
      </select>
      {length === null && (
        <div class="tools-days">
          <Day
            id="numbers-from"
            label={t('numbers.from')}
            value={from}
            most={today()}
            choose={(day) => chooseDays({ from: day })}
          />
          <Day
            id="numbers-to"
            label={t('numbers.to')}
            value={to}
            most={plus(today(), 1)}
            choose={(day) => chooseDays({ to: day })}
          />
        </div>
      )}
      {owners && <Owner owners={owners} />}
    </search>
  )
}

function Day({
  id,
  label,
  value,
  most,
  choose,
}: {
  id: string
  label: string
  value: string
  most: string
  choose: (day: string) => void
}) {
  return (
    <label class="day">
      <span>{label}</span>
      <input
        id={id}
        type="date"
        class="field"
        value={value}
        min={FIRST_DAY}
        max={most}
        required
        onChange={({ currentTarget }) => currentTarget.validity.valid && choose(currentTarget.value)}
      />
    </label>
  )
}

function Owner({ owners }: { owners: readonly string[] }) {
  const field = useRef<HTMLInputElement>(null)
  const name = owner.value ?? ''
  useEffect(() => {
    // The way back, or a press on a name, has changed the address.
    if (field.current) field.current.value = name
  }, [name])
  return (
    <label class="numbers-owner">
      <span class="unseen">{t('numbers.owner')}</span>
      <input
        ref={field}
        id="numbers-owner"
        type="search"
        class={`field ${name ? 'is-chosen' : ''}`}
        list="numbers-owners"
        defaultValue={name}
        placeholder={t('numbers.all_owners')}
        autoComplete="off"
        enterKeyHint="search"
        dir="auto"
        onChange={({ currentTarget }) => chooseOwner(currentTarget.value.trim())}
        onInput={({ currentTarget }) => currentTarget.value === '' && chooseOwner('')}
      />
      <datalist id="numbers-owners">
        {owners.map((one) => (
          <option key={one} value={one} />
        ))}
      </datalist>
    </label>
  )
}
