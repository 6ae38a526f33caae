// One video: the player, its title, and what its owner does with it.
//
// Rule: what is not needed to watch is folded away, or a press away.

import { computed, effect, signal } from '@preact/signals'
import { useEffect, useRef, useState } from 'preact/hooks'

import { getTask } from '../../api'
import { Refusal } from '../../api/client'
import { listen } from '../../api/events'
import { mediaAddress } from '../../api/media'
import type { Task, TaskFile } from '../../api/types'
import { ago, moment } from '../../format'
import { Button, LinkButton } from '../../parts/button'
import { Icon } from '../../parts/icon'
import { Menu, type MenuItem } from '../../parts/menu'
import Player from '../../parts/player'
import { Progress } from '../../parts/progress'
import { Empty, Failure, Loading } from '../../parts/states'
import { TitleField } from '../../parts/title-field'
import { go, href, query, segments, setQuery } from '../../router'
import {
  canRetry,
  copyLinks,
  deleteVideos,
  downloadOf,
  isRunning,
  leaving,
  retryVideos,
  stopVideo,
} from '../../state/actions'
import { brand } from '../../state/brand'
import { may } from '../../state/session'
import { keep, nameOf, refresh, tasks } from '../../state/videos'
import { statusLine } from '../../state/words'
import { t } from '../../text'
import { Facts, Steps } from './facts'
import { PosterDialog } from './poster'
import { ShareDialog } from './share'

/** Empty at the address of another view, which is there before this one is gone. */
const id = computed(() => (segments.value[0] === 'v' ? (segments.value[1] ?? '') : ''))
const failure = signal<unknown>(null)

export default function Video() {
  useEffect(follow, [])
  const task = tasks.value.get(id.value)
  // A list has brought it without its steps.
  if (failure.value && (!task || failure.value instanceof Refusal)) return <Trouble error={failure.value} />
  if (!task) return <Loading />
  if (task.removed || leaving.value.has(task.task_id)) return <Gone />
  return <Shown key={task.task_id} task={task} />
}

/** Ask for the video of the address, now and after each gap of the events. */
function follow(): () => void {
  const ask = async () => {
    const asked = id.peek()
    if (!asked) return
    try {
      keep(await getTask(asked))
      if (asked === id.peek()) failure.value = null
    } catch (error) {
      if (asked === id.peek()) failure.value = error
    }
  }
  const unwatch = effect(() => {
    id.value
    failure.value = null
    void ask()
  })
  const unlisten = listen({ missed: () => void ask() })
  return () => {
    unwatch()
    unlisten()
  }
}

function Trouble({ error }: { error: unknown }) {
  if (error instanceof Refusal && error.status === 410) return <Gone />
  return <Failure error={error} again={() => void refresh(id.peek()).then(() => (failure.value = null))} />
}

function Gone() {
  return (
    <Empty
      icon="bin"
      heading={t('video.gone')}
      actions={<LinkButton to={href('videos')}>{t('video.all_videos')}</LinkButton>}
    >
      {t('video.gone_hint')}
    </Empty>
  )
}

function Shown({ task }: { task: Task }) {
  const [isEdited, setEdited] = useState(false)
  const [open, setOpen] = useState<'share' | 'poster' | null>(null)
  const time = useRef(0)
  const place = Math.max(
    0,
    task.files.findIndex((file) => file.id === query.value.get('file')),
  )
  const file = task.files[place]
  const name = nameOf(task)
  useEffect(() => {
    const before = document.title
    document.title = `${name} · ${brand.name}`
    return () => {
      document.title = before
    }
  }, [name])
  const isPortrait = (file?.height ?? 0) > (file?.width ?? 0)
  return (
    <article class={`watch ${isPortrait ? 'is-portrait' : ''}`} style={{ '--ratio': ratioOf(file) }}>
      <div class="watch-player">
        {file && <Screen task={task} file={file} name={name} onTime={(now) => (time.current = now)} />}
      </div>
      <div class="watch-words">
        <div class="watch-head">
          <div class="watch-title">
            {isEdited ? (
              <TitleField task={task} close={() => setEdited(false)} />
            ) : (
              <h1 dir="auto">
                {name}
                {may('manage') && (
                  <Button icon="edit" label={t('video.rename')} class="watch-edit" onClick={() => setEdited(true)} />
                )}
              </h1>
            )}
            <p class="watch-line" title={moment(task.created_at_utc)}>
              {statusLine(task)} · {ago(task.created_at_utc)}
            </p>
          </div>
          <div class="watch-actions">
            {may('manage') && (
              <Button look="primary" icon="share" id="share" onClick={() => setOpen('share')}>
                {t('video.share')}
              </Button>
            )}
            {file && <Downloads file={file} />}
            <Menu id="more" label={t('video.more')} items={items(task, file, setOpen)} />
          </div>
        </div>
        {task.files.length > 1 && <Files files={task.files} current={file} />}
        <State task={task} />
        {file && <Steps file={file} isOpen={task.status !== 'completed'} />}
        {file && <Facts task={task} file={file} />}
      </div>
      {open === 'share' && <ShareDialog task={task} close={() => setOpen(null)} />}
      {open === 'poster' && file && (
        <PosterDialog task={task} file={file} now={time.current} close={() => setOpen(null)} />
      )}
    </article>
  )
}

