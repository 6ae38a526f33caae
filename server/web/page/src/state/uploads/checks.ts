// What can be said of a file before a byte is sent.
//
// Rule: only what the server would refuse, too, by /api/config; and each refusal says what to do.

import type { Reason } from '../../api/client'
import type { Config } from '../../api/types'
import { bytesIn, listIn } from '../../format'
import { inEachBy } from '../../text'

const SPELLED: Record<string, string> = { webm: 'WebM' }

/** The name of a kind of files by its extension. */
export function kind(extension: string): string {
  return SPELLED[extension] ?? extension.toUpperCase()
}

/** Why a file cannot be uploaded; null when it can, as far as it is known here. */
export function check(file: { name: string; size: number }, config: Config | null): Reason | null {
  if (file.size === 0) return inEachBy('upload.empty', () => ({}))
  if (!config) return null
  const { accepted_extensions: accepted, max_size: most } = config.tus
  const extension = /\.([^.]+)$/.exec(file.name)?.[1]?.toLowerCase() ?? ''
  if (accepted && !accepted.includes(extension)) {
    const kinds = accepted.map(kind)
    return inEachBy(extension ? 'upload.wrong_type' : 'upload.no_type', (spoken) => ({
      type: kind(extension),
      types: listIn(kinds, spoken),
      best: accepted.includes('mp4') ? 'MP4' : (kinds[0] ?? ''),
    }))
  }
  if (most !== null && file.size > most) {
    return inEachBy('upload.too_large', (spoken) => ({
      size: bytesIn(file.size, spoken),
      limit: bytesIn(most, spoken),
    }))
  }
  return null
}

/** Whether a file of a folder is taken: hidden ones, and those of other kinds, are left out without a word. */
export function belongs(file: File, config: Config | null): boolean {
  if (file.name.startsWith('.')) return false
  const accepted = config?.tus.accepted_extensions
  const extension = /\.([^.]+)$/.exec(file.name)?.[1]?.toLowerCase() ?? ''
  return accepted ? accepted.includes(extension) : file.type.startsWith('video/')
}
