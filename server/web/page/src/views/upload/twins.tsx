// The same file again: what is meant?
//
// Rule: nothing is sent before the answer. Escape sends nothing.

import { ago, percent } from '../../format'
import { Button } from '../../parts/button'
import { Dialog } from '../../parts/dialog'
import { adopt, begin, type Twin, twins } from '../../state/uploads'
import { t } from '../../text'

const MOST_NAMED = 5

export function Twins() {
  const all = twins.value
  if (all.length === 0) return null
  const close = () => {
    twins.value = []
  }
  const again = () => {
    begin(all.map(({ chosen }) => chosen))
    close()
  }
  const open = all.filter(({ of }) => of.kind === 'open')
  const goOn = () => {
    for (const { of, chosen } of open) if (of.kind === 'open') void adopt(of.upload, chosen)
    twins.value = all.filter(({ of }) => of.kind !== 'open')
  }
  const isOne = all.length === 1
  return (
    <Dialog
      heading={isOne ? t('upload.twin_heading') : t('upload.twins_heading')}
      onClose={close}
      buttons={
        <>
          <Button id="twin-skip" onClick={close}>
            {isOne ? t('upload.twin_skip') : t('upload.twins_skip')}
          </Button>
          <Button id="twin-again" look={open.length > 0 ? 'plain' : 'primary'} onClick={again}>
            {isOne ? t('upload.twin_again') : t('upload.twins_again')}
          </Button>
          {open.length > 0 && (
            <Button id="twin-continue" look="primary" onClick={goOn}>
              {t('upload.twin_continue')}
            </Button>
          )}
        </>
      }
    >
      {all.slice(0, MOST_NAMED).map((twin) => (
        <p key={twin.chosen.file.name}>{wordsOf(twin)}</p>
      ))}
      {all.length > MOST_NAMED && <p>…</p>}
    </Dialog>
  )
}

function wordsOf({ chosen, of }: Twin): string {
  const { name } = chosen.file
  switch (of.kind) {
    case 'here':
      return t('upload.twin_here', { name })
    case 'task':
      return t('upload.twin_task', { name, when: ago(of.task.created_at_utc) })
    case 'open':
      return t('upload.twin_open', { name, percent: percent(of.upload.size ? of.upload.offset / of.upload.size : 0) })
  }
}
