// The whole window takes files: dropped, on any view, and pasted.
//
// Rule: what is no file stays the browser's. What takes the files is loaded when there are some.

import { useEffect, useState } from 'preact/hooks'

import { go, path } from '../router'
import { sessionState } from '../state/session'
import { t } from '../text'
import { Icon } from './icon'

export function DropTarget() {
  const [isOver, setOver] = useState(false)
  useEffect(() => {
    const over = (event: DragEvent) => {
      if (!carriesFiles(event.dataTransfer)) return
      // Also without a sign-in: a dropped video would otherwise open in place of the page.
      event.preventDefault()
      if (event.dataTransfer) event.dataTransfer.dropEffect = sessionState.peek() === 'in' ? 'copy' : 'none'
      setOver(sessionState.peek() === 'in')
    }
    const leave = (event: DragEvent) => {
      if (event.relatedTarget === null) setOver(false)
    }
    const drop = (event: DragEvent) => {
      if (!carriesFiles(event.dataTransfer)) return
      event.preventDefault()
      setOver(false)
      if (event.dataTransfer) take(event.dataTransfer)
    }
    const paste = (event: ClipboardEvent) => {
      if (!carriesFiles(event.clipboardData)) return
      event.preventDefault()
      if (event.clipboardData) take(event.clipboardData)
    }
    document.addEventListener('dragover', over)
    document.addEventListener('dragleave', leave)
    document.addEventListener('drop', drop)
    document.addEventListener('paste', paste)
    return () => {
      document.removeEventListener('dragover', over)
      document.removeEventListener('dragleave', leave)
      document.removeEventListener('drop', drop)
      document.removeEventListener('paste', paste)
    }
  }, [])
  if (!isOver) return null
  return (
    <div class="drop-target">
      <p>
        <Icon name="upload" class="in-circle" />
        <span>{t('upload.drop')}</span>
      </p>
    </div>
  )
}

/** Loaded before there is anything to take: a transfer is empty once its event is over. */
const uploads = import('../state/uploads')
let loaded: Awaited<typeof uploads> | null = null
void uploads.then((module) => {
  loaded = module
})

function take(transfer: DataTransfer): void {
  if (sessionState.peek() !== 'in' || !loaded) return
  const { ofTransfer, takeIn } = loaded
  void ofTransfer(transfer).then(takeIn)
  if (path.peek() !== '') go('')
}

function carriesFiles(transfer: DataTransfer | null): boolean {
  return transfer?.types.includes('Files') ?? false
}
