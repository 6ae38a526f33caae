// A bar of progress: the browser's own element, so that it is one for screen readers, too.

export function Progress({
  value,
  label,
  tone = 'send',
}: {
  /** Between 0 and 1; null while nothing is known. */
  value: number | null
  label: string
  tone?: 'send' | 'work' | 'rest' | 'warn' | 'good'
}) {
  return (
    <progress class={`is-${tone}`} max={100} {...(value === null ? {} : { value: value * 100 })} aria-label={label} />
  )
}
