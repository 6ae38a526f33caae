// Open the viewer of the API in headless Chromium and print what is there.
//
// Options beside those of chromium.mjs: url (of /docs), operation (the id of one that is opened), and run (the id of one
// that is tried out, which must need nothing). The event `seen` has operations (their method and path, as they are shown
// at first), all (the same with every method), opened (the text of the one that was opened), status (of the one that was
// tried), and wide: by how many pixels the page is wider than the window, on a desk and on a phone.

import { given, say, visit } from './chromium.mjs'

const WIDTHS = [1280, 360]

const shown = async (page) => {
  await page.waitForSelector('.opblock')
  return page.$$eval('.opblock-summary', (all) =>
    all.map((one) => {
      const path = one.querySelector('.opblock-summary-path').dataset.path
      return `${one.querySelector('.opblock-summary-method').textContent} ${path}`
    }),
  )
}

await visit(async (page) => {
  await page.goto(given.url)
  const operations = await shown(page)
  const block = (id) => page.locator(`[id$="-${id}"]`)
  await block(given.operation).locator('button.opblock-summary-control').click()
  const body = block(given.operation).locator('.opblock-body')
  await body.locator('.responses-wrapper').waitFor()
  const opened = await body.innerText()
  const tried = block(given.run)
  await tried.locator('button.opblock-summary-control').click()
  await tried.locator('button.try-out__btn').click()
  await tried.locator('button.execute').click()
  const live = tried.locator('.live-responses-table tbody .response-col_status')
  await live.waitFor()
  const status = Number.parseInt(await live.innerText())
  const wide = []
  for (const width of WIDTHS) {
    await page.setViewportSize({ width, height: 900 })
    wide.push(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth))
    if (given.picture) await page.screenshot({ path: `${given.picture}-${width}.png` })
  }
  await page.locator('#methods').click()
  await page.waitForURL((url) => url.search === '?all')
  const all = await shown(page)
  say('seen', { operations, all, opened, status, wide })
  say('done')
})
