// A button of the player that says what is chosen, and opens the other choices.

import { useEffect, useRef, useState } from 'preact/hooks'

export interface Choice {
  value: number
  label: string
}

export function Choices({
  label,
  shown,
  choices,
  value,
  choose,
  name,
}: {
  label: string
  /** What the button says. */
  shown: string
  choices: readonly Choice[]
  value: number
  choose: (value: number) => void
  name: string
}) {
  const [isOpen, setOpen] = useState(false)
  const root = useRef<HTMLDivElement>(null)
  const entries = () => Array.from(root.current?.querySelectorAll<HTMLElement>('[role="menuitemradio"]') ?? [])
  const close = () => {
    setOpen(false)
    root.current?.querySelector('button')?.focus()
  }
  useEffect(() => {
    if (!isOpen) return
    entries()
      .find((entry) => entry.ariaChecked === 'true')
      ?.focus()
    const elsewhere = ({ target }: Event) => root.current?.contains(target as Node) || setOpen(false)
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
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key]
    if (event.key === 'Escape') close()
    else if (step) all.at((at + step) % all.length)?.focus()
    else return
    event.preventDefault()
    event.stopPropagation()
  }
  return (
    <div class="player-choices" ref={root}>
      <button
        type="button"
        class={`player-button is-text player-${name}`}
        aria-haspopup="menu"
        aria-expanded={isOpen}
        aria-label={`${label}: ${shown}`}
        title={label}
        onClick={() => setOpen(!isOpen)}
      >
        {shown}
      </button>
      {isOpen && (
        <div class="player-list" role="menu" aria-label={label} onKeyDown={move}>
          {choices.map((choice) => (
            <button
              key={choice.value}
              type="button"
              role="menuitemradio"
              aria-checked={choice.value === value}
              tabIndex={-1}
              onClick={() => {
                choose(choice.value)
                close()
              }}
            >
              {choice.label}
            </button>
          ))}
        </div>
      )}
    </div>
  )
}
