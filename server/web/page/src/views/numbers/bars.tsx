// Bars beside words: the most first.
//
// Rule: a bar is decoration; its number stands beside it.

import type { ComponentChildren } from 'preact'

export interface Bar {
  key: string
  label: ComponentChildren
  value: number
  words: string
}

export function Bars({ bars, tone, name }: { bars: readonly Bar[]; tone: 'accent' | 'bad'; name: string }) {
  const most = Math.max(1, ...bars.map(({ value }) => value))
  return (
    <ol class={`bars is-${tone}`} aria-label={name}>
      {bars.map(({ key, label, value, words }) => (
        <li key={key}>
          <span class="bars-label">{label}</span>
          <span class="bars-words">{words}</span>
          <span class="bars-track" aria-hidden="true">
            <span style={{ width: `${(100 * value) / most}%` }} />
          </span>
        </li>
      ))}
    </ol>
  )
}
