// Links to a video: make one, see all, revoke one.
//
// Rule: the server keeps no link, so a new one is shown once. What cannot be undone, which is revoking, needs two presses.

import { useEffect, useState } from 'preact/hooks'

import { listShares, revokeShare, share } from '../../api'
import type { NewShare, Share, Task } from '../../api/types'
import { moment } from '../../format'
import { Button } from '../../parts/button'
import { Dialog } from '../../parts/dialog'
import { tried } from '../../state/actions'
import { copy } from '../../state/clipboard'
import { toast } from '../../state/toasts'
import { t } from '../../text'

const HOUR = 3600
const ENDS = [
  ['never', null],
  ['hour', HOUR],
  ['day', 24 * HOUR],
  ['week', 7 * 24 * HOUR],
  ['month', 30 * 24 * HOUR],
] as const

export function ShareDialog({ task, close }: { task: Task; close: () => void }) {
  const [shares, setShares] = useState<readonly Share[] | null>(null)
  const [made, setMade] = useState<NewShare | null>(null)
  const [ends, setEnds] = useState<(typeof ENDS)[number][0]>('never')
  const [isBusy, setBusy] = useState(false)
  const id = task.task_id
  const look = () => tried(async () => setShares((await listShares(id)).shares))
  useEffect(() => {
    void look()
  }, [])
  const make = async () => {
    setBusy(true)
    const seconds = ENDS.find(([name]) => name === ends)?.[1] ?? null
    await tried(async () => setMade(await share(id, seconds)))
    await look()
    setBusy(false)
  }
  const revoke = async (one: Share) => {
    if (await tried(() => revokeShare(id, one.id))) {
      toast(() => t('share.revoked_now'))
      if (made?.share.id === one.id) setMade(null)
    }
    await look()
  }
  return (
    <Dialog heading={t('share.heading')} onClose={close}>
      <p class="dialog-hint">{t('share.hint')}</p>
      <div class="share-make">
        <label for="share-ends">{t('share.ends')}</label>
        <select
          id="share-ends"
          class="field choice"
          value={ends}
          onChange={({ currentTarget }) => setEnds(currentTarget.value as typeof ends)}
        >
          {ENDS.map(([name]) => (
            <option key={name} value={name}>
              {t(`share.${name}`)}
            </option>
          ))}
        </select>
        <Button look="primary" id="share-make" icon="link" disabled={isBusy} onClick={() => void make()}>
          {t('share.make')}
        </Button>
      </div>
      {made && <Made made={made} task={task} />}
      <h3>{t('share.links')}</h3>
      {shares?.length === 0 && <p class="dialog-hint">{t('share.none')}</p>}
      <ul class="shares">
        {shares?.map((one) => (
          <li key={one.id} data-state={one.state}>
            <div>
              <p>{t('share.created', { when: moment(one.created_at) })}</p>
              <p class="dialog-hint">{stateWords(one)}</p>
            </div>
            {one.state === 'valid' && <Revoke share={one} act={() => void revoke(one)} />}
          </li>
        ))}
      </ul>
    </Dialog>
  )
}

/** Two presses: a link that is revoked does not come back. */
function Revoke({ share: { created_at }, act }: { share: Share; act: () => void }) {
  const [isSure, setSure] = useState(false)
  const label = t('share.revoke_of', { when: moment(created_at) })
  return isSure ? (
    <Button look="danger" class="share-revoke-sure" autofocus label={label} onClick={act}>
      {t('share.revoke_sure')}
    </Button>
  ) : (
    <Button class="share-revoke" label={label} onClick={() => setSure(true)}>
      {t('share.revoke')}
    </Button>
  )
}

function stateWords({ state, expires_at, revoked_at }: Share): string {
  if (state === 'expired' && expires_at) return t('share.expired', { when: moment(expires_at) })
  if (state === 'revoked' && revoked_at) return t('share.revoked', { when: moment(revoked_at) })
  return expires_at ? t('share.valid_until', { when: moment(expires_at) }) : t('share.valid')
}

function Made({ made, task }: { made: NewShare; task: Task }) {
  return (
    <div class="share-made">
      <Copied id="share-link" label={t('share.link')} value={made.url} />
      <p class="dialog-hint">{t('share.shown_once')}</p>
      {made.embed_url ? (
        <Copied id="share-embed" label={t('share.embed')} value={embedCode(made.embed_url, task)} />
      ) : (
        <p class="dialog-hint">{t('share.embed_off')}</p>
      )}
    </div>
  )
}

function embedCode(url: string, { files }: Task): string {
  const { width, height } = files[0] ?? {}
  const ratio = width && height ? width / height : 16 / 9
  const [wide, high] = ratio >= 1 ? [640, Math.round(640 / ratio)] : [Math.round(640 * ratio), 640]
  return `<iframe src="${url}" width="${wide}" height="${high}" allow="fullscreen; picture-in-picture" allowfullscreen></iframe>`
}

function Copied({ id, label, value }: { id: string; label: string; value: string }) {
  const act = async () => {
    const done = await copy(value)
    toast(() => (done ? t('share.copied') : t('videos.not_copied', { link: value })))
  }
  return (
    <div class="copied">
      <label for={id}>{label}</label>
      <input id={id} class="field" readOnly value={value} onFocus={({ currentTarget }) => currentTarget.select()} />
      <Button icon="copy" label={`${t('share.copy')}: ${label}`} title={t('share.copy')} onClick={() => void act()} />
    </div>
  )
}
