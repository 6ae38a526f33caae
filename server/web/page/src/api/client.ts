// Requests to the server's documented HTTP API, and what can come of one.
//
// Rule: every address is relative to the page's base, which may lie below a prefix. Nothing is tried again here, and
// nothing is drawn.

import { type Language, language, speaks } from '../state/language'

/** The address of the server as this page knows it; it ends with a slash. */
export const BASE = new URL(document.baseURI)

/** A short request is answered at once, or the connection is dead. */
const PATIENCE_MS = 15_000

/** The sentences of a refusal, by language. */
export type Reason = Partial<Record<Language, string>>

/** No useful answer: no connection, silence, or the page of a proxy in between. */
export class ConnectionLost extends Error {
  override name = 'ConnectionLost'
}

/** The server's own refusal. */
export class Refusal extends Error {
  override name = 'Refusal'

  constructor(
    readonly status: number,
    readonly code: string,
    /** Its sentence, in the languages in which the server has sent it. */
    readonly reason: Reason,
    /** Seconds after which it may be tried again; null when the server does not say. */
    readonly retryAfter: number | null = null,
  ) {
    super(`HTTP ${status}: ${code}`)
  }
}

export interface Options {
  /** Values that are undefined are left out; an array becomes one value with commas. */
  query?: Record<string, string | number | boolean | readonly string[] | undefined>
  /** Sent as JSON; a Blob as it is, with its own type. */
  body?: unknown
  signal?: AbortSignal
  headers?: Record<string, string>
  /** Seconds to wait for the answer, where the server needs more than others; a Blob has no bound without it. */
  patience?: number
}

/** The absolute address of a path of the API. */
export function address(path: string, query: Options['query'] = {}): URL {
  const url = new URL(path, BASE)
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== '') url.searchParams.set(name, String(value))
  }
  return url
}

/**
 * Ask the API; the answer's JSON. Throws `Refusal` with the server's sentences, and `ConnectionLost` when no useful answer
 * comes in time. What a caller has aborted throws `ConnectionLost`, too.
 */
export async function ask<T>(method: string, path: string, options: Options = {}): Promise<T> {
  const spoken = language.value
  const headers: Record<string, string> = { Accept: 'application/json', 'Accept-Language': spoken, ...options.headers }
  // A change is made also when the window is closed meanwhile; browsers allow that for small bodies alone.
  const keepalive = method !== 'GET' && !(options.body instanceof Blob)
  const init: RequestInit = { method, headers, cache: 'no-store', keepalive, signal: withPatience(options) }
  if (options.body instanceof Blob) {
    headers['Content-Type'] = options.body.type
    init.body = options.body
  } else if (options.body !== undefined) {
    headers['Content-Type'] = 'application/json'
    init.body = JSON.stringify(options.body)
  }
  let response: Response
  let text: string
  try {
    response = await fetch(address(path, options.query), init)
    text = await response.text()
  } catch {
    throw new ConnectionLost()
  }
  const content = parse(text)
  if (response.ok && (content !== null || text === '')) return content as T
  throw refusalOf(response, content, spoken)
}

/** The server's own refusal in an answer; `ConnectionLost` when another program has answered. */
function refusalOf(response: Response, content: unknown, spoken: Language): Error {
  const { code, message, messages } = (content ?? {}) as { code?: string; message?: string; messages?: Reason }
  const reason = messages ? sentences(messages) : message ? { [spoken]: message } : null
  if (!reason) return new ConnectionLost()
  return new Refusal(response.status, code ?? '', reason, seconds(response.headers.get('Retry-After')))
}

/** The sentences in the languages that this page speaks; null when there is none. */
export function sentences(messages: Record<string, string>): Reason | null {
  const found = Object.entries(messages).filter(([spoken]) => speaks(spoken))
  return found.length > 0 ? Object.fromEntries(found) : null
}

/** Whether a repetition may succeed, because the reason of the refusal passes by itself. */
export function isPassing(status: number): boolean {
  return [408, 425, 429].includes(status) || status >= 500
}

export function seconds(value: string | null | undefined): number | null {
  return value && /^\d+$/.test(value) ? Number(value) : null
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

function withPatience({ signal, body, patience: seconds }: Options): AbortSignal | null {
  // How long a file travels is a matter of its size and of the network; the person sees it go, and may leave.
  if (body instanceof Blob && seconds === undefined) return signal ?? null
  const patience = new AbortController()
  const timer = setTimeout(() => patience.abort(), seconds ? seconds * 1000 : PATIENCE_MS)
  signal?.addEventListener('abort', () => patience.abort(), { once: true })
  if (signal?.aborted) patience.abort()
  patience.signal.addEventListener('abort', () => clearTimeout(timer), { once: true })
  return patience.signal
}
