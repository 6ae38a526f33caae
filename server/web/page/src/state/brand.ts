// The operator's brand, as the server has written it into the document.
//
// Rule: it is there before the first paint, so nothing changes place. Without a setting it is our own.

import { href } from '../router'

interface Brand {
  name: string
  /** The address of the logo, relative to the page's base. */
  logo: string | null
  /** Width by height of the logo. */
  ratio: number
  terms_url: string | null
  privacy_url: string | null
}

const OURS: Brand = { name: 'Videodock', logo: null, ratio: 1, terms_url: null, privacy_url: null }

export const brand: Brand = { ...OURS, ...JSON.parse(document.documentElement.dataset.brand ?? '{}') }

/** The absolute address of the logo. */
export const logo = brand.logo && href(brand.logo)
