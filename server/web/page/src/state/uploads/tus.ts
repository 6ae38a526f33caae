// The bytes of one file, sent by tus-js-client; and what that client cannot do.
//
// Rule: one attempt, from the offset that the server has. It resolves when all bytes are there and the task exists, and
// rejects with what stopped it; whether, when and how it is tried again is decided in queue.ts.
// docs/decisions/0025 says which differences are ours, and why.

import { DetailedError, type HttpRequest, type HttpResponse, Upload } from 'tus-js-client'

import { address, BASE, ConnectionLost, isPassing, type Reason, seconds, sentences } from '../../api/client'
import { language } from '../language'

/** Unless the server advises less: a proxy before it may refuse larger bodies. */
let chunk = 8 << 20
/**
 * A file that is not a video is refused by its first bytes. In a long body, the refusal could get lost in the reset of a
 * connection that is still being written to.
 */
const FIRST_CHUNK = 256 << 10
/** Long, because the last bytes of a chunk leave the browser's view before they leave a slow telephone. */
const SILENCE_MS = 120_000
const PATIENCE_MS = 15_000
const TUS = { 'Tus-Resumable': '1.0.0' }

/** What a tus server answers that is not a success. */
export class Refused extends Error {
  override name = 'Refused'

  constructor(
    readonly status: number,
    /** The server's own sentences; null when another program, such as a proxy, has answered. */
    readonly reason: Reason | null,
    /** The offset that the server has, where it says so. */
    readonly offset: number | null,
    readonly retryAfter: number | null,
  ) {
    super(`HTTP ${status}`)
  }

  /** The server does not know the upload (any more). */
  get isGone(): boolean {
    return this.status === 404 || this.status === 410
  }

  /** It passes by itself: the server still reads our own last request, or is busy. */
  get isPassing(): boolean {
    return this.status === 409 || this.status === 423 || isPassing(this.status)
  }
}

/** Send chunks of at most the advised size from now on; they grow only with a reload. */
export function obey(advised: number | null | undefined): void {
  if (advised && advised > 0) chunk = Math.min(chunk, advised)
}

export interface Attempt {
  file: File
  name: string
  /** The last segment of the upload's address; null to create it. */
  segment: string | null
  signal: AbortSignal
  /** The upload has been created. */
  created: (segment: string) => void
  /** So many bytes have left the browser, of which the server has `offset`. */
  moved: (sent: number, offset: number) => void
}

/** One attempt. Resolves at the end of the upload; rejects with `Refused` or `ConnectionLost`. An abort never settles it. */
export function send(attempt: Attempt): Promise<void> {
  const { file, segment, signal } = attempt
  return new Promise((resolve, reject) => {
    let offset = 0
    let watchdog: ReturnType<typeof setTimeout>
    const feed = () => {
      clearTimeout(watchdog)
      watchdog = setTimeout(() => {
        void upload.abort()
        reject(new ConnectionLost())
      }, SILENCE_MS)
    }
    const end = () => {
      clearTimeout(watchdog)
      signal.removeEventListener('abort', halt)
    }
    const halt = () => {
      end()
      void upload.abort()
    }
    const upload = new Upload(file, {
      // With an endpoint, the client would create a new upload after every refused HEAD, also after a 401 or 429.
      ...(segment === null ? { endpoint: address('files').href } : { uploadUrl: place(segment) }),
      metadata: { filename: attempt.name, ...(file.type && { filetype: file.type }) },
      chunkSize: Math.min(FIRST_CHUNK, chunk),
      // It knows no Retry-After, and gives up after the last delay: queue.ts does neither.
      retryDelays: null,
      // What is remembered, and the file with it, is in memory.ts.
      storeFingerprintForResuming: false,
      fingerprint: async () => attempt.name,
      onBeforeRequest: (request: HttpRequest) => {
        feed()
        // A refusal comes with its sentence in every language, so that it can follow a switch.
        request.setHeader('Accept', 'application/json')
        request.setHeader('Accept-Language', language.peek())
        if (request.getMethod() === 'PATCH') offset = Number(request.getHeader('Upload-Offset'))
      },
      onAfterResponse: (_: HttpRequest, response: HttpResponse) => {
        feed()
        obey(seconds(response.getHeader('Tus-Max-Chunk-Size')))
        const told = seconds(response.getHeader('Upload-Offset'))
        if (told !== null && response.getStatus() < 300) {
          offset = told
          attempt.moved(told, told)
        }
        // The first bytes have been judged.
        upload.options.chunkSize = offset > 0 ? chunk : Math.min(FIRST_CHUNK, chunk)
      },
      onUploadUrlAvailable: () => {
        // Only the last segment counts: the rest of Location is the server's own address, perhaps without a prefix.
        const made = upload.url?.split('/').pop() ?? ''
        upload.url = place(made)
        if (segment === null) attempt.created(made)
      },
      onProgress: (sent) => {
        feed()
        attempt.moved(sent, offset)
      },
      onSuccess: ({ lastResponse }) => {
        end()
        // All bytes are there, but perhaps not the task: an empty PATCH asks for it.
        if (lastResponse.getHeader('Upload-Task') || !upload.url) resolve()
        else patch(upload.url, file.size).then(() => resolve(), reject)
      },
      onError: (error) => {
        end()
        reject(error instanceof DetailedError ? problemOf(error) : new ConnectionLost())
      },
    })
    if (signal.aborted) return
    signal.addEventListener('abort', halt)
    feed()
    upload.start()
  })
}

