// Signing in and out, on a server with authentication.
//
// Rule: the server says in the page (`data-auth`) whether it needs a sign-in; without one, nothing here asks anything.
// The key or token is sent once and kept nowhere: from then on the browser has a cookie that no script can read.

import { ConnectionLost, session } from './server.js'
import { inEach, reasonText, text } from './texts.js'

const AGAIN_MS = 4000
const SURE_MS = 4000

const root = document.documentElement
// The form is on the page only where it is needed: nothing may offer to fill it in elsewhere.
if (isProtected()) {
  document.querySelector('main').prepend(document.querySelector('#sign-in-template').content.cloneNode(true))
}
const part = {
  sign_in: document.querySelector('#sign-in'),
  form: document.querySelector('#sign-in-form'),
  credential: document.querySelector('#credential'),
  problem: document.querySelector('#sign-in-problem'),
  button: document.querySelector('#sign-in-button'),
  who: document.querySelector('#who'),
  owner: document.querySelector('#owner'),
  sign_out: document.querySelector('#sign-out'),
}

// `on` until somebody has signed in, then `in`; undefined on a server that needs no sign-in.
function state() {
  return root.dataset.auth
}

// What is wrong with the sign-in: its sentence by language, or null.
let problem = null
let isWrong = false // what was entered was refused
let isBusy = false
let isAsked = false // whether to sign out in spite of unfinished uploads
let opened = () => {}

/** Whether the server needs a sign-in at all. */
export function isProtected() {
  return state() !== undefined
}

/** Whether somebody has to sign in before anything can be uploaded. */
export function isClosed() {
  return state() === 'on'
}

/** Show the form because the server no longer knows the sign-in; false on a server that needs none. */
export function sessionOver() {
  if (state() === 'in') close(inEach('session_over'))
  return isProtected()
}

/** Let `onOpen` know each sign-in with its owner, also one that lasts from before. */
export async function openAfterSignIn(onOpen) {
  opened = onOpen
  for (;;) {
    try {
      const answer = await session('GET')
      if (state() === 'in') return
      if (answer.signed_in) open(answer)
      else close(null)
      return
    } catch {
      if (state() === 'in') return
      if (part.sign_in.hidden) close(inEach('session_unknown'))
    }
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS))
  }
}

/** Sign out; true when that is done. With `isRisky` it asks first, on the button; `warn` gets the key of a text. */
export async function signOut(isRisky, warn) {
  if (isRisky && !isAsked) {
    ask(true)
    setTimeout(ask, SURE_MS, false)
    warn('sign_out_question')
    return false
  }
  ask(false)
  try {
    await session('DELETE')
  } catch {
    warn('sign_out_lost')
    return false
  }
  close(null)
  return true
}

function ask(isNow) {
  isAsked = isNow
  renderAccess()
}

/** Sign in with what is in the form. */
export async function signIn() {
  if (isBusy) return
  const credential = part.credential.value.trim()
  if (credential === '') {
    refuse(inEach('credential_missing'))
    return
  }
  isBusy = true
  problem = null
  isWrong = false
  renderAccess()
  try {
    const answer = await session('POST', credential)
    isBusy = false
    open(answer)
  } catch (refusal) {
    isBusy = false
    refuse(refusal instanceof ConnectionLost ? inEach('session_unknown') : refusal.reason)
  }
}

function refuse(reason) {
  problem = reason
  isWrong = true
  renderAccess()
  part.credential.focus()
  part.credential.select()
}

function open({ owner }) {
  root.dataset.auth = 'in'
  problem = null
  part.credential.value = ''
  part.owner.textContent = owner
  part.owner.title = owner
  part.sign_in.hidden = true
  renderAccess()
  opened(owner)
}

function close(reason) {
  root.dataset.auth = 'on'
  problem = reason
  isWrong = false
  part.sign_in.hidden = false
  renderAccess()
  part.credential.focus()
}

/** The texts of the form and of the header, in the current language. */
export function renderAccess() {
  if (!isProtected()) return
  const isOpen = state() === 'in'
  part.who.hidden = !isOpen
  part.sign_out.hidden = !isOpen
  part.sign_out.textContent = text(isAsked ? 'sign_out_sure' : 'sign_out')
  part.sign_out.classList.toggle('is-danger', isAsked)
  part.button.textContent = text(isBusy ? 'signing_in' : 'sign_in')
  part.form.setAttribute('aria-busy', isBusy)
  part.problem.textContent = reasonText(problem)
  part.credential.setAttribute('aria-invalid', isWrong)
}
