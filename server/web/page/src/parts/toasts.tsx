// Draws the messages of state/toasts.ts, and tells them to screen readers.
//
// Rule: one place on the whole page; a live region that is made with its words is not read out.

import { holdToasts, news, toasts } from '../state/toasts'

import { t } from '../text'
import { Button } from './button'

export function Toasts() {
  return (
    <>
      <p id="news" class="unseen" role="status" aria-live="polite">
        {news}
      </p>
      <section
        class="toasts"
        aria-label={t('shell.messages')}
        onPointerEnter={() => holdToasts(true)}
        onPointerLeave={() => holdToasts(false)}
        onFocusIn={() => holdToasts(true)}
        onFocusOut={() => holdToasts(false)}
      >
        {toasts.value.map((toast) => (
          <div key={toast.id} class={`toast is-${toast.tone ?? 'plain'}`}>
            <p>{toast.words()}</p>
            {toast.action && (
              <Button look="quiet" onClick={toast.action.act}>
                {toast.action.label()}
              </Button>
            )}
          </div>
        ))}
      </section>
    </>
  )
}
