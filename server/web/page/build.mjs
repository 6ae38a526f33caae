// Builds the page into dist/: `node build.mjs`. For work on the page there is serve.mjs.
//
// Rule: what is built depends on the sources and the lock file alone. dist/ appears whole or not at all, so a server
// that starts meanwhile never reads half of it.

import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { brotliCompressSync, constants, gzipSync } from 'node:zlib'

import { build } from 'esbuild'

const HERE = dirname(fileURLToPath(import.meta.url))
const DIST = join(HERE, 'dist')
/** Most bytes of script, by gzip, that the first view loads. */
const BUDGET = 150_000
/** A smaller file gains nothing from compression. */
const WORTH_BYTES = 1024

/** Options of esbuild that the build and the work on the page share. */
export const OPTIONS = {
  absWorkingDir: HERE,
  entryPoints: { main: 'src/main.tsx', style: 'src/style/index.css' },
  bundle: true,
  splitting: true,
  format: 'esm',
  target: ['chrome109', 'firefox115', 'safari16.4'],
  jsx: 'automatic',
  jsxImportSource: 'preact',
  entryNames: '[name]-[hash]',
  chunkNames: '[name]-[hash]',
  metafile: true,
  logLevel: 'warning',
}

/** The HTML with the addresses of the entries, and of what they load at once. */
export async function html(metafile) {
  const outputs = Object.entries(metafile.outputs)
  const find = (entry) => outputs.find(([, output]) => output.entryPoint === entry)
  const [main, { imports }] = find('src/main.tsx')
  const [style] = find('src/style/index.css')
  const name = (path) => path.split('/').pop()
  const preloads = imports
    .filter(({ kind }) => kind === 'import-statement')
    .map(({ path }) => `<link rel="modulepreload" href="page/${name(path)}">`)
  const source = await readFile(join(HERE, 'src/index.html'), 'utf8')
  const head = [
    `<link rel="stylesheet" href="page/${name(style)}">`,
    ...preloads,
    `<script type="module" src="page/${name(main)}"></script>`,
  ]
  return source.replace('<!-- entries -->', head.join('\n  '))
}

/** What `/` loads: the entry, the view, and the uploads. */
const FIRST_VIEW = ['src/main.tsx', 'src/views/upload/index.tsx', 'src/state/uploads/index.ts']

/** Bytes of script, by gzip, of the first view and all that it imports. */
function firstView(metafile, contents) {
  const seen = new Set()
  const visit = (path) => {
    if (seen.has(path)) return
    seen.add(path)
    for (const { kind, path: next } of metafile.outputs[path].imports) if (kind === 'import-statement') visit(next)
  }
  for (const [path, { entryPoint }] of Object.entries(metafile.outputs))
    if (FIRST_VIEW.includes(entryPoint)) visit(path)
  return [...seen].reduce((sum, path) => sum + gzipSync(contents.get(path.split('/').pop())).length, 0)
}

/** The hash of everything that the page is built of; `hatch_build.py` compares it. */
async function fingerprint() {
  const hash = createHash('sha256')
  const names = ['package.json', 'package-lock.json', 'build.mjs', ...(await sources())].sort()
  for (const name of names)
    hash
      .update(`${name}\0`)
      .update(await readFile(join(HERE, name)))
      .update('\0')
  return hash.digest('hex')
}

async function sources() {
  const found = await readdir(join(HERE, 'src'), { recursive: true, withFileTypes: true })
  return found
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name).slice(HERE.length + 1))
}

async function write(folder, name, content) {
  await writeFile(join(folder, name), content)
  if (content.length < WORTH_BYTES || name === 'index.html') return
  const quality = { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } }
  await writeFile(join(folder, `${name}.gz`), gzipSync(content, { level: 9 }))
  await writeFile(join(folder, `${name}.br`), brotliCompressSync(content, quality))
}

async function make() {
  const begun = await fingerprint()
  const result = await build({ ...OPTIONS, minify: true, legalComments: 'eof', write: false, outdir: DIST })
  const contents = new Map(result.outputFiles.map(({ path, contents }) => [path.split(/[\\/]/).pop(), contents]))
  const size = firstView(result.metafile, contents)
  if (size > BUDGET)
    throw new Error(`The first view loads ${size} bytes of script by gzip; at most ${BUDGET} are allowed.`)

  const fresh = `${DIST}.${process.pid}`
  await rm(fresh, { recursive: true, force: true })
  await mkdir(fresh)
  for (const [name, content] of contents) await write(fresh, name, content)
  await write(fresh, 'index.html', Buffer.from(await html(result.metafile)))
  await writeFile(join(fresh, 'sources.sha256'), `${begun}\n`)
  await rm(DIST, { recursive: true, force: true })
  await rename(fresh, DIST)
  console.log(
    `The page is built: ${contents.size + 1} files; the first view loads ${Math.ceil(size / 1000)} KB of script.`,
  )
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await make()
