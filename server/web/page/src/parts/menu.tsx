// A button that opens a list of actions.

import type { ComponentChildren } from 'preact'
import { useId } from 'preact/hooks'

import { useDropdown } from './dropdown'
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
  const { isOpen, root, toggle, close, leave, move } = useDropdown()
  const list = useId()
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
        onClick={toggle}
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
              <a key={item.label} {...common} class={look} href={item.to} onClick={leave}>
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
