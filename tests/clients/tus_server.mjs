// @tus/server with @tus/file-store on a free port of loopback: a peer that the conformance suite is run against.
//
// The folder for its files is the option `folder`, as JSON in the first argument. Prints its URL when it listens.

import { createServer } from 'node:http'

import { FileStore } from '@tus/file-store'
import { Server } from '@tus/server'

const { folder } = JSON.parse(process.argv[2])

const server = new Server({
  path: '/files',
  maxSize: 10 * 1024 ** 3,
  datastore: new FileStore({ directory: folder, expirationPeriodInMilliseconds: 7 * 86_400_000 }),
})

// On Node 20 a client that leaves right after a GET makes `fetch`'s streams throw where nobody can catch it, which
// would end the process. That is Node's, not tus's: everything else would go down with it.
process.on('uncaughtException', (error) => {
  if (error.code !== 'ERR_INVALID_STATE') throw error
})

const listener = createServer((request, response) => server.handle(request, response))
listener.listen(0, '127.0.0.1', () => {
  process.stdout.write(`http://127.0.0.1:${listener.address().port}/files\n`)
})
