// All uploads of this page as one: progress, speed, time left, pause and resume.

import { useEffect, useState } from 'preact/hooks'

import { bytes, percent, speed, timespan } from '../../format'
import { Button } from '../../parts/button'
import { Icon } from '../../parts/icon'
import { Progress } from '../../parts/progress'
import { announce } from '../../state/toasts'
import { type Batch, pauseAll, resumeAll, Speed, total } from '../../state/uploads'
import { t } from '../../text'

const meter = new Speed()

export function BatchBar() {
  const batch = total.value
  const isOver = batch?.isOver ?? false
  const [, tick] = useState(0)
  useEffect(() => {
    if (!batch || isOver) return
    const timer = setInterval(() => tick((count) => count + 1), 500)
    return () => clearInterval(timer)
  }, [batch === null, isOver])
  useEffect(() => {
    if (isOver) announce(t('upload.batch_over'))
    meter.forget()
  }, [isOver, batch?.isPaused])
  if (!batch) return null
  if (isOver) {
    return (
      <section class="batch is-over">
        <Icon name="check" />
        <div>
          <p class="batch-head">{t('upload.batch_over')}</p>
          <p class="batch-line">{t('upload.batch_over_hint')}</p>
        </div>
      </section>
    )
  }
  // One file has all this in its row.
  if (batch.files < 2) return null
  meter.note(batch.sent)
  return (
    <section class="batch" aria-label={t('upload.batch_progress')}>
      <p class="batch-head">
        {t('upload.batch', { done: batch.done, files: batch.files })} ·{' '}
        {percent(batch.bytes ? batch.sent / batch.bytes : 0)}
      </p>
      <Progress
        value={batch.bytes ? batch.sent / batch.bytes : null}
        label={t('upload.batch_progress')}
        tone={batch.isPaused ? 'rest' : 'send'}
      />
      <p class="batch-line">{lineOf(batch)}</p>
      <Button
        class="batch-button"
        onClick={batch.isPaused ? resumeAll : pauseAll}
        icon={batch.isPaused ? 'resume' : 'pause'}
      >
        {batch.isPaused ? t('upload.resume_all') : t('upload.pause_all')}
      </Button>
    </section>
  )
}

function lineOf(batch: Batch): string {
  const parts = [t('upload.batch_bytes', { sent: bytes(batch.sent), bytes: bytes(batch.bytes) })]
  const rate = batch.isPaused ? null : meter.now
  if (rate) parts.push(speed(rate), t('upload.left', { time: timespan((batch.bytes - batch.sent) / rate) }))
  return parts.join(' · ')
}
