// Serves the page while somebody works on it: built again after each change, before a running server.
//
// Rule: this is for work on the page only. Everything that is no file of the page goes to the server at VIDEODOCK_URL
// as it came, so that its answers, cookies and events are those of the server.

import { createServer, request } from 'node:http'

import { context } from 'esbuild'

import { html, OPTIONS } from './build.mjs'

const SERVER = new URL(process.env.VIDEODOCK_URL ?? 'http://127.0.0.1:8000')
const PORT = Number(process.env.PORT ?? 5173)
const TYPES = { js: 'text/javascript', css: 'text/css', map: 'application/json' }
/** Paths of the server; all others are views of the page. */
const OF_SERVER = /^\/(api|files|media|metrics|healthz|readyz|docs|openapi\.json)(\/|$)/

async function serve() {
  let built = { files: new Map(), page: '' }
  const keep = {
    name: 'keep',
    setup: (builder) =>
      builder.onEnd(async ({ outputFiles, metafile, errors }) => {
        if (errors.length > 0) return
        const files = new Map(outputFiles.map(({ path, contents }) => [path.split(/[\\/]/).pop(), contents]))
        built = { files, page: await html(metafile) }
        console.log(`Built at ${new Date().toLocaleTimeString()}`)
      }),
  }
  const options = { ...OPTIONS, write: false, outdir: 'dist', sourcemap: 'inline', plugins: [keep] }
  await (await context(options)).watch()

  createServer((asked, answer) => {
    const path = asked.url.split('?')[0]
    const file = path.startsWith('/page/') ? built.files.get(path.slice(6)) : undefined
    if (file) {
      answer.writeHead(200, { 'Content-Type': TYPES[path.split('.').pop()], 'Cache-Control': 'no-store' }).end(file)
    } else if (OF_SERVER.test(path)) {
      pass(asked, answer)
    } else {
      answer.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8', 'Cache-Control': 'no-store' }).end(built.page)
    }
  }).listen(PORT, '127.0.0.1', () => console.log(`http://127.0.0.1:${PORT}, before ${SERVER.origin}`))
}

function pass(asked, answer) {
  const { method, url, headers } = asked
  const onward = request({ host: SERVER.hostname, port: SERVER.port || 80, method, path: url, headers }, (found) => {
    answer.writeHead(found.statusCode, found.headers)
    found.pipe(answer)
  })
  onward.on('error', () => answer.destroy())
  answer.on('close', () => onward.destroy())
  asked.pipe(onward)
}

await serve()
