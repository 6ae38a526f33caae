// Requests to the server: every one of the page except the picture of a poster.
//
// Rule: the server decides. Its answer becomes the item's facts, and a refusal carries its own sentence.
// Every address is relative to the page, which may lie below a prefix. Nothing is drawn or tried again here.

import { progressed } from './items.js'
import { language, speaks } from './texts.js'

export const BASE = new URL('.', document.baseURI)

// Unless the server advises less: a proxy before it may refuse larger bodies.
let chunk = 8 << 20
// A file that is not a video is refused by its first bytes. In a long body, the refusal could get lost
// in the reset of a connection that is still being written to.
const FIRST_CHUNK = 256 << 10
const TUS = '1.0.0'
// Long, because the last bytes of a chunk leave the browser's view before they leave a slow telephone.
const SILENCE_MS = 120_000
// A short request is answered at once, or the connection is dead.
const PATIENCE_MS = 15_000

export class Halted extends Error {}
export class ConnectionLost extends Error {}

/** An answer that is not a success. */
export class Refusal extends Error {
  constructor(xhr) {
    super(`HTTP ${xhr.status}`)
    const sentences = sentencesOf((xhr.responseText ?? '').trim())
    this.hasSentence = sentences !== null
    this.reason = sentences ?? { [language]: this.message }
    this.status = xhr.status
    this.offset = wholeNumber(xhr.getResponseHeader('Upload-Offset'))
    this.retryAfter = wholeNumber(xhr.getResponseHeader('Retry-After'))
  }

  get isGone() {
    return this.status === 404 || this.status === 410
  }

  get isTemporary() {
    return [409, 423].includes(this.status) || isPassing(this.status)
  }
}

function isPassing(status) {
  return [408, 425, 429].includes(status) || status >= 500
}

/** The server's sentence by language; null for a response of another program, such as a proxy in between. */
function sentencesOf(body) {
  try {
    const sentences = Object.entries(JSON.parse(body).messages).filter(([spoken]) => speaks(spoken))
    return sentences.length > 0 ? Object.fromEntries(sentences) : null
  } catch {
    // A refusal before the request is parsed comes as `code: sentence`, in one language.
    const match = /^[a-z_]+: (.+)$/s.exec(body)
    return match && { [language]: match[1] }
  }
}

function wholeNumber(value) {
  return /^\d+$/.test(value ?? '') ? Number(value) : null
}

/** One tus request. XMLHttpRequest, because fetch does not report how much of a body has been sent. */
function send(method, path, { headers = {}, body = null, signal, onProgress } = {}) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(new Halted())
      return
    }
    const xhr = new XMLHttpRequest()
    let watchdog
    const feed = () => {
      clearTimeout(watchdog)
      watchdog = setTimeout(() => xhr.abort(), SILENCE_MS)
    }
    const halt = () => xhr.abort()
    xhr.open(method, new URL(path, BASE))
    xhr.setRequestHeader('Tus-Resumable', TUS)
    xhr.setRequestHeader('Accept-Language', language)
    // A refusal comes with its sentence in every language, so that it can follow a switch.
    xhr.setRequestHeader('Accept', 'application/json')
    for (const [name, value] of Object.entries(headers)) xhr.setRequestHeader(name, value)
    xhr.upload.onprogress = (event) => {
      feed()
      onProgress?.(event.loaded)
    }
    xhr.onload = () => (xhr.status < 300 ? resolve(xhr) : reject(new Refusal(xhr)))
    xhr.onerror = () => reject(new ConnectionLost())
    xhr.onabort = () => reject(signal?.aborted ? new Halted() : new ConnectionLost())
    xhr.onloadend = () => {
      clearTimeout(watchdog)
      signal?.removeEventListener('abort', halt)
    }
    signal?.addEventListener('abort', halt)
    feed()
    xhr.send(body)
  })
}

function address(item) {
  return `files/${item.id}`
}

function metadata(name, value) {
  const utf8 = new TextEncoder().encode(value)
  return `${name} ${btoa(Array.from(utf8, (byte) => String.fromCharCode(byte)).join(''))}`
}

