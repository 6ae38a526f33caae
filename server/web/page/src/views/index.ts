// Every view of the page, by its address; each is loaded when it is shown for the first time.
//
// Rule: a new view is a folder beside this file with a default export, a line here, a path in server/web/pages.py, and
// a room in each file of text/.

import type { ComponentType } from 'preact'

export interface View {
  /** Whether the path, in its parts, is this view's. */
  matches: (parts: readonly string[]) => boolean
  load: () => Promise<{ default: ComponentType }>
  /** Shown without header and sign-in: for people without an account, and inside other pages. */
  isBare?: boolean
}

const only = (name: string) => (parts: readonly string[]) => parts.length === 1 && parts[0] === name
const below = (name: string) => (parts: readonly string[]) => parts.length === 2 && parts[0] === name

export const VIEWS: readonly View[] = [
  { matches: only(''), load: () => import('./upload') },
  { matches: only('videos'), load: () => import('./videos') },
  { matches: only('numbers'), load: () => import('./numbers') },
  { matches: below('v'), load: () => import('./video') },
  { matches: (parts) => parts[0] === 'admin' && parts.length <= 2, load: () => import('./admin') },
  { matches: below('s'), load: () => import('./shared'), isBare: true },
  { matches: below('embed'), load: () => import('./shared'), isBare: true },
]
