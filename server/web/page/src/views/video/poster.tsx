// Which picture stands for a video: one of its storyboard, the one that the player shows, or an own one.

import { useRef, useState } from 'preact/hooks'

import { resetPoster, setPoster } from '../../api'
import { mediaAddress } from '../../api/media'
import type { Task, TaskFile } from '../../api/types'
import { clock } from '../../format'
import { Button } from '../../parts/button'
import { Dialog } from '../../parts/dialog'
import { StillImage, useBoard } from '../../parts/player/storyboard'
import { tried } from '../../state/actions'
import { toast } from '../../state/toasts'
import { keep } from '../../state/videos'
import { t } from '../../text'

const MOST_BYTES = 5 << 20
/** More would be small pictures that all look alike. */
const MOST_STILLS = 24
const TYPES = 'image/jpeg,image/png,image/webp'

export function PosterDialog({
  task,
  file,
  now,
  close,
}: {
  task: Task
  file: TaskFile
  /** Where the player stands, in seconds. */
  now: number
  close: () => void
}) {
  const own = useRef<HTMLInputElement>(null)
  const [isBusy, setBusy] = useState(false)
  const board = useBoard(mediaAddress(file.storyboard_url))
  const act = async (change: () => Promise<Task>) => {
    setBusy(true)
    const done = await tried(async () => keep(await change()))
    setBusy(false)
    if (!done) return
    toast(() => t('video.poster_done'))
    close()
  }
  const frame = (seconds: number) => void act(() => setPoster(task.task_id, file.id, { seconds }))
  const picture = (chosen: File | undefined) => {
    if (!chosen) return
    if (chosen.size > MOST_BYTES) toast(() => t('video.poster_too_large'), { tone: 'bad' })
    else void act(() => setPoster(task.task_id, file.id, chosen))
  }
  const stills = board?.stills ?? []
  const step = Math.max(1, Math.ceil(stills.length / MOST_STILLS))
  return (
    <Dialog
      heading={t('video.poster_heading')}
      onClose={close}
      buttons={
        <>
          <Button onClick={close}>{t('common.close')}</Button>
          {file.poster !== 'automatic' && file.poster !== undefined && (
            <Button disabled={isBusy} onClick={() => void act(() => resetPoster(task.task_id, file.id))}>
              {t('video.poster_auto')}
            </Button>
          )}
          <Button id="own-picture" icon="picture" disabled={isBusy} onClick={() => own.current?.click()}>
            {t('video.poster_own')}
          </Button>
        </>
      }
    >
      <p class="dialog-hint">{t('video.poster_hint')}</p>
      {now > 0 && (
        <Button disabled={isBusy} onClick={() => frame(now)}>
          {t('video.poster_now', { time: clock(now) })}
        </Button>
      )}
      {board ? (
        <ul class="stills" aria-busy={isBusy}>
          {stills
            .filter((_, place) => place % step === 0)
            .map((still) => {
              // The middle of what it stands for: the frame at its very start may be of the scene before.
              const seconds = (still.start + still.end) / 2
              const label = t('video.poster_frame', { time: clock(still.start) })
              return (
                <li key={still.start}>
                  <button
                    type="button"
                    disabled={isBusy}
                    aria-label={label}
                    title={label}
                    onClick={() => frame(seconds)}
                  >
                    <StillImage board={board} still={still} />
                    <span>{clock(still.start)}</span>
                  </button>
                </li>
              )
            })}
        </ul>
      ) : (
        !file.storyboard_url && now === 0 && <p class="dialog-hint">{t('video.poster_no_board')}</p>
      )}
      <input
        ref={own}
        id="own-picture-file"
        type="file"
        accept={TYPES}
        hidden
        onChange={({ currentTarget }) => picture(currentTarget.files?.[0])}
      />
    </Dialog>
  )
}
