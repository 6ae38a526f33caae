// A button of the player that says what is chosen, and opens the other choices.

import { useDropdown } from '../dropdown'

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
  const { isOpen, root, toggle, close, move } = useDropdown()
  return (
    <div class="player-choices" ref={root}>
      <button
        type="button"
        class={`player-button is-text player-${name}`}
        aria-haspopup="menu"
        aria-expanded={isOpen}
        aria-label={`${label}: ${shown}`}
        title={label}
        onClick={toggle}
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
