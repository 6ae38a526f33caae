// What is known of a video, and how it was processed; both folded away until somebody asks.

import type { ComponentChildren } from 'preact'

import type { Step, Task, TaskFile } from '../../api/types'
import { bytes, clock, codec, moment, number, timespan } from '../../format'
import { Icon } from '../../parts/icon'
import { hasText, t } from '../../text'

export function Facts({ task, file }: { task: Task; file: TaskFile }) {
  const picture = file.width && file.height ? `${file.width}\u00a0×\u00a0${file.height}` : ''
  const rate = file.frame_rate ? t('unit.fps', { n: number(file.frame_rate, 2) }) : ''
  const rows: [string, ComponentChildren][] = [
    [t('video.fact_uploaded'), moment(task.created_at_utc)],
    [t('video.fact_name'), file.name],
    [t('video.fact_size'), bytes(file.size)],
    [t('video.fact_length'), file.duration ? clock(file.duration) : ''],
    [t('video.fact_picture'), [picture, rate, file.hdr ? 'HDR' : ''].filter(Boolean).join(' · ')],
    [t('video.fact_video'), file.video_codec ? codec(file.video_codec) : ''],
    [t('video.fact_audio'), file.audio_codec ? codec(file.audio_codec) : file.video_codec ? t('status.no_sound') : ''],
    [t('video.fact_container'), file.container ? file.container.toUpperCase() : ''],
    [t('video.fact_remarks'), file.remarks.map(({ message }) => message).join(' ')],
    [t('video.fact_id'), <code>{task.task_id}</code>],
  ]
  return (
    <details class="fold" id="facts">
      <summary>
        <Icon name="forward" />
        {t('video.facts')}
      </summary>
      <dl class="facts">
        {rows.map(
          ([name, value]) =>
            value && (
              <div key={name}>
                <dt>{name}</dt>
                <dd dir="auto">{value}</dd>
              </div>
            ),
        )}
      </dl>
    </details>
  )
}

/** The steps of the processing, with how long each took, and why one has failed. */
export function Steps({ file, isOpen }: { file: TaskFile; isOpen: boolean }) {
  const steps = file.steps ?? []
  if (steps.length === 0) return null
  return (
    <details class="fold" id="steps" open={isOpen}>
      <summary>
        <Icon name="forward" />
        {t('video.steps')}
      </summary>
      <ol class="steps">
        {steps.map((step) => (
          <li key={step.name} data-state={step.status}>
            <Icon name={step.status === 'error' ? 'alert' : step.status === 'cancelled' ? 'cross' : 'check'} />
            <span class="step-name">{stepName(step)}</span>
            <span class="step-state">{stepState(step)}</span>
            {step.error && <span class="step-error">{step.error.message}</span>}
          </li>
        ))}
      </ol>
    </details>
  )
}

function stepName({ name }: Step): string {
  const key = `video.step_${name}`
  return hasText(key) ? t(key as 'video.step_mp4') : name
}

function stepState({ status, progress, seconds }: Step): string {
  if (status === 'processing') return t('video.state_processing', { percent: number(progress) })
  if (status === 'completed' && seconds !== null) {
    // Most steps are quick, and a second is more than all of one.
    const time = seconds < 10 ? t('unit.seconds', { n: number(seconds, 1) }) : timespan(seconds)
    return t('video.took', { time })
  }
  return t(`video.state_${status}`)
}
