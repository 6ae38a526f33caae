// The task of an upload, whose id is the upload's: following it, cancelling it.
//
// Rule: only the server's status counts. A request that fails says nothing about the task, so it is repeated until
// the task is over or its item gone. Between polls a live stream brings the status, where there is one.

import { CANCELLED, DONE, FAILED, WATCHING, items, sleep } from './items.js'
import { LATER, OVER, follow } from './live.js'
import { playable } from './player.js'
import { announce, enter, fail, render } from './rows.js'
import { ConnectionLost, api } from './server.js'
import { language, text, timespan } from './texts.js'

const POLL_MS = 1000
const POLL_AGAIN_MS = 4000

/** Follow a task to its end. */
export async function watch(item) {
  item.reason = null
  enter(item, WATCHING)
  for (;;) {
    const answer = await askStatus(item)
    if (!items.includes(item)) return
    const wasLost = item.lost
    item.lost = answer === null
    if (answer && judge(item, answer)) return
    item.retryAt = Date.now() + POLL_AGAIN_MS
    // Announced once when the server is away, and once when it is back.
    if (item.lost !== wasLost) enter(item, WATCHING)
    else render(item)
    const how = answer ? await follow(item, (status) => hear(item, status)) : LATER
    if (how === OVER || !items.includes(item)) return
    if (how === LATER) await sleep(item, answer ? POLL_MS : POLL_AGAIN_MS)
    if (!items.includes(item)) return
  }
}

/** Take over a status of the live stream; true when the task is over. */
function hear(item, answer) {
  if (judge(item, answer)) return true
  render(item)
  return false
}

/** The task's status from the server; null when there is no answer. */
async function askStatus(item) {
  try {
    return await api('GET', `api/task/status/${item.id}`)
  } catch (problem) {
    if (problem instanceof ConnectionLost) return null
    throw problem
  }
}

/** Take over the server's status of a task; true when it is over. */
function judge(item, answer) {
  if (answer.ok) learn(item, answer)
  const reason = whyFailed(answer)
  if (reason) fail(item, reason)
  else if (answer.status === 'completed') enter(item, DONE)
  else if (answer.status === 'cancelled') enter(item, CANCELLED)
  else return false
  return true
}

function learn(item, answer) {
  const couldPlay = playable(item) !== null
  item.task = answer.status
  item.deleted = answer.removed
  item.percent = answer.progress
  item.step = answer.step
  item.secondsLeft = answer.eta_seconds
  item.setAside = answer.waiting ? answer.message : null
  item.result = answer.files[0]
  if (!couldPlay && playable(item) && item.task === 'processing') announce(item, text('can_play'))
}

/** Why a task failed, in the language of the answer; null when it did not. */
function whyFailed(answer) {
  if (!answer.ok) return { [answer.language]: answer.message }
  if (answer.status !== 'error') return null
  return { [answer.language]: answer.files[0]?.error?.message ?? answer.message }
}

/** After a switch of language, get the reason of a task's failure, or of its wait, in the new one. */
export async function askAgain(item) {
  if (item.state === WATCHING) item.wake?.()
  while (item.state === FAILED && item.complete && !(language in item.reason) && items.includes(item)) {
    const answer = await askStatus(item)
    if (answer) item.reason = { ...item.reason, ...(whyFailed(answer) ?? { [answer.language]: '' }) }
    else await sleep(item, POLL_AGAIN_MS)
    render(item)
  }
}

export async function cancel(item) {
  try {
    await api('POST', `api/task/cancel/${item.id}`)
  } catch {
    announce(item, text('lost', { time: timespan(POLL_AGAIN_MS / 1000) }))
  }
  // Cancelled, or over before that: the status shows which.
  item.wake?.()
}