/** What the server has of an upload: the offset, and whether it is a task already. Throws as `send`. */
export async function look(segment: string): Promise<{ offset: number; isTask: boolean }> {
  const response = await request('HEAD', place(segment))
  const offset = seconds(response.headers.get('Upload-Offset')) ?? 0
  return { offset, isTask: response.headers.get('Upload-Task') !== null }
}

/** Remove an upload and its bytes from the server. Throws as `send`. */
export async function terminate(segment: string): Promise<void> {
  await request('DELETE', place(segment), {}, true)
}

/** HEAD has no body, so its refusal has no sentence; an empty PATCH is refused with one. */
export async function askWhy(segment: string, refused: Refused): Promise<Refused> {
  try {
    await patch(place(segment), 0)
  } catch (problem) {
    if (problem instanceof Refused) return problem
  }
  return refused
}

function patch(url: string, offset: number): Promise<Response> {
  return request('PATCH', url, { 'Upload-Offset': String(offset), 'Content-Type': 'application/offset+octet-stream' })
}

async function request(
  method: string,
  url: string,
  more: Record<string, string> = {},
  keepalive = false,
): Promise<Response> {
  const headers = { ...TUS, Accept: 'application/json', 'Accept-Language': language.peek(), ...more }
  let response: Response
  let text: string
  try {
    response = await fetch(url, { method, headers, keepalive, signal: AbortSignal.timeout(PATIENCE_MS) })
    text = await response.text()
  } catch {
    throw new ConnectionLost()
  }
  obey(seconds(response.headers.get('Tus-Max-Chunk-Size')))
  if (response.ok) return response
  throw refused(response.status, text, (name) => response.headers.get(name))
}

function problemOf({ originalResponse }: DetailedError): Refused | ConnectionLost {
  if (!originalResponse || originalResponse.getStatus() === 0) return new ConnectionLost()
  const header = (name: string) => originalResponse.getHeader(name) ?? null
  return refused(originalResponse.getStatus(), originalResponse.getBody(), header)
}

function refused(status: number, body: string, header: (name: string) => string | null): Refused {
  return new Refused(status, sentencesOf(body), seconds(header('Upload-Offset')), seconds(header('Retry-After')))
}

function sentencesOf(body: string): Reason | null {
  try {
    return sentences(JSON.parse(body).messages)
  } catch {
    // A refusal before the request is parsed comes as `code: sentence`, in one language.
    const found = /^[a-z_]+: (.+)$/s.exec(body.trim())
    return found?.[1] ? { [language.peek()]: found[1] } : null
  }
}

function place(segment: string): string {
  return new URL(`files/${segment}`, BASE).href
}
