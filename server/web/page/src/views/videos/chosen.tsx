// What is done with all selected videos at once.

import { useEffect } from 'preact/hooks'

import { count } from '../../format'
import { Button } from '../../parts/button'
import {
  bestDownload,
  canRetry,
  copyLinks,
  deleteVideos,
  downloadVideos,
  known,
  retryVideos,
} from '../../state/actions'
import { selectAll, selected, selectNone } from '../../state/selection'
import { may } from '../../state/session'
import { t } from '../../text'

export function Chosen() {
  const ids = selected.value
  useKeys()
  if (ids.length === 0) return null
  const chosen = known(ids)
  const failed = chosen.filter(canRetry)
  const files = chosen.filter((task) => task.files.some(bestDownload))
  return (
    <section class="chosen" aria-label={t('videos.selected', { n: count(ids.length) })}>
      <Button icon="cross" look="quiet" label={t('videos.select_none')} onClick={selectNone} />
      <p role="status">{t('videos.selected', { n: count(ids.length) })}</p>
      <Button look="quiet" class="chosen-all" onClick={selectAll}>
        {t('videos.select_all')}
      </Button>
      <div class="chosen-actions">
        <Action icon="link" id="copy-links" words={t('videos.copy_links')} act={() => void copyLinks(ids)} />
        {files.length > 0 && (
          <Action icon="download" id="download" words={t('videos.download')} act={() => void downloadVideos(files)} />
        )}
        {may('manage') && failed.length > 0 && (
          <Action icon="retry" id="retry" words={t('videos.retry')} act={() => void retryVideos(failed)} />
        )}
        {may('manage') && <Action icon="bin" id="delete" words={t('videos.delete')} act={() => remove(ids)} />}
      </div>
    </section>
  )
}

function Action({
  icon,
  id,
  words,
  act,
}: {
  icon: 'link' | 'download' | 'retry' | 'bin'
  id: string
  words: string
  act: () => void
}) {
  return (
    <Button icon={icon} class={`chosen-${id}`} title={words} onClick={act}>
      {words}
    </Button>
  )
}

function remove(ids: readonly string[]): void {
  deleteVideos(known(ids))
  selectNone()
}

/** Ctrl+A selects all, Escape none, and Delete deletes, where the keys mean nothing else. */
function useKeys(): void {
  useEffect(() => {
    const act = (event: KeyboardEvent) => {
      const target = event.target as HTMLElement
      if (event.defaultPrevented || target.closest('input:not([type="checkbox"]), textarea, select, dialog, .menu'))
        return
      if (event.key === 'a' && (event.ctrlKey || event.metaKey)) selectAll()
      else if (event.key === 'Escape' && selected.peek().length > 0) selectNone()
      else if (event.key === 'Delete' && may('manage') && selected.peek().length > 0) remove(selected.peek())
      else return
      event.preventDefault()
    }
    document.addEventListener('keydown', act)
    return () => {
      document.removeEventListener('keydown', act)
      selectNone()
    }
  }, [])
}
