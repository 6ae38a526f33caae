// What a view shows when it has nothing to show: loading, empty, an error, missing.
//
// Rule: each says what to do next.

import type { ComponentChildren } from 'preact'
import { useEffect } from 'preact/hooks'

import { ConnectionLost, Refusal } from '../api/client'
import { href } from '../router'
import { sessionOver } from '../state/session'
import { reasonText, t } from '../text'
import { Button, LinkButton } from './button'
import { Icon, type IconName } from './icon'

export function Empty({
  icon,
  heading,
  children,
  actions,
}: {
  icon: IconName
  heading: string
  children?: ComponentChildren
  actions?: ComponentChildren
}) {
  return (
    <div class="empty">
      <Icon name={icon} class="in-circle" />
      <h2>{heading}</h2>
      {children && <p>{children}</p>}
      {actions && <div class="empty-actions">{actions}</div>}
    </div>
  )
}

/** Shown only when the answer takes long, by the style sheet: a quick one must not flicker. */
export function Loading() {
  return (
    <div class="loading" role="status">
      <span class="spinner" />
      <span class="unseen">{t('common.loading')}</span>
    </div>
  )
}

/** Why a view could not get what it shows. `again` asks once more. */
export function Failure({ error, again }: { error: unknown; again?: () => void }) {
  useEffect(() => {
    if (error instanceof Refusal && error.status === 401) sessionOver()
  }, [error])
  if (error instanceof Refusal && error.status === 404) return <Missing />
  if (error instanceof Refusal && error.status === 403) {
    return (
      <Empty icon="key" heading={t('common.forbidden')}>
        {reasonText(error.reason)}
        <br />
        {t('common.forbidden_hint')}
      </Empty>
    )
  }
  const words =
    error instanceof Refusal
      ? reasonText(error.reason)
      : error instanceof ConnectionLost
        ? t('common.no_answer')
        : String(error)
  return (
    <Empty
      icon="alert"
      heading={t('common.failed')}
      actions={
        again && (
          <Button icon="retry" onClick={again}>
            {t('common.try_again')}
          </Button>
        )
      }
    >
      {words}
    </Empty>
  )
}

export function Missing() {
  return (
    <Empty
      icon="search"
      heading={t('common.missing')}
      actions={<LinkButton to={href('')}>{t('common.home')}</LinkButton>}
    >
      {t('common.missing_hint')}
    </Empty>
  )
}
