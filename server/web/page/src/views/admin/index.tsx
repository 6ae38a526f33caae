// The operator's view: a first screen that says whether all is well, and a room for each thing that an operator keeps.
//
// Rule: the server decides who may see it; this view only spares somebody the refusal. Each room is an address.

import type { ComponentType } from 'preact'
import { useEffect, useRef } from 'preact/hooks'

import { Empty, Missing } from '../../parts/states'
import { href, segments } from '../../router'
import { language } from '../../state/language'
import { can, isProtected } from '../../state/session'
import { type PlainKey, t } from '../../text'
import { Audit } from './audit'
import { DoctorRoom } from './doctor'
import { Keys } from './keys'
import { OverviewRoom } from './overview'
import { Owners } from './owners'
import { SettingsRoom } from './settings'
import { Tasks } from './tasks'
import { Uploads } from './uploads'
import { WebhooksRoom } from './webhooks'

const ROOMS: readonly { name: string; key: PlainKey; Room: ComponentType }[] = [
  { name: '', key: 'admin.overview', Room: OverviewRoom },
  { name: 'uploads', key: 'admin.uploads', Room: Uploads },
  { name: 'tasks', key: 'admin.tasks', Room: Tasks },
  { name: 'owners', key: 'admin.owners', Room: Owners },
  { name: 'keys', key: 'admin.keys', Room: Keys },
  { name: 'webhooks', key: 'admin.webhooks', Room: WebhooksRoom },
  { name: 'audit', key: 'admin.audit', Room: Audit },
  { name: 'settings', key: 'admin.settings', Room: SettingsRoom },
  { name: 'doctor', key: 'admin.doctor', Room: DoctorRoom },
]

export default function Admin() {
  const nav = useRef<HTMLElement>(null)
  const here = segments.value[1] ?? ''
  const may = can('admin')
  useEffect(() => {
    // On a telephone the rooms are a line that scrolls sideways.
    const link = nav.current?.querySelector<HTMLElement>('[aria-current]')
    if (link && nav.current) nav.current.scrollLeft = link.offsetLeft - (nav.current.clientWidth - link.clientWidth) / 2
  }, [here, may, language.value])
  if (!may) {
    return (
      <>
        <h1 class="unseen">{t('admin.heading')}</h1>
        <Empty icon="key" heading={t('admin.forbidden')}>
          {t('admin.forbidden_hint')}
        </Empty>
      </>
    )
  }
  const found = ROOMS.find(({ name }) => name === here)
  if (!found) return <Missing />
  const { Room, key } = found
  return (
    <div class="admin">
      <nav ref={nav} class="rooms" aria-label={t('admin.rooms')}>
        {ROOMS.map((room) => (
          <a
            key={room.name}
            href={href(room.name ? `admin/${room.name}` : 'admin')}
            aria-current={room === found ? 'page' : undefined}
          >
            {t(room.key)}
          </a>
        ))}
      </nav>
      <section class="room" aria-labelledby="room-heading">
        <h1 id="room-heading">{t(key)}</h1>
        {!isProtected && <p class="room-hint">{t('admin.open_hint')}</p>}
        <Room key={here} />
      </section>
    </div>
  )
}