function Screen({
  task,
  file,
  name,
  onTime,
}: {
  task: Task
  file: TaskFile
  name: string
  onTime: (seconds: number) => void
}) {
  const poster = mediaAddress(file.poster_url)
  if (file.playable) {
    return (
      <Player
        key={file.id}
        name={name}
        source={{ hls: mediaAddress(file.hls_url), mp4: mediaAddress(file.mp4_url) }}
        poster={poster}
        storyboard={mediaAddress(file.storyboard_url)}
        duration={file.duration}
        width={file.width}
        height={file.height}
        onTime={onTime}
      />
    )
  }
  return (
    <div class="screen" data-state={task.status} style={{ '--ratio': ratioOf(file) }}>
      {poster ? <img src={poster} alt="" /> : <Icon name="film" />}
      {isRunning(task) && (
        <Progress
          value={task.status === 'uploaded' ? null : task.progress / 100}
          tone={task.waiting ? 'warn' : 'work'}
          label={t('common.progress_of', { name })}
        />
      )}
    </div>
  )
}

const ratioOf = (file: TaskFile | undefined) => (file?.width && file.height ? file.width / file.height : 16 / 9)

/** What has gone wrong, or what is awaited; nothing for a video that is ready. */
function State({ task }: { task: Task }) {
  if (isRunning(task)) {
    return task.playable ? null : <p class="watch-note">{t('video.processing_hint')}</p>
  }
  if (task.status === 'completed') return null
  const isError = task.status === 'error'
  const reason = task.files.find(({ error }) => error)?.error?.message ?? task.message
  return (
    <div class={`watch-note is-${task.status}`} role="status">
      {isError && <Icon name="alert" />}
      <div>
        <h2>{t(isError ? 'video.failed' : 'video.cancelled')}</h2>
        <p>{isError ? reason : t('video.cancelled_hint')}</p>
      </div>
      {may('manage') && canRetry(task) && (
        <Button icon="retry" id="retry" onClick={() => void retryVideos([task])}>
          {t('videos.retry')}
        </Button>
      )}
    </div>
  )
}

function Downloads({ file }: { file: TaskFile }) {
  const mp4 = downloadOf(file.mp4_url)
  const original = downloadOf(file.original_url)
  const items: MenuItem[] = []
  if (mp4) items.push({ label: t('video.download_mp4'), to: mp4, id: 'download-mp4' })
  if (original) items.push({ label: t('video.download_original'), to: original, id: 'download-original' })
  if (items.length === 0) return null
  return (
    <Menu id="download" label={t('video.download')} icon="download" items={items}>
      {t('video.download')}
    </Menu>
  )
}

function items(task: Task, file: TaskFile | undefined, open: (dialog: 'poster') => void): MenuItem[] {
  const found: MenuItem[] = [
    { label: t('videos.copy_link'), icon: 'link', act: () => void copyLinks([task.task_id]), id: 'copy-link' },
  ]
  if (!may('manage')) return found
  if (file?.playable)
    found.push({ label: t('video.poster'), icon: 'picture', act: () => open('poster'), id: 'choose-poster' })
  if (canRetry(task)) found.push({ label: t('videos.retry'), icon: 'retry', act: () => void retryVideos([task]) })
  if (isRunning(task))
    found.push({ label: t('videos.stop'), icon: 'cross', act: () => void stopVideo(task.task_id), id: 'stop' })
  found.push({
    label: t('videos.delete'),
    icon: 'bin',
    danger: true,
    id: 'delete',
    act: () => {
      const back = `v/${task.task_id}`
      deleteVideos([task], { restored: () => go(back) })
      go('videos')
    },
  })
  return found
}

function Files({ files, current }: { files: readonly TaskFile[]; current: TaskFile | undefined }) {
  return (
    <nav class="watch-files" aria-label={t('video.files')}>
      {files.map((file) => (
        <button
          key={file.id}
          type="button"
          class="button"
          aria-current={file === current ? 'true' : undefined}
          onClick={() => setQuery({ file: file.id })}
        >
          {file.name}
        </button>
      ))}
    </nav>
  )
}
