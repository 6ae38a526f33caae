// Upload one file with tus-js-client and print what happens, one JSON object a line.
//
// Options, as JSON in the first argument: endpoint, path, and optionally chunkSize, metadata, retryDelays,
// urlStorage (file that remembers upload URLs; a known file is resumed), abortAfterBytes (abort as soon as the
// server has accepted that many), abortOnFile (abort when this file appears),
// terminate (the abort removes the upload from the server), asStream (the client does not see how long it is),
// uploadDataDuringCreation, uploadLengthDeferred, overridePatchMethod, parallelUploads, metadataForPartialUploads,
// headers (of each request), uploadUrl (of an upload that exists).

import { createReadStream, existsSync } from 'node:fs'
import { PassThrough } from 'node:stream'

import tus from 'tus-js-client'

const given = JSON.parse(process.argv[2])

function say(event, facts = {}) {
  process.stdout.write(`${JSON.stringify({ event, ...facts })}\n`)
}

let aborting = false
const watch = given.abortOnFile ? setInterval(() => existsSync(given.abortOnFile) && abort(), 20) : undefined

function abort() {
  if (aborting) return
  aborting = true
  clearInterval(watch)
  upload.abort(given.terminate ?? false).then(
    () => say('aborted', { url: upload.url }),
    (error) => {
      say('error', { message: String(error.message ?? error) })
      process.exitCode = 1
    },
  )
}

const options = {
  endpoint: given.endpoint,
  metadata: given.metadata ?? {},
  headers: given.headers ?? {},
  uploadUrl: given.uploadUrl ?? null,
  retryDelays: given.retryDelays ?? null,
  uploadDataDuringCreation: given.uploadDataDuringCreation ?? false,
  uploadLengthDeferred: given.uploadLengthDeferred ?? false,
  overridePatchMethod: given.overridePatchMethod ?? false,
  parallelUploads: given.parallelUploads ?? 1,
  metadataForPartialUploads: given.metadataForPartialUploads ?? {},
  removeFingerprintOnSuccess: true,
  onUploadUrlAvailable: () => say('url', { url: upload.url }),
  onShouldRetry: (error, attempt) => {
    say('retry', { attempt, message: String(error.message) })
    return true
  },
  onAfterResponse: (request, response) =>
    say('response', {
      method: request.getMethod(),
      url: request.getURL(),
      status: response.getStatus(),
      offset: response.getHeader('Upload-Offset') ?? null,
      task: response.getHeader('Upload-Task') ?? null,
    }),
  onChunkComplete: (chunk, accepted, total) => {
    say('chunk', { chunk, accepted, total })
    if (given.abortAfterBytes && accepted >= given.abortAfterBytes) abort()
  },
  onSuccess: ({ lastResponse }) =>
    say('success', { url: upload.url, task: lastResponse?.getHeader('Upload-Task') ?? null }),
  onError: (error) => {
    say('error', { message: String(error.message ?? error) })
    process.exitCode = 1
  },
}
if (given.chunkSize) options.chunkSize = given.chunkSize
if (given.urlStorage) options.urlStorage = new tus.FileUrlStorage(given.urlStorage)

const file = createReadStream(given.path)
const upload = new tus.Upload(given.asStream ? file.pipe(new PassThrough()) : file, options)
if (given.urlStorage) {
  const [previous] = await upload.findPreviousUploads()
  if (previous) {
    say('previous', { url: previous.uploadUrl, parts: previous.parallelUploadUrls ?? null })
    upload.resumeFromPreviousUpload(previous)
  }
}
upload.start()