/** Create the upload; afterwards it has an id and no bytes. */
export async function create(item, signal) {
  const pairs = [metadata('filename', item.name)]
  if (item.file.type) pairs.push(metadata('filetype', item.file.type))
  const headers = { 'Upload-Length': item.size, 'Upload-Metadata': pairs.join(',') }
  const answer = await send('POST', 'files', { headers, signal })
  // Only the id counts: the rest of Location is the server's own address, perhaps without a proxy's prefix.
  item.id = answer.getResponseHeader('Location').split('/').pop()
  item.unsure = false
  learn(item, answer)
}

/** Get the number of bytes that the server has. */
export async function ask(item, signal) {
  learn(item, await send('HEAD', address(item), { signal }))
  item.unsure = false
}

/** Send the next chunk. It is empty when all bytes are there and only the completion is missing. */
export async function sendChunk(item, signal) {
  const start = item.offset
  const body = item.file.slice(start, start + (start === 0 ? Math.min(FIRST_CHUNK, chunk) : chunk))
  const onProgress = (loaded) => progressed(item, start + loaded)
  learn(item, await patch(item, start, { body, signal, onProgress }))
  if (item.offset <= start && !item.complete) throw new ConnectionLost()
}

function patch(item, offset, options) {
  const headers = { 'Content-Type': 'application/offset+octet-stream', 'Upload-Offset': offset }
  return send('PATCH', address(item), { headers, ...options })
}

function learn(item, answer) {
  obey(wholeNumber(answer.getResponseHeader('Tus-Max-Chunk-Size')))
  item.offset = wholeNumber(answer.getResponseHeader('Upload-Offset')) ?? 0
  item.sent = item.offset
  item.complete = answer.getResponseHeader('Upload-Task') !== null
}

/** HEAD has no body, so its refusal has no sentence; an empty PATCH is refused with one. */
export async function askWhy(item, refusal, signal) {
  try {
    await patch(item, 0, { signal })
  } catch (problem) {
    if (problem instanceof Refusal) return problem
  }
  return refusal
}

/** Remove the upload and its bytes from the server. */
export async function terminate(item) {
  await send('DELETE', address(item))
}

/**
 * The accepted files: `limit`, the most bytes of a file, null when the server does not say; and `extensions`, an empty
 * list when every file is accepted.
 */
export async function askAccepted() {
  const { tus, chunk_size: advised } = await api('GET', 'api/config')
  obey(advised)
  return { limit: tus.max_size, extensions: tus.accepted_extensions ?? [] }
}

/** Send chunks of the advised size from now on; they grow only with a reload. */
function obey(advised) {
  if (advised > 0) chunk = Math.min(chunk, advised)
}

/**
 * Call the documented API: its answer, with `ok` and the `language` of its sentences. Throws `ConnectionLost` when
 * no useful answer comes in time.
 */
export async function api(method, path) {
  const spoken = language
  const headers = { 'Accept-Language': spoken }
  const signal = AbortSignal.timeout?.(PATIENCE_MS)
  try {
    const response = await fetch(new URL(path, BASE), { method, headers, signal, cache: 'no-store' })
    if (!isPassing(response.status)) return { ...(await response.json()), ok: response.ok, language: spoken }
  } catch {
    // No connection, silence, or the page of a proxy.
  }
  throw new ConnectionLost()
}

/**
 * Ask who is signed in, sign in with `credential`, or sign out (`method` GET, POST, DELETE): the server's answer. Throws
 * the sentences of a refusal by language, as `reason`, and `ConnectionLost` when no useful answer comes in time.
 */
export async function session(method, credential = null) {
  const options = { method, cache: 'no-store', signal: AbortSignal.timeout?.(PATIENCE_MS) }
  if (credential !== null) {
    options.headers = { 'Content-Type': 'application/json' }
    options.body = JSON.stringify(credential.startsWith('vdk_') ? { key: credential } : { token: credential })
  }
  let response, body
  try {
    response = await fetch(new URL('api/session', BASE), options)
    body = await response.text()
    if (response.ok) return JSON.parse(body)
  } catch {
    // No connection, silence, or the page of a proxy.
    throw new ConnectionLost()
  }
  const reason = sentencesOf(body)
  if (reason === null) throw new ConnectionLost()
  throw Object.assign(new Error(`HTTP ${response.status}`), { reason })
}
