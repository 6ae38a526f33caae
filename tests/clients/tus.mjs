// Upload one file with tus-js-client and print what happens, one JSON object a line.
//
// Options, as JSON in the first argument: endpoint, path, and optionally chunkSize, metadata, retryDelays,
// urlStorage (file that remembers upload URLs; a known file is resumed), abortAfterBytes (abort as soon as the
// server has accepted that many), uploadDataDuringCreation.

import { createReadStream } from 'node:fs'

import tus from 'tus-js-client'

const given = JSON.parse(process.argv[2])

function say(event, facts = {}) {
  process.stdout.write(`${JSON.stringify({ event, ...facts })}\n`)
}

const options = {
  endpoint: given.endpoint,
  metadata: given.metadata ?? {},
  retryDelays: given.retryDelays ?? null,
  uploadDataDuringCreation: given.uploadDataDuringCreation ?? false,
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
    if (given.abortAfterBytes && accepted >= given.abortAfterBytes) {
      upload.abort().then(() => say('aborted', { url: upload.url }))
    }
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

const upload = new tus.Upload(createReadStream(given.path), options)
if (given.urlStorage) {
  const [previous] = await upload.findPreviousUploads()
  if (previous) {
    say('previous', { url: previous.uploadUrl })
    upload.resumeFromPreviousUpload(previous)
  }
}
upload.start()
