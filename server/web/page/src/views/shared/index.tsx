// A shared video, for people without an account: the player alone in a frame (`/embed/…`), and with its title (`/s/…`).
//
// Rule: nothing here needs a sign-in or leads into the page. What the link shows, the server says each time.

import { useEffect, useState } from 'preact/hooks'

import { getShared, getTask } from '../../api'
import { ConnectionLost, Refusal } from '../../api/client'
import { mediaAddress } from '../../api/media'
import { moment } from '../../format'
import { Button, LinkButton } from '../../parts/button'
import { BrandLinks } from '../../parts/foot'
import { Mark } from '../../parts/icon'
import Player from '../../parts/player'
import { Empty, Failure, Loading } from '../../parts/states'
import { href, segments } from '../../router'
import { brand } from '../../state/brand'
import { LANGUAGES, type Language, language, setLanguage } from '../../state/language'
import { t } from '../../text'

const AGAIN_MS = 5000
const TASK = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

interface Found {
  title: string
  expires_at: string | null
  files: Awaited<ReturnType<typeof getShared>>['files']
}

/** The video of a share's token, or of a task's id, which its owner may see. */
async function find(name: string): Promise<Found> {
  if (!TASK.test(name)) return getShared(name)
  const { title, files } = await getTask(name)
  return { title: title ?? files[0]?.name ?? '', expires_at: null, files }
}

export default function SharedView() {
  const [room, name = ''] = segments.value
  const isFrame = room === 'embed'
  const [found, setFound] = useState<Found | null>(null)
  const [error, setError] = useState<unknown>(null)
  const ask = async () => {
    try {
      setFound(await find(name))
      setError(null)
    } catch (reason) {
      setError(reason)
    }
  }
  const files = found?.files.filter(({ playable }) => playable) ?? []
  const isAwaited = (found !== null && files.length === 0) || error instanceof ConnectionLost
  useEffect(() => {
    void ask()
  }, [name, language.value])
  useEffect(() => {
    if (!isAwaited) return
    const timer = setInterval(() => void ask(), AGAIN_MS)
    return () => clearInterval(timer)
  }, [isAwaited, name])
  useEffect(() => {
    if (found) document.title = found.title
  }, [found?.title])

  const content =
    error && !found ? (
      <Over error={error} again={() => void ask()} />
    ) : error instanceof Refusal ? (
      <Over error={error} again={() => void ask()} />
    ) : !found ? (
      <Loading />
    ) : files.length === 0 ? (
      <Empty icon="film" heading={t('share.not_yet')}>
        {t('share.not_yet_hint')}
      </Empty>
    ) : (
      files
        .slice(0, isFrame ? 1 : undefined)
        .map((file) => (
          <Player
            key={file.mp4_url ?? file.hls_url}
            name={found.title}
            source={{ hls: mediaAddress(file.hls_url), mp4: mediaAddress(file.mp4_url) }}
            poster={mediaAddress(file.poster_url)}
            storyboard={mediaAddress(file.storyboard_url)}
            duration={file.duration}
            width={file.width}
            height={file.height}
            fills={isFrame}
          />
        ))
    )
  if (isFrame)
    return (
      <main class="framed">
        <h1 class="unseen">{found?.title ?? t('share.shared_by', { site: brand.name })}</h1>
        {content}
      </main>
    )
  return (
    <div class="shared">
      <main style={{ '--ratio': (files[0]?.width ?? 16) / (files[0]?.height ?? 9) }}>
        {content}
        {found && !(error instanceof Refusal) ? (
          <div class="shared-words">
            <h1 dir="auto">{found.title}</h1>
            {found.expires_at && <p>{t('share.until', { when: moment(found.expires_at) })}</p>}
          </div>
        ) : (
          <h1 class="unseen">{t('share.shared_by', { site: brand.name })}</h1>
        )}
      </main>
      <footer class="shared-foot">
        <span>
          <Mark />
          {t('share.shared_by', { site: brand.name })}
        </span>
        <div class="shared-foot-end">
          <BrandLinks />
          <Languages />
        </div>
      </footer>
    </div>
  )
}

/** Why there is nothing to see, and what to do. */
function Over({ error, again }: { error: unknown; again: () => void }) {
  if (!(error instanceof Refusal)) return <Failure error={error} again={again} />
  switch (error.code) {
    case 'share_expired':
      return <Empty icon="link" heading={t('share.over')} children={t('share.over_hint')} />
    case 'share_revoked':
      return <Empty icon="link" heading={t('share.withdrawn')} children={t('share.over_hint')} />
    case 'share_video_gone':
    case 'task_gone':
      return <Empty icon="bin" heading={t('share.video_gone')} />
  }
  if (error.status === 401) {
    return (
      <Empty
        icon="key"
        heading={t('share.sign_in')}
        actions={<LinkButton to={href('')}>{t('sign_in.submit')}</LinkButton>}
      />
    )
  }
  if (error.status === 404) return <Empty icon="link" heading={t('share.unknown')} children={t('share.unknown_hint')} />
  return <Failure error={error} again={again} />
}

function Languages() {
  const others = (Object.keys(LANGUAGES) as Language[]).filter((one) => one !== language.value)
  return (
    <>
      {others.map((one) => (
        <Button key={one} look="quiet" onClick={() => setLanguage(one)}>
          {LANGUAGES[one].name}
        </Button>
      ))}
    </>
  )
}
