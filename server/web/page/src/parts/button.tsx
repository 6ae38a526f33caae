// Buttons, and links that look like them.
//
// Rule: a button with an icon alone has a label, which is its tooltip, too.

import type { ComponentChildren } from 'preact'

import { Icon, type IconName } from './icon'

export interface ButtonProps {
  children?: ComponentChildren
  onClick?: (event: MouseEvent) => void
  icon?: IconName
  /** The words for screen readers; of a button with an icon alone, the tooltip. */
  label?: string
  /** What the tooltip says, where it is shorter than the label. */
  title?: string
  look?: 'primary' | 'plain' | 'quiet' | 'danger'
  type?: 'button' | 'submit'
  disabled?: boolean
  id?: string
  class?: string
  pressed?: boolean
  expanded?: boolean
  autofocus?: boolean
  describedBy?: string
}

export function Button({
  children,
  onClick,
  icon,
  label,
  title,
  look = 'plain',
  type = 'button',
  disabled,
  id,
  class: more = '',
  pressed,
  expanded,
  autofocus,
  describedBy,
}: ButtonProps) {
  return (
    <button
      type={type}
      id={id}
      class={`button is-${look} ${children ? '' : 'is-icon'} ${more}`}
      onClick={onClick}
      disabled={disabled}
      aria-label={label}
      aria-pressed={pressed}
      aria-expanded={expanded}
      aria-describedby={describedBy}
      title={children ? title : (title ?? label)}
      autofocus={autofocus}
    >
      {icon && <Icon name={icon} />}
      {children && <span>{children}</span>}
    </button>
  )
}

/** A link with the look of a button; `to` is an address. */
export function LinkButton({
  to,
  children,
  icon,
  look = 'plain',
  label,
  download,
}: {
  to: string
  children?: ComponentChildren
  icon?: IconName
  look?: ButtonProps['look']
  label?: string
  download?: boolean
}) {
  return (
    <a
      class={`button is-${look} ${children ? '' : 'is-icon'}`}
      href={to}
      aria-label={label}
      title={children ? undefined : label}
      download={download}
    >
      {icon && <Icon name={icon} />}
      {children && <span>{children}</span>}
    </a>
  )
}
