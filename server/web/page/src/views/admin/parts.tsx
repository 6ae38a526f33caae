// What several rooms draw: panels, states, questions, secrets.
//
// Rule: a secret lives in the dialog that shows it, and is gone with it.

import type { ComponentChildren } from 'preact'
import { useState } from 'preact/hooks'

import { ago, moment, number, timespan } from '../../format'
import { Button } from '../../parts/button'
import { Dialog } from '../../parts/dialog'
import { Icon } from '../../parts/icon'
import { href } from '../../router'
import { tried } from '../../state/actions'
import { copy } from '../../state/clipboard'
import { announce } from '../../state/toasts'
import { t } from '../../text'

export type Tone = 'good' | 'warn' | 'bad' | 'rest' | 'work'

/** A card with a heading, and what belongs beside it. */
export function Panel({
  id,
  heading,
  beside,
  children,
}: {
  id: string
  heading: string
  beside?: ComponentChildren
  children: ComponentChildren
}) {
  return (
    <section class="pane card" aria-labelledby={`${id}-heading`} id={id}>
      <div class="pane-head">
        <h2 id={`${id}-heading`}>{heading}</h2>
        {beside}
      </div>
      {children}
    </section>
  )
}

/** A state in a word; the colour says nothing that the word does not. */
export function Badge({ tone, children }: { tone: Tone; children: ComponentChildren }) {
  return <span class={`badge is-${tone}`}>{children}</span>
}

/** How long ago; the time itself for who points at it. */
export function Stamp({ at, isExact = false }: { at: string | null; isExact?: boolean }) {
  if (!at) return null
  return (
    <time dateTime={at} title={moment(at)}>
      {isExact ? moment(at) : ago(at)}
    </time>
  )
}

/** A time span that may be shorter than a second. */
export function shortSpan(seconds: number): string {
  return seconds < 1 ? t('admin.milliseconds', { n: number(seconds * 1000) }) : timespan(seconds)
}

/** A link to a video's page. */
export function VideoLink({ id, name }: { id: string; name: string | null }) {
  return (
    <a href={href(`v/${id}`)} dir="auto">
      {name || t('admin.unnamed')}
    </a>
  )
}

/** A question before something that cannot be undone. `act` gives whether it has worked; the dialog closes then. */
export function Sure({
  heading,
  hint,
  action,
  act,
  close,
}: {
  heading: string
  hint: string
  action: string
  act: () => Promise<unknown>
  close: () => void
}) {
  const [isBusy, setBusy] = useState(false)
  const go = async () => {
    setBusy(true)
    await tried(act)
    close()
  }
  return (
    <Dialog
      heading={heading}
      onClose={close}
      buttons={
        <>
          <Button onClick={close}>{t('common.cancel')}</Button>
          <Button id="sure" look="danger" disabled={isBusy} onClick={() => void go()}>
            {action}
          </Button>
        </>
      }
    >
      <p class="dialog-hint">{hint}</p>
    </Dialog>
  )
}

/** A secret that was made now. */
export function SecretDialog({
  heading,
  label,
  value,
  notes = [],
  close,
}: {
  heading: string
  label: string
  value: string
  notes?: readonly string[]
  close: () => void
}) {
  const [said, setSaid] = useState('')
  const take = async () => {
    const words = (await copy(value)) ? t('admin.copied') : t('admin.not_copied')
    setSaid(words)
    announce(words)
  }
  return (
    <Dialog
      heading={heading}
      onClose={close}
      buttons={
        <Button id="secret-done" look="primary" onClick={close}>
          {t('admin.done')}
        </Button>
      }
    >
      <p class="notice">
        <Icon name="alert" />
        <span>{t('admin.shown_once')}</span>
      </p>
      <div class="copied">
        <label for="secret">{label}</label>
        <input
          id="secret"
          class="field"
          readOnly
          dir="ltr"
          value={value}
          onFocus={({ currentTarget }) => currentTarget.select()}
        />
        <Button id="secret-copy" icon="copy" label={t('admin.copy')} onClick={() => void take()} />
      </div>
      <p class="dialog-hint said">{said}</p>
      {notes.map((note) => (
        <p key={note} class="dialog-hint">
          {note}
        </p>
      ))}
    </Dialog>
  )
}

/** A labelled field of a form. */
export function Field({
  id,
  label,
  hint,
  error,
  children,
}: {
  id: string
  label: string
  hint?: string
  error?: string
  children: ComponentChildren
}) {
  return (
    <div class="form-field">
      <label for={id}>{label}</label>
      {children}
      {hint && (
        <p id={`${id}-hint`} class="dialog-hint">
          {hint}
        </p>
      )}
      {error && (
        <p id={`${id}-error`} class="form-error" role="alert">
          {error}
        </p>
      )}
    </div>
  )
}

/** A choice of one, above a table. */
export function Choose<V extends string>({
  id,
  label,
  value,
  choices,
  choose,
}: {
  id: string
  label: string
  value: V
  choices: readonly (readonly [value: V, label: string])[]
  choose: (value: V) => void
}) {
  return (
    <select
      id={id}
      class="field choice"
      aria-label={label}
      title={label}
      value={value}
      onChange={({ currentTarget }) => choose(currentTarget.value as V)}
    >
      {choices.map(([one, words]) => (
        <option key={one} value={one}>
          {words}
        </option>
      ))}
    </select>
  )
}

/** A word to filter by, which counts when somebody has stopped typing. */
export function Find({
  id,
  label,
  value,
  find,
}: {
  id: string
  label: string
  value: string
  find: (words: string) => void
}) {
  const [timer] = useState<{ id?: ReturnType<typeof setTimeout> }>({})
  return (
    <label class="tools-search">
      <Icon name="search" />
      <input
        id={id}
        type="search"
        class="field"
        defaultValue={value}
        placeholder={label}
        aria-label={label}
        autoComplete="off"
        autoCapitalize="none"
        spellcheck={false}
        onInput={({ currentTarget }) => {
          clearTimeout(timer.id)
          const words = currentTarget.value.trim()
          timer.id = setTimeout(() => find(words), 300)
        }}
      />
    </label>
  )
}
