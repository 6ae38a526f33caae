// The operator's own links: terms and privacy. Nothing without them.

import { brand } from '../state/brand'
import { t } from '../text'

export function BrandLinks() {
  return (
    <>
      {brand.terms_url && (
        <a href={brand.terms_url} rel="noopener">
          {t('brand.terms')}
        </a>
      )}
      {brand.privacy_url && (
        <a href={brand.privacy_url} rel="noopener">
          {t('brand.privacy')}
        </a>
      )}
    </>
  )
}

export function Foot() {
  if (!brand.terms_url && !brand.privacy_url) return null
  return (
    <footer class="foot">
      <BrandLinks />
    </footer>
  )
}
