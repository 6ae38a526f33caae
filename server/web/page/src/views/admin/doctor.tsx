// What the doctor finds on the server's machine, and what to change.

import { useState } from 'preact/hooks'

import { type Examined, getDoctor } from '../../api/admin'
import { moment } from '../../format'
import { Button } from '../../parts/button'
import { Icon } from '../../parts/icon'
import { Failure } from '../../parts/states'
import { type Column, Table } from '../../parts/table'
import { useLive } from '../../state/live'
import { t } from '../../text'
import { Badge, Panel, shortSpan, type Tone } from './parts'

const TONES: Record<Examined['state'], Tone> = { ok: 'good', problem: 'bad', advice: 'warn', skipped: 'rest' }
const WORDS = {
  ok: 'admin.doctor_ok',
  problem: 'admin.doctor_problem',
  advice: 'admin.doctor_advice',
  skipped: 'admin.doctor_skipped',
} as const

export function DoctorRoom() {
  const doctor = useLive(getDoctor, 0)
  const [isBusy, setBusy] = useState(false)
  const again = async () => {
    setBusy(true)
    await doctor.refresh()
    setBusy(false)
  }
  if (!doctor.value) {
    if (doctor.error) return <Failure error={doctor.error} again={() => void again()} />
    return (
      <p class="looking" role="status">
        <span class="spinner" />
        {t('admin.doctor_looks')}
      </p>
    )
  }
  const { checks, at, seconds } = doctor.value
  const found = checks.flatMap(({ findings }) => findings)
  const worst = [
    ...found.filter(({ level }) => level === 'problem'),
    ...found.filter(({ level }) => level === 'advice'),
  ]
  return (
    <>
      <p class="room-hint">{t('admin.doctor_hint')}</p>
      <div class="room-tools">
        <p class="quiet">{t('admin.doctor_took', { when: moment(at), time: shortSpan(seconds) })}</p>
        <Button
          id="doctor-again"
          icon="retry"
          title={t('admin.doctor_fresh')}
          disabled={isBusy}
          onClick={() => void again()}
        >
          {t('admin.doctor_again')}
        </Button>
      </div>
      {worst.length === 0 ? (
        <p class="notice is-good">
          <Icon name="check" />
          <span>{t('admin.doctor_clean')}</span>
        </p>
      ) : (
        <ul class="findings card" id="doctor-findings">
          {worst.map(({ code, level, text, change }, place) => (
            <li key={`${code}-${place}`} class={`finding is-${level === 'problem' ? 'bad' : 'warn'}`}>
              <div>
                <Badge tone={level === 'problem' ? 'bad' : 'warn'}>{t(WORDS[level])}</Badge>
                <p class="finding-heading">{plain(text)}</p>
                <p class="finding-advice">
                  <span class="unseen">{t('admin.doctor_change')}: </span>
                  {plain(change)}
                </p>
              </div>
            </li>
          ))}
        </ul>
      )}
      <Panel id="doctor-checks" heading={t('admin.doctor_rest')}>
        <Table label={t('admin.doctor_rest')} columns={columns()} rows={checks} keyOf={({ name }) => name} />
      </Panel>
    </>
  )
}

/** A sentence without the marks of code that a terminal shows. */
const plain = (sentence: string) => sentence.replaceAll('`', '')

const columns = (): Column<Examined>[] => [
  { id: 'name', label: t('admin.name'), isHead: true, cell: ({ title }) => title },
  { id: 'state', label: t('admin.state'), cell: ({ state }) => <Badge tone={TONES[state]}>{t(WORDS[state])}</Badge> },
  { id: 'note', label: t('admin.audit_details'), isWide: true, cell: ({ note }) => note },
]
