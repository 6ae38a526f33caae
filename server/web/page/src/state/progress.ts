// How far the uploads of this page are, for the shell, which is there before the uploads are loaded.

import { signal } from '@preact/signals'

/** Between 0 and 1; null while nothing is sent. */
export const uploadShare = signal<number | null>(null)
