// Sending videos, and the newest ones.

import { Icon } from '../../parts/icon'
import { t } from '../../text'

export default function Upload() {
  return (
    <section class="zone" id="zone" aria-labelledby="heading">
      <Icon name="upload" class="in-circle" />
      <h1 id="heading">{t('upload.heading')}</h1>
      <p class="choose">
        <button type="button" id="choose" class="button is-primary">
          {t('upload.choose')}
        </button>
        <span class="for-mouse">{t('upload.or_drop')}</span>
      </p>
    </section>
  )
}
