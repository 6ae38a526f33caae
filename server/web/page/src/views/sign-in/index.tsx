// The sign-in with a key or a token.
//
// Rule: the field has no name, so that no browser can ever put a credential into an address.

import { useEffect, useRef, useState } from 'preact/hooks'

import type { Reason } from '../../api/client'
import { Button } from '../../parts/button'
import { brand } from '../../state/brand'
import { problem, signIn } from '../../state/session'
import { inEach, reasonText, t } from '../../text'

export function SignIn() {
  const field = useRef<HTMLInputElement>(null)
  const [isBusy, setBusy] = useState(false)
  const [refused, setRefused] = useState(false)
  const [missing, setMissing] = useState<Reason | null>(null)
  useEffect(() => field.current?.focus(), [])

  const submit = async (event: Event) => {
    event.preventDefault()
    if (isBusy) return
    const credential = field.current?.value.trim() ?? ''
    setMissing(credential === '' ? inEach('sign_in.missing') : null)
    if (credential !== '') {
      setBusy(true)
      setRefused(false)
      if (await signIn(credential)) return
      setBusy(false)
    }
    setRefused(true)
    field.current?.focus()
    field.current?.select()
  }

  return (
    <section class="sign-in" aria-labelledby="sign-in-heading">
      <h1 id="sign-in-heading">{t('sign_in.heading')}</h1>
      <form id="sign-in-form" method="post" action="api/session" noValidate aria-busy={isBusy} onSubmit={submit}>
        {/* For password managers, which keep a secret under a name. */}
        <input type="text" value={brand.name} autocomplete="username" hidden readOnly />
        <label for="credential">{t('sign_in.credential')}</label>
        <input
          ref={field}
          type="password"
          id="credential"
          autocomplete="current-password"
          autocapitalize="none"
          spellcheck={false}
          aria-invalid={refused}
          aria-describedby="credential-hint sign-in-problem"
        />
        <p id="credential-hint">{t('sign_in.hint')}</p>
        <p id="sign-in-problem" role="alert">
          {reasonText(missing ?? problem.value)}
        </p>
        <Button type="submit" look="primary" id="sign-in-button">
          {isBusy ? t('sign_in.busy') : t('sign_in.submit')}
        </Button>
      </form>
    </section>
  )
}
