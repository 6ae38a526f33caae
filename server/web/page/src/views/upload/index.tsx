// Sending videos, and the newest ones.
//
// Rule: everything that a person can press here is listed here; what it does is in state/uploads.

import { useEffect, useRef } from 'preact/hooks'

import { bytes, list } from '../../format'
import { Button, LinkButton } from '../../parts/button'
import { Icon } from '../../parts/icon'
import { Failure } from '../../parts/states'
import { href } from '../../router'
import { config } from '../../state/config'
import { isProtected, sessionState } from '../../state/session'
import { hasPicker, kind, ofInput, pick, takeIn } from '../../state/uploads'
import { t } from '../../text'
import { BatchBar } from './batch'
import { entries, failure, follow, loadNewest, newest } from './list'
import { Program } from './program'
import { Row } from './row'
import { Twins } from './twins'

export default function Upload() {
  const files = useRef<HTMLInputElement>(null)
  const folder = useRef<HTMLInputElement>(null)
  const camera = useRef<HTMLInputElement>(null)
  useEffect(follow, [])
  useEffect(() => {
    // After a sign-in, whose form had the focus.
    if (isProtected && sessionState.value === 'in' && document.activeElement === document.body) {
      document.querySelector<HTMLElement>('#choose')?.focus()
    }
  }, [sessionState.value])

  const choose = async () => {
    if (!hasPicker()) files.current?.click()
    else await takeIn(await pick())
  }
  const take = (input: HTMLInputElement) => void takeIn(ofInput(input))
  const rows = entries.value
  const accept = config.value?.tus.accepted_extensions?.map((one) => `.${one}`).join(',')
  return (
    <div class={`upload ${rows.length > 0 ? 'has-videos' : ''}`}>
      <section class="zone" id="zone" aria-labelledby="heading">
        <Icon name="upload" class="in-circle" />
        <h1 id="heading">{t('upload.heading')}</h1>
        <p class="hint" id="hint">
          <span id="accepted">{accepted()}</span> <span>{t('upload.promise')}</span>
        </p>
        <div class="choose">
          <Button id="choose" look="primary" describedBy="hint" onClick={() => void choose()}>
            {t('upload.choose')}
          </Button>
          <Button id="choose-folder" icon="folder" class="for-mouse" onClick={() => folder.current?.click()}>
            {t('upload.choose_folder')}
          </Button>
          <Button
            id="film"
            icon="camera"
            label={t('upload.film')}
            class="for-touch"
            onClick={() => camera.current?.click()}
          >
            {t('upload.film')}
          </Button>
          <span class="for-mouse or-drop">{t('upload.or_drop')}</span>
        </div>
        {/* The buttons open them: a bare file input cannot be styled, and has texts of its own in its own language. */}
        <input
          ref={files}
          type="file"
          id="files"
          multiple
          hidden
          accept={accept}
          onChange={(event) => take(event.currentTarget)}
        />
        <input
          ref={folder}
          type="file"
          id="folder"
          {...{ webkitdirectory: true }}
          hidden
          onChange={(event) => take(event.currentTarget)}
        />
        <input
          ref={camera}
          type="file"
          id="camera"
          hidden
          accept="video/*"
          capture="environment"
          onChange={(event) => take(event.currentTarget)}
        />
      </section>
      <BatchBar />
      {newest.value === null && failure.value !== null && rows.length === 0 && (
        <Failure error={failure.value} again={loadNewest} />
      )}
      {rows.length > 0 && (
        <section id="videos" aria-labelledby="videos-heading">
          <div class="list-top">
            <h2 id="videos-heading">{t('upload.newest')}</h2>
            <LinkButton to={href('videos')} look="quiet">
              {t('upload.all')}
            </LinkButton>
          </div>
          <ul id="list" class="rows">
            {rows.map((entry) => (
              <Row
                key={entry.item ? `${entry.item.key} ${entry.item.since}` : entry.id}
                entry={entry}
                choose={() => void choose()}
              />
            ))}
          </ul>
        </section>
      )}
      {newest.value?.length === 0 && rows.length === 0 && <Program />}
      <Twins />
    </div>
  )
}

/** What the server accepts, in one sentence; empty until it has said so. */
function accepted(): string {
  if (!config.value) return ''
  const { accepted_extensions: extensions, max_size: most } = config.value.tus
  const kinds = (extensions ?? []).map(kind)
  const [first] = kinds
  const types =
    first === undefined
      ? t('upload.all_files')
      : kinds.length === 1
        ? t('upload.files_of', { type: first })
        : spaced(list(kinds))
  return most === null ? t('upload.accepted', { types }) : t('upload.accepted_limit', { types, limit: bytes(most) })
}

/** Latin letters after a Chinese word have a space before them. */
function spaced(words: string): string {
  return t('unit.comma') === '、' ? ` ${words}` : words
}
