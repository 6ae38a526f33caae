// The seek bar: what was played, what is loaded, and a picture of the moment below the pointer.

import { useRef, useState } from 'preact/hooks'

import { clock } from '../../format'
import { t } from '../../text'
import { StillImage, stillAt, useBoard } from './storyboard'

export function SeekBar({
  time,
  duration,
  loaded,
  storyboard,
  seek,
}: {
  /** All in seconds. */
  time: number
  duration: number
  loaded: number
  storyboard: string | null
  seek: (to: number) => void
}) {
  const bar = useRef<HTMLDivElement>(null)
  const [at, setAt] = useState<number | null>(null)
  const [isWanted, setWanted] = useState(false)
  const board = useBoard(storyboard, isWanted)
  const share = (value: number) => (duration > 0 ? Math.min(1, value / duration) : 0)
  const point = (event: PointerEvent) => {
    const box = bar.current?.getBoundingClientRect()
    if (!box) return
    setWanted(true)
    setAt(Math.max(0, Math.min(1, (event.clientX - box.left) / box.width)) * duration)
  }
  const still = board && at !== null ? stillAt(board, at) : null
  return (
    <div class="player-seek" ref={bar} onPointerMove={point} onPointerDown={point} onPointerLeave={() => setAt(null)}>
      <div class="player-track">
        <span class="player-loaded" style={{ width: `${share(loaded) * 100}%` }} />
        <span class="player-played" style={{ width: `${share(time) * 100}%` }} />
      </div>
      <input
        type="range"
        class="player-range"
        min={0}
        max={duration || 1}
        step="any"
        value={Math.min(time, duration)}
        disabled={duration === 0}
        aria-label={t('player.seek')}
        aria-valuetext={t('player.at', { time: clock(time), duration: clock(duration) })}
        onInput={({ currentTarget }) => seek(currentTarget.valueAsNumber)}
        onFocus={() => setWanted(true)}
      />
      {at !== null && (
        <div class="player-tip" style={{ '--at': share(at) }}>
          {board && still && <StillImage board={board} still={still} />}
          <span>{clock(at)}</span>
        </div>
      )}
    </div>
  )
}
