// One player plays at a time, and one hears the keyboard.
//
// Rule: who begins to play stops the others: on the same page, and in other frames of it.

export interface Turn {
  stop(): void
  /** A key that nothing else has taken; true when it meant something. */
  key(event: KeyboardEvent): boolean
}

const turns: Turn[] = []
const isFramed = window.parent !== window
const frames = isFramed && 'BroadcastChannel' in window ? new BroadcastChannel('videodock-player') : null
frames?.addEventListener('message', () => {
  for (const turn of turns) turn.stop()
})

/** Take part until the function that is returned is called. */
export function join(turn: Turn): () => void {
  turns.push(turn)
  return () => {
    turns.splice(turns.indexOf(turn), 1)
  }
}

/** Begin to play: all others stop, and keys are for this one. */
export function begin(turn: Turn): void {
  for (const other of turns) if (other !== turn) other.stop()
  frames?.postMessage('play')
  turns.splice(turns.indexOf(turn), 1)
  turns.unshift(turn)
}

document.addEventListener('keydown', (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return
  const target = event.target as HTMLElement
  if (document.querySelector('dialog[open]') || target.closest('textarea, select, [role="menu"], [contenteditable]'))
    return
  if (target.closest('input:not(.player-range)')) return
  // What has the focus is pressed by these itself.
  if ((event.key === ' ' || event.key === 'Enter') && target.closest('button, a, summary')) return
  if (turns[0]?.key(event)) event.preventDefault()
})
