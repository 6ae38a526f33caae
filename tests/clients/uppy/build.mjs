// Bundle the page into the folder that the options name.

import { copyFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'

import { build } from 'esbuild'

const { folder } = JSON.parse(process.argv[2])
const here = (name) => fileURLToPath(new URL(name, import.meta.url))

await build({ entryPoints: [here('page.js')], bundle: true, outdir: folder, logLevel: 'error' })
await copyFile(here('index.html'), `${folder}/index.html`)
