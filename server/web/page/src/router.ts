// Which view the address names, and going to another one without loading the page again.
//
// Rule: every link is an `<a>` with an address of its own, relative to the base. So it opens in a new tab, and works below
// a prefix.

import { computed, signal } from '@preact/signals'

import { BASE } from './api/client'

/** The path below the base, without a slash at its ends: `''`, `videos`, `v/<id>`. */
export const path = signal(current())
/** The query of the address; a view keeps in it what a reload must not lose. */
export const query = signal(new URLSearchParams(location.search))

/** The parts of the path. */
export const segments = computed(() => path.value.split('/'))

/** The address of a path below the base, for an `<a>`. */
export function href(to: string): string {
  return BASE.pathname + to
}

/** Go to a path below the base. With `replace`, the way back does not lead to the view of now. */
export function go(to: string, { replace = false } = {}): void {
  history[replace ? 'replaceState' : 'pushState'](null, '', href(to))
  arrive()
  if (!replace) scrollTo(0, 0)
}

/** Change values of the query, and nothing else; null takes one away. */
export function setQuery(values: Record<string, string | null>): void {
  const next = new URLSearchParams(query.peek())
  for (const [name, value] of Object.entries(values)) {
    if (value === null || value === '') next.delete(name)
    else next.set(name, value)
  }
  go(`${path.peek()}${next.size > 0 ? `?${next}` : ''}`, { replace: true })
}

function current(): string {
  const below = location.pathname.startsWith(BASE.pathname) ? location.pathname.slice(BASE.pathname.length) : ''
  return decodeURI(below).replace(/^\/+|\/+$/g, '')
}

function arrive(): void {
  path.value = current()
  query.value = new URLSearchParams(location.search)
}

addEventListener('popstate', arrive)

// A plain press on a link to another view; all other presses are the browser's.
document.addEventListener('click', (event) => {
  if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey)
    return
  const link = (event.target as Element).closest?.('a')
  if (!link || link.target || link.hasAttribute('download') || link.dataset['plain'] !== undefined) return
  const url = new URL(link.href)
  if (url.origin !== BASE.origin || !url.pathname.startsWith(BASE.pathname)) return
  if (/^(api|files|media|docs|openapi\.json)(\/|$)/.test(url.pathname.slice(BASE.pathname.length))) return
  event.preventDefault()
  go(url.pathname.slice(BASE.pathname.length) + url.search)
})
