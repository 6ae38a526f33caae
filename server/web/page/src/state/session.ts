// Who is signed in, on a server with authentication.
//
// Rule: the server says in the page (`data-auth`) whether it needs a sign-in; without one, nothing here asks anything. The
// key or token is sent once and kept nowhere: from then on the browser has a cookie that no script can read.

import { computed, signal } from '@preact/signals'

import * as api from '../api'
import { ConnectionLost, type Reason, Refusal } from '../api/client'
import type { Scope } from '../api/types'
import { inEach } from '../text'
import { attempt } from './storage'

const AGAIN_MS = 4000
const OWNER_KEY = `videodock-owner:${new URL(document.baseURI).pathname}`

export interface Visitor {
  /** Whose videos these are; null on a server without authentication. */
  owner: string | null
  scopes: readonly Scope[]
}

/** `unknown` until the server has said who is signed in; `out` while somebody has to sign in; `in` otherwise. */
export type SessionState = 'unknown' | 'out' | 'in'

/** Whether the server needs a sign-in at all. */
export const isProtected = document.documentElement.dataset['auth'] === 'on'

const EVERYTHING: readonly Scope[] = ['upload', 'read', 'manage', 'admin']

export const sessionState = signal<SessionState>(isProtected ? 'unknown' : 'in')
export const visitor = signal<Visitor | null>(isProtected ? null : { owner: null, scopes: EVERYTHING })
/** Why somebody has to sign in (again), or why a sign-in was refused. */
export const problem = signal<Reason | null>(null)

/** The same as a signal. */
export const may = (scope: Scope) => computed(() => can(scope))

/** Whether the visitor may do something; an administrator may all. In a component it is drawn again after a change. */
export function can(scope: Scope): boolean {
  const scopes = visitor.value?.scopes ?? []
  return scopes.includes(scope) || scopes.includes('admin')
}

/** Whose uploads are continued here, also for an administrator, who is otherwise shown those of all. */
export function ofVisitor(): { owner?: string } {
  const { owner, scopes } = visitor.peek() ?? {}
  return owner && scopes?.includes('admin') ? { owner } : {}
}

type Change = (owner: string | null, isOther: boolean) => void
const changes = new Set<Change>()
/** The last change, for those who begin to listen after it. */
let before: Parameters<Change> | null = null

/** Call `change` with the owner after each sign-in, and with null after a sign-out. `isOther`: what the page shows is not theirs. */
export function onVisitor(change: Change): void {
  changes.add(change)
  if (before) change(...before)
}

function tell(...change: Parameters<Change>): void {
  before = change
  for (const one of changes) one(...change)
}

/** Ask who is signed in, until the server answers; then the page begins. */
export async function begin(): Promise<void> {
  if (!isProtected) {
    tell(null, false)
    return
  }
  addEventListener('storage', ({ key, newValue }) => {
    // The cookie is no longer this person's: nothing of theirs may stay on the screen.
    if (key === OWNER_KEY && visitor.value && newValue !== visitor.value.owner) location.reload()
  })
  while (sessionState.value !== 'in') {
    try {
      const session = await api.getSession()
      if (sessionState.peek() === 'in') return
      if (session.signed_in && session.owner !== null) open(session.owner, session.scopes)
      else close(null)
      return
    } catch {
      if (sessionState.peek() === 'unknown') close(inEach('sign_in.no_answer'))
    }
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS))
  }
}

/** Sign in; false when that was refused, and `problem` says why. */
export async function signIn(credential: string): Promise<boolean> {
  problem.value = null
  try {
    const session = await api.signIn(credential)
    open(session.owner ?? '', session.scopes)
    return true
  } catch (error) {
    problem.value = error instanceof Refusal ? error.reason : inEach('sign_in.no_answer')
    return false
  }
}

/** Sign out. Throws `ConnectionLost` when the server does not answer: then somebody is still signed in. */
export async function signOut(): Promise<void> {
  try {
    await api.signOut()
  } catch (error) {
    throw error instanceof Refusal ? new ConnectionLost() : error
  }
  tell(null, true)
  visitor.value = null
  rememberOwner(null)
  close(null)
}

/** The server no longer knows the sign-in: ask for it again, and lose nothing. False on a server that needs none. */
export function sessionOver(): boolean {
  if (isProtected && sessionState.value === 'in') close(inEach('sign_in.over'))
  return isProtected
}

function open(owner: string, scopes: readonly Scope[]): void {
  const isOther = owner !== (visitor.value?.owner ?? attempt(() => localStorage.getItem(OWNER_KEY)))
  problem.value = null
  visitor.value = { owner, scopes }
  sessionState.value = 'in'
  rememberOwner(owner)
  tell(owner, isOther)
}

function close(reason: Reason | null): void {
  problem.value = reason
  sessionState.value = 'out'
}

function rememberOwner(owner: string | null): void {
  attempt(() => (owner === null ? localStorage.removeItem(OWNER_KEY) : localStorage.setItem(OWNER_KEY, owner)))
}
