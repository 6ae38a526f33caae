// What the browser stores may be refused, as in some private windows.
//
// Rule: everything works without it.

/** What `action` returns, or null when the browser refuses. */
export function attempt<T>(action: () => T): T | null {
  try {
    return action()
  } catch {
    return null
  }
}
