// Addresses of results, as this page reaches them.

import { BASE } from './client'

/** The address below this page of a result's URL; null when there is none. */
export function mediaAddress(url: string | null | undefined): string | null {
  // The origin is the server's own view of its address, perhaps without a proxy's prefix. The query is the version.
  const path = /(?:media|files)\/[^?#]+(\?[^#]*)?$/.exec(url ?? '')?.[0]
  return path ? new URL(path, BASE).href : null
}
