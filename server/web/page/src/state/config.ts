// What the server accepts and advises, from /api/config.
//
// Rule: nothing waits for it: the server refuses what it does not accept.

import { signal } from '@preact/signals'

import { getConfig } from '../api'
import type { Config } from '../api/types'

/** Null until the server has answered. */
export const config = signal<Config | null>(null)

/** Ask for it, unless it is known. */
export async function loadConfig(): Promise<Config | null> {
  if (config.value) return config.value
  try {
    config.value = await getConfig()
  } catch {
    // The next view that needs it asks again.
  }
  return config.value
}
