// Which form of a video a browser gets, and how.
//
// Rule: the stream by hls.js, which is loaded for it; by the browser itself on Apple's, where only that plays on a
// television; else the MP4, and also when the stream fails.

import type { default as Hls } from 'hls.js'

export interface Source {
  hls: string | null
  mp4: string | null
}

export interface Level {
  index: number
  /** Pixels of the shorter edge, which people call 720p. */
  lines: number
}

export interface Heard {
  levels(levels: readonly Level[]): void
  /** The level that plays now. */
  level(index: number): void
  failed(): void
}

export interface Attached {
  /** Choose a level by its index; -1 leaves the choice to the player. */
  choose(index: number): void
  detach(): void
}

const RECOVERIES = 2
const HLS_TYPE = 'application/vnd.apple.mpegurl'
const isApple = 'WebKitPlaybackTargetAvailabilityEvent' in window

/** Let `video` play a source. */
export async function attach(video: HTMLVideoElement, { hls, mp4 }: Source, heard: Heard): Promise<Attached> {
  const plain = (url: string): Attached => {
    const fail = () => heard.failed()
    video.addEventListener('error', fail)
    video.src = url
    return {
      choose: () => {},
      detach: () => {
        video.removeEventListener('error', fail)
        empty(video)
      },
    }
  }
  if (hls && isApple) return plain(hls)
  if (hls) {
    const found = await load()
    if (found?.isSupported()) return stream(found, video, hls, heard, mp4 ? () => plain(mp4) : null)
    if (!mp4 && video.canPlayType(HLS_TYPE)) return plain(hls)
  }
  if (mp4) return plain(mp4)
  heard.failed()
  return { choose: () => {}, detach: () => {} }
}

async function load(): Promise<typeof Hls | null> {
  try {
    return (await import('hls.js')).default
  } catch {
    return null
  }
}

function stream(
  Player: typeof Hls,
  video: HTMLVideoElement,
  url: string,
  heard: Heard,
  instead: (() => Attached) | null,
): Attached {
  // A worker would be made of a blob, which the page's policy does not allow.
  const player = new Player({ enableWorker: false, capLevelToPlayerSize: true, startLevel: -1 })
  let other: Attached | null = null
  let recoveries = 0
  player.on(Player.Events.MANIFEST_PARSED, (_, { levels }) =>
    heard.levels(levels.map(({ width, height }, index) => ({ index, lines: Math.min(width, height) }))),
  )
  player.on(Player.Events.LEVEL_SWITCHED, (_, { level }) => heard.level(level))
  player.on(Player.Events.ERROR, (_, { fatal, type }) => {
    if (!fatal || other) return
    if (type === Player.ErrorTypes.MEDIA_ERROR && recoveries++ < RECOVERIES) return player.recoverMediaError()
    if (!instead) return heard.failed()
    const at = video.currentTime
    const wasPlaying = !video.paused
    player.destroy()
    heard.levels([])
    other = instead()
    video.currentTime = at
    if (wasPlaying) void video.play().catch(() => {})
  })
  player.loadSource(url)
  player.attachMedia(video)
  return {
    choose: (index) => {
      player.currentLevel = index
    },
    detach: () => (other ? other.detach() : player.destroy()),
  }
}

function empty(video: HTMLVideoElement): void {
  video.removeAttribute('src')
  video.load()
}
