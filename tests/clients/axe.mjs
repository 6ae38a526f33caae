// What axe finds on a page against WCAG 2.2 AA and good practice; an event `axe` with a label and what was `found`.

import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'

import { say } from './chromium.mjs'

const AXE = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
const TAGS = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']

export async function examine(page, label) {
  await page.evaluate(AXE)
  const found = await page.evaluate(async (tags) => {
    const { violations } = await axe.run(document, { runOnly: tags })
    return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ target }) => target).join(', ')}`)
  }, TAGS)
  say('axe', { label, found })
}
