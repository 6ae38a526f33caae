// Whether the list is a grid or rows; remembered in this browser.

import { signal } from '@preact/signals'

import { attempt } from '../../state/storage'

export type Look = 'grid' | 'list'

const KEY = 'videodock-look'

export const look = signal<Look>(attempt(() => localStorage.getItem(KEY)) === 'list' ? 'list' : 'grid')

export function setLook(chosen: Look): void {
  look.value = chosen
  attempt(() => localStorage.setItem(KEY, chosen))
}
