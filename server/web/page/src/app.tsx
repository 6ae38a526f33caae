// The shell around every view: header, navigation, sign-in, messages.
//
// Rule: it knows that there are views and nothing of what is in them.

import type { ComponentType } from 'preact'
import { useEffect, useState } from 'preact/hooks'

import { isAway } from './api/events'
import type { Scope } from './api/types'
import { percent } from './format'
import { Button } from './parts/button'
import { Dialog } from './parts/dialog'
import { DropTarget } from './parts/drop'
import { Foot } from './parts/foot'
import { Icon, type IconName, Mark } from './parts/icon'
import { Menu } from './parts/menu'
import { Failure, Loading, Missing } from './parts/states'
import { Toasts } from './parts/toasts'
import { href, segments } from './router'
import { brand } from './state/brand'
import { LANGUAGES, type Language, language, setLanguage } from './state/language'
import { uploadShare } from './state/progress'
import { can, isProtected, sessionState, signOut, visitor } from './state/session'
import { toast } from './state/toasts'
import { type PlainKey, t } from './text'
import { VIEWS, type View } from './views'
import { SignIn } from './views/sign-in'

const LINKS: readonly { to: string; icon: IconName; key: PlainKey; scope?: Scope }[] = [
  { to: '', icon: 'upload', key: 'shell.upload' },
  { to: 'videos', icon: 'film', key: 'shell.videos' },
  { to: 'numbers', icon: 'chart', key: 'numbers.link', scope: 'read' },
  { to: 'admin', icon: 'settings', key: 'admin.link', scope: 'admin' },
]

export function App() {
  const view = VIEWS.find(({ matches }) => matches(segments.value))
  if (view?.isBare) return <Shown view={view} />
  return (
    <>
      <button type="button" class="skip" onClick={skip}>
        {t('shell.skip')}
      </button>
      <Header />
      <Away />
      <main id="content" tabIndex={-1}>
        {sessionState.value === 'out' && <SignIn />}
        {/* A view stays while somebody signs in again: nothing in it is lost. */}
        {visitor.value && <div hidden={sessionState.value !== 'in'}>{view ? <Shown view={view} /> : <Missing />}</div>}
      </main>
      <Foot />
      <DropTarget />
      <Toasts />
    </>
  )
}

function skip() {
  document.querySelector<HTMLElement>('#content')?.focus()
}

const loaded = new Map<View, ComponentType>()

/** A view, once its script is there. */
function Shown({ view }: { view: View }) {
  const [, redraw] = useState(0)
  const [error, setError] = useState<unknown>(null)
  const Found = loaded.get(view)
  const load = () => {
    setError(null)
    view.load().then(
      (module) => {
        loaded.set(view, module.default)
        redraw((count) => count + 1)
      },
      (reason) => setError(reason ?? new Error()),
    )
  }
  useEffect(() => {
    if (!loaded.has(view)) load()
  }, [view])
  if (Found) return <Found />
  // The script is gone after an update of the server; the new page has the new one.
  return error ? <Failure error={error} again={() => location.reload()} /> : <Loading />
}

function Header() {
  const here = segments.value[0] ?? ''
  return (
    <header class="top">
      <a class="brand" href={href('')}>
        <Mark />
        <span>{brand.name}</span>
      </a>
      {sessionState.value === 'in' && (
        <nav class="nav" aria-label={t('shell.navigation')}>
          {LINKS.filter(({ scope }) => !scope || can(scope)).map(({ to, icon, key }) => (
            <a key={to} href={href(to)} aria-current={here === to ? 'page' : undefined}>
              <Icon name={icon} />
              <span>
                {t(key)}
                {to === '' && here !== '' && uploadShare.value !== null && ` ${percent(uploadShare.value)}`}
              </span>
            </a>
          ))}
        </nav>
      )}
      <div class="top-end">
        <LanguageButton />
        {isProtected && sessionState.value === 'in' && <Account />}
      </div>
    </header>
  )
}

/** That the server cannot be reached, on every view alike. */
function Away() {
  const [isOffline, setOffline] = useState(!navigator.onLine)
  useEffect(() => {
    const look = () => setOffline(!navigator.onLine)
    addEventListener('online', look)
    addEventListener('offline', look)
    return () => {
      removeEventListener('online', look)
      removeEventListener('offline', look)
    }
  }, [])
  const isShown = sessionState.value === 'in' && (isOffline || isAway.value)
  return (
    <div class="away" role="status">
      {isShown && (
        <p>
          <Icon name="alert" />
          <span>{isOffline ? t('shell.offline') : t('shell.away')}</span>
        </p>
      )}
    </div>
  )
}

/** The other language when there are two, and a list of them when there are more. */
function LanguageButton() {
  const others = (Object.keys(LANGUAGES) as Language[]).filter((one) => one !== language.value)
  const [other] = others
  if (others.length === 1 && other) {
    return (
      <button
        type="button"
        id="language"
        class="button is-quiet"
        lang={LANGUAGES[other].tag}
        onClick={() => setLanguage(other)}
      >
        {LANGUAGES[other].name}
      </button>
    )
  }
  const items = others.map((one) => ({
    label: LANGUAGES[one].name,
    lang: LANGUAGES[one].tag,
    act: () => setLanguage(one),
  }))
  return <Menu id="language" label={t('shell.language')} icon="menu" items={items} />
}

function Account() {
  const owner = visitor.value?.owner ?? ''
  const [isAsked, setAsked] = useState(false)
  const leave = () => {
    setAsked(false)
    signOut().then(
      () => toast(() => t('shell.signed_out')),
      () => toast(() => t('shell.sign_out_lost'), { tone: 'bad' }),
    )
  }
  const ask = async () => {
    const { isRisky } = await import('./state/uploads')
    if (isRisky()) setAsked(true)
    else leave()
  }
  return (
    <>
      <p class="who" title={owner}>
        <span class="unseen">{t('shell.signed_in_as', { owner: '' })}</span>
        <span id="owner" dir="auto">
          {owner}
        </span>
      </p>
      <Button id="sign-out" look="quiet" onClick={() => void ask()}>
        {t('shell.sign_out')}
      </Button>
      {isAsked && (
        <Dialog
          heading={t('upload.sign_out_risk')}
          onClose={() => setAsked(false)}
          buttons={
            <>
              <Button onClick={() => setAsked(false)}>{t('common.cancel')}</Button>
              <Button id="sign-out-sure" look="danger" onClick={leave}>
                {t('shell.sign_out')}
              </Button>
            </>
          }
        >
          <p>{t('upload.sign_out_hint')}</p>
        </Dialog>
      )}
    </>
  )
}
