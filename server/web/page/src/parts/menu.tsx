// A button that opens a list of actions.
//
// Rule: arrows move in it, Escape and a press elsewhere close it, and the focus comes back to the button.

import type { ComponentChildren } from 'preact'
import { useEffect, useId, useRef, useState } from 'preact/hooks'

import { Icon, type IconName } from './icon'

export interface MenuItem {
  label: string
  icon?: IconName
  /** An address instead of an action. */
  to?: string
  act?: () => void
  danger?: boolean
  id?: string
  lang?: string
}

export function Menu({
  label,
  icon = 'more',
  children,
  items,
  id,
}: {
  label: string
  icon?: IconName
  /** Words in the button, beside the icon. */
  children?: ComponentChildren
  items: readonly MenuItem[]
  id?: string
}) {
  const [isOpen, setOpen] = useState(false)
  const root = useRef<HTMLDivElement>(null)
  const list = useId()
  const entries = () => Array.from(root.current?.querySelectorAll<HTMLElement>('[role="menuitem"]') ?? [])
  const close = () => {
    setOpen(false)
    root.current?.querySelector('button')?.focus()
  }
  useEffect(() => {
    if (!isOpen) return
    entries()[0]?.focus()
    const elsewhere = (event: Event) => {
      if (!root.current?.contains(event.target as Node)) setOpen(false)
    }
    document.addEventListener('pointerdown', elsewhere)
    document.addEventListener('focusin', elsewhere)
    return () => {
      document.removeEventListener('pointerdown', elsewhere)
      document.removeEventListener('focusin', elsewhere)
    }
  }, [isOpen])
  const move = (event: KeyboardEvent) => {
    const all = entries()
    const at = all.indexOf(document.activeElement as HTMLElement)
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 }[event.key]
    if (event.key === 'Escape') close()
    else if (to === undefined) return
    else all.at(to >= all.length ? 0 : to)?.focus()
    event.preventDefault()
  }
  return (
    <div class="menu" ref={root}>
      <button
        type="button"
        id={id}
        class={`button is-quiet ${children ? '' : 'is-icon'}`}
        aria-haspopup="menu"
        aria-expanded={isOpen}
        aria-controls={list}
        aria-label={label}
        title={children ? undefined : label}
        onClick={() => setOpen(!isOpen)}
      >
        <Icon name={icon} />
        {children && <span>{children}</span>}
      </button>
      {isOpen && (
        <div class="menu-list" role="menu" id={list} aria-label={label} onKeyDown={move}>
          {items.map((item) => {
            const content = (
              <>
                {item.icon && <Icon name={item.icon} />}
                <span>{item.label}</span>
              </>
            )
            const common = { role: 'menuitem', tabIndex: -1, id: item.id, lang: item.lang } as const
            const look = `menu-item ${item.danger ? 'is-danger' : ''}`
            return item.to ? (
              <a key={item.label} {...common} class={look} href={item.to} onClick={() => setOpen(false)}>
                {content}
              </a>
            ) : (
              <button
                key={item.label}
                {...common}
                type="button"
                class={look}
                onClick={() => {
                  close()
                  item.act?.()
                }}
              >
                {content}
              </button>
            )
          })}
        </div>
      )}
    </div>
  )
}
