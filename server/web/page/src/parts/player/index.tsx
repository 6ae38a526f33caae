// The player: a video with our own controls, the same on a video's page, on a shared one, and in frames.
//
// Rule: nothing is loaded before somebody wants to play, but the poster. The box has the video's own proportions, so there
// are no bars beside it.

import { useEffect, useMemo, useRef, useState } from 'preact/hooks'

import { clock, number } from '../../format'
import { attempt } from '../../state/storage'
import { t } from '../../text'
import { Icon, type IconName } from '../icon'
import { Choices } from './choices'
import { SeekBar } from './seek'
import { type Attached, attach, type Level, type Source } from './source'
import { begin, join, type Turn } from './turns'

const SPEEDS = [0.5, 0.75, 1, 1.25, 1.5, 2]
const IDLE_MS = 2500
const VOLUME_KEY = 'videodock-volume'
const AUTO = -1

export interface PlayerProps {
  name: string
  source: Source
  poster: string | null
  storyboard: string | null
  /** Seconds, as the server knows it; the video's own counts once it is loaded. */
  duration: number | null
  width: number | null
  height: number | null
  /** As large as the window, in frames. */
  fills?: boolean
  /** Where it stands, in seconds. */
  onTime?: (seconds: number) => void
}

export default function Player(props: PlayerProps) {
  const { name, source, poster, storyboard, fills = false, onTime } = props
  const root = useRef<HTMLDivElement>(null)
  const element = useRef<HTMLVideoElement>(null)
  const attached = useRef<Promise<Attached> | null>(null)
  const wanted = useRef<number | null>(null)
  const [size, setSize] = useState<{ width: number; height: number } | null>(null)
  const [own, setOwn] = useState<number | null>(null)
  const [time, setTime] = useState(0)
  const [loaded, setLoaded] = useState(0)
  const [phase, setPhase] = useState<'new' | 'playing' | 'paused' | 'ended'>('new')
  const [isWaiting, setWaiting] = useState(false)
  const [hasFailed, setFailed] = useState(false)
  const [levels, setLevels] = useState<readonly Level[]>([])
  const [chosen, setChosen] = useState(AUTO)
  const [now, setNow] = useState(AUTO)
  const [rate, setRate] = useState(1)
  const [sound, setSound] = useState(() => attempt(() => Number(localStorage.getItem(VOLUME_KEY) ?? 1)) ?? 1)
  const [isMuted, setMuted] = useState(false)
  const [isFull, setFull] = useState(false)
  const [isIdle, setIdle] = useState(false)
  const duration = own ?? props.duration ?? 0
  const width = size?.width ?? props.width ?? 16
  const height = size?.height ?? props.height ?? 9

  const video = () => element.current
  /** Load the video, unless it is loaded. */
  const ready = () => {
    const target = video()
    if (!target) return Promise.reject(new Error())
    attached.current ??= attach(target, source, {
      levels: setLevels,
      level: setNow,
      failed: () => {
        setFailed(true)
        setWaiting(false)
      },
    })
    return attached.current
  }
  const play = async () => {
    if (hasFailed) {
      setFailed(false)
      detach()
    }
    setWaiting(true)
    setPhase('playing')
    try {
      await ready()
      await video()?.play()
    } catch {
      // Another press has stopped it, or the browser wants one more press; what cannot be played says so by itself.
      if (video()?.paused) {
        setPhase((before) => (before === 'playing' ? 'paused' : before))
        setWaiting(false)
      }
    }
  }
  const pause = () => video()?.pause()
  const toggle = () => (phase === 'playing' ? pause() : void play())
  const seek = (to: number) => {
    const target = video()
    const at = Math.max(0, Math.min(to, duration || to))
    setTime(at)
    onTime?.(at)
    if (target && target.readyState > 0) target.currentTime = at
    else {
      wanted.current = at
      void ready()
    }
    if (phase === 'new') setPhase('paused')
  }
  const detach = () => {
    const before = attached.current
    attached.current = null
    void before?.then((one) => one.detach())
  }
  const setVolume = (value: number) => {
    const next = Math.max(0, Math.min(1, value))
    setSound(next)
    setMuted(next === 0)
    attempt(() => localStorage.setItem(VOLUME_KEY, String(next)))
  }
  const full = () => {
    const target = video() as (HTMLVideoElement & { webkitEnterFullscreen?: () => void }) | null
    if (document.fullscreenElement) void document.exitFullscreen()
    else if (root.current?.requestFullscreen) void root.current.requestFullscreen().catch(() => {})
    else target?.webkitEnterFullscreen?.()
  }
  const inset = async () => {
    try {
      if (document.pictureInPictureElement) await document.exitPictureInPicture()
      else {
        await ready()
        const target = video()
        if (target && target.readyState === 0)
          await new Promise((resolve) => target.addEventListener('loadedmetadata', resolve, { once: true }))
        await target?.requestPictureInPicture()
      }
    } catch {
      // The browser has none for this video.
    }
  }

  const actions: Record<string, () => void> = {
    ' ': toggle,
    k: toggle,
    j: () => seek(time - 10),
    l: () => seek(time + 10),
    ArrowLeft: () => seek(time - 5),
    ArrowRight: () => seek(time + 5),
    ArrowUp: () => setVolume(sound + 0.1),
    ArrowDown: () => setVolume(sound - 0.1),
    Home: () => seek(0),
    End: () => seek(duration),
    m: () => setMuted(!isMuted),
    f: full,
  }
  const latest = useRef({ pause, actions })
  latest.current = { pause, actions }
  const turn = useMemo<Turn>(
    () => ({
      stop: () => latest.current.pause(),
      key: (event) => {
        const { key } = event
        // Up and down scroll the page, unless the player has the focus.
        if (/^(ArrowUp|ArrowDown|Home|End)$/.test(key) && !root.current?.contains(event.target as Node)) return false
        const act = latest.current.actions[key.length === 1 ? key.toLowerCase() : key]
        act?.()
        if (act) wake()
        return act !== undefined
      },
    }),
    [],
  )
  useEffect(() => join(turn), [turn])

  // Another video is another player (by its key). A form that is made later, such as the stream beside the MP4, interrupts
  // nobody: it is taken by who begins after that.
  useEffect(() => detach, [])

  useEffect(() => {
    const target = video()
    if (!target) return
    target.volume = sound
    target.muted = isMuted
    target.playbackRate = rate
  }, [sound, isMuted, rate])

  const rest = useRef<ReturnType<typeof setTimeout>>(undefined)
  const wake = () => {
    setIdle(false)
    clearTimeout(rest.current)
    rest.current = setTimeout(() => setIdle(true), IDLE_MS)
  }
  useEffect(() => () => clearTimeout(rest.current), [])
  useEffect(() => {
    const look = () => setFull(document.fullscreenElement === root.current)
    document.addEventListener('fullscreenchange', look)
    return () => document.removeEventListener('fullscreenchange', look)
  }, [])

  const best = levels.find(({ index }) => index === now)
  const shownLevel = levels.find(({ index }) => index === chosen)
  const middle: IconName = phase === 'ended' ? 'retry' : 'play'
  return (
    <div
      ref={root}
      class={`player ${fills ? 'is-filling' : ''} ${isIdle && phase === 'playing' ? 'is-idle' : ''}`}
      data-phase={phase}
      role="group"
      aria-label={t('player.label', { name })}
      style={{ '--ratio': width / height }}
      onPointerMove={wake}
      onFocusIn={wake}
    >
      {/* biome-ignore lint/a11y/useMediaCaption: the server makes no captions. */}
      <video
        ref={element}
        playsInline
        preload="metadata"
        poster={poster ?? undefined}
        aria-label={name}
        onClick={(event) => {
          // A finger shows the controls first.
          if ((event as unknown as PointerEvent).pointerType === 'touch' && phase === 'playing' && isIdle) wake()
          else toggle()
        }}
        onDblClick={full}
        onPlay={() => {
          begin(turn)
          setPhase('playing')
          wake()
        }}
        onPause={({ currentTarget }) => setPhase(currentTarget.ended ? 'ended' : 'paused')}
        onEnded={() => setPhase('ended')}
        onWaiting={() => setWaiting(true)}
        onPlaying={() => setWaiting(false)}
        onSeeked={() => setWaiting(false)}
        onTimeUpdate={({ currentTarget }) => {
          setTime(currentTarget.currentTime)
          onTime?.(currentTarget.currentTime)
        }}
        onProgress={({ currentTarget: { buffered } }) =>
          setLoaded(buffered.length > 0 ? buffered.end(buffered.length - 1) : 0)
        }
        onDurationChange={({ currentTarget }) =>
          Number.isFinite(currentTarget.duration) && currentTarget.duration > 0 && setOwn(currentTarget.duration)
        }
        onLoadedMetadata={({ currentTarget }) => {
          currentTarget.volume = sound
          currentTarget.playbackRate = rate
          if (wanted.current !== null) currentTarget.currentTime = wanted.current
          wanted.current = null
          if (currentTarget.videoWidth > 0)
            setSize({ width: currentTarget.videoWidth, height: currentTarget.videoHeight })
        }}
      />
      {isWaiting && phase === 'playing' && <span class="player-busy" />}
      {!hasFailed && (phase === 'new' || phase === 'ended') && (
        <button
          type="button"
          class="player-middle"
          aria-label={t(phase === 'ended' ? 'player.again' : 'player.play')}
          onClick={() => void play()}
        >
          <Icon name={middle} />
        </button>
      )}
      {hasFailed && (
        <div class="player-failed" role="alert">
          <p>{t('player.failed')}</p>
          <button type="button" class="button" onClick={() => void play()}>
            <Icon name="retry" />
            <span>{t('common.try_again')}</span>
          </button>
        </div>
      )}
      <div class="player-controls">
        <SeekBar time={time} duration={duration} loaded={loaded} storyboard={storyboard} seek={seek} />
        <div class="player-buttons">
          <Control
            name="toggle"
            icon={phase === 'playing' ? 'pause' : phase === 'ended' ? 'retry' : 'play'}
            label={t(phase === 'playing' ? 'player.pause' : phase === 'ended' ? 'player.again' : 'player.play')}
            act={toggle}
          />
          <Control
            name="mute"
            icon={isMuted ? 'silent' : 'sound'}
            label={t(isMuted ? 'player.unmute' : 'player.mute')}
            act={() => (isMuted && sound === 0 ? setVolume(1) : setMuted(!isMuted))}
          />
          <input
            type="range"
            class="player-range player-volume"
            min={0}
            max={1}
            step={0.05}
            value={isMuted ? 0 : sound}
            style={{ '--share': `${(isMuted ? 0 : sound) * 100}%` }}
            aria-label={t('player.volume')}
            onInput={({ currentTarget }) => setVolume(currentTarget.valueAsNumber)}
          />
          <span class="player-time">
            {clock(time)} / {clock(duration)}
          </span>
          <span class="player-space" />
          <Choices
            name="speed"
            label={t('player.speed')}
            shown={t('player.speed_of', { n: number(rate, 2) })}
            choices={SPEEDS.map((value) => ({ value, label: t('player.speed_of', { n: number(value, 2) }) }))}
            value={rate}
            choose={setRate}
          />
          {levels.length > 1 && (
            <Choices
              name="quality"
              label={t('player.quality')}
              shown={shownLevel ? t('player.level', { n: shownLevel.lines }) : t('player.auto')}
              choices={[
                { value: AUTO, label: best ? t('player.auto_now', { n: best.lines }) : t('player.auto') },
                ...[...levels].reverse().map(({ index, lines }) => ({
                  value: index,
                  label: t('player.level', { n: lines }),
                })),
              ]}
              value={chosen}
              choose={(index) => {
                setChosen(index)
                void ready().then((one) => one.choose(index))
              }}
            />
          )}
          {document.pictureInPictureEnabled && (
            <Control name="inset" icon="inset" label={t('player.pip')} act={() => void inset()} />
          )}
          <Control
            name="full"
            icon={isFull ? 'leave' : 'fullscreen'}
            label={t(isFull ? 'player.leave_fullscreen' : 'player.fullscreen')}
            act={full}
          />
        </div>
      </div>
    </div>
  )
}

function Control({ name, icon, label, act }: { name: string; icon: IconName; label: string; act: () => void }) {
  return (
    <button type="button" class={`player-button player-${name}`} aria-label={label} title={label} onClick={act}>
      <Icon name={icon} />
    </button>
  )
}
