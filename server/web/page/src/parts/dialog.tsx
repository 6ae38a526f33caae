// A question or a form above the page, by the browser's own `<dialog>`: focus stays in it, and Escape closes it.
//
// Rule: a dialog asks only what cannot be undone, or needs an answer; all else happens, and can be undone (toasts.ts).

import type { ComponentChildren } from 'preact'
import { useEffect, useId, useRef } from 'preact/hooks'

import { t } from '../text'
import { Button } from './button'

export function Dialog({
  heading,
  children,
  buttons,
  onClose,
}: {
  heading: string
  children?: ComponentChildren
  /** The buttons at its end; the first is the one to press. Without any, there is a button that closes it. */
  buttons?: ComponentChildren
  /** Escape, or the button that closes it. */
  onClose: () => void
}) {
  const dialog = useRef<HTMLDialogElement>(null)
  const id = useId()
  useEffect(() => {
    const before = document.activeElement as HTMLElement | null
    dialog.current?.showModal()
    return () => before?.focus()
  }, [])
  return (
    <dialog
      ref={dialog}
      class="dialog"
      aria-labelledby={id}
      onCancel={(event) => {
        event.preventDefault()
        onClose()
      }}
    >
      <h2 id={id}>{heading}</h2>
      {children}
      <div class="dialog-buttons">{buttons ?? <Button onClick={onClose}>{t('common.close')}</Button>}</div>
    </dialog>
  )
}
