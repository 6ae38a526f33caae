// The task of an upload, whose id is the upload's: following it, cancelling it.
//
// Rule: the status that the server tells is the only one. A request that fails says nothing of the task, so it is
// asked again until the task is over or its item gone.

import { CANCELLED, DONE, WATCHING, items, sleep } from './items.js'
import { playable } from './player.js'
import { announce, enter, fail, render } from './rows.js'
import { api } from './server.js'
import { text, timespan } from './texts.js'

const POLL_MS = 1000
const POLL_AGAIN_MS = 4000

/** Follow a task to its end. */
export async function watch(item) {
  enter(item, WATCHING)
  for (;;) {
    let pace = POLL_MS
    try {
      const answer = await api('GET', `api/task/status/${item.id}`)
      if (judge(item, answer)) return
      render(item)
    } catch {
      pace = POLL_AGAIN_MS
    }
    await sleep(item, pace)
    if (!items.includes(item)) return
  }
}

/** Take over what the server says of a task; true when it is over. */
function judge(item, answer) {
  if (!answer.ok) {
    fail(item, answer.message)
    return true
  }
  const [file] = answer.files
  item.task = answer.status
  item.deleted = answer.removed
  item.percent = answer.progress
  item.step = answer.step
  item.secondsLeft = answer.eta_seconds
  item.setAside = answer.waiting ? answer.message : null
  const couldPlay = playable(item) !== null
  item.result = file
  if (answer.status === 'completed') enter(item, DONE)
  else if (answer.status === 'cancelled') enter(item, CANCELLED)
  else if (answer.status === 'error') fail(item, file?.error?.message ?? answer.message)
  else {
    if (!couldPlay && playable(item)) announce(item, text('can_play'))
    return false
  }
  return true
}

export async function cancel(item) {
  try {
    await api('POST', `api/task/cancel/${item.id}`)
  } catch {
    announce(item, text('lost', { time: timespan(POLL_AGAIN_MS / 1000) }))
  }
  // Cancelled, or over before that: the status tells.
  item.wake?.()
}
