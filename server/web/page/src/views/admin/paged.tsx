// A list that is read page by page: its states, and its table.
//
// Rule: the only place of the admin view that knows what a list shows while it loads, fails, is empty or has more.

import type { ComponentChildren } from 'preact'

import { Failure, Loading } from '../../parts/states'
import { Table } from '../../parts/table'
import type { Pages } from '../../state/live'

type TableOptions<Row> = Omit<Parameters<typeof Table<Row>>[0], 'rows' | 'isBusy' | 'more'>

/** What is shown before the first answer: the failure, or that it loads. */
export function Awaited({ error, again }: { error: unknown; again: () => Promise<void> }) {
  return error ? <Failure error={error} again={() => void again()} /> : <Loading />
}

export function PagedTable<Row>({
  list,
  empty,
  short,
  isCard = false,
  isQuiet = false,
  more = list.more,
  ...table
}: TableOptions<Row> & {
  list: Pages<Row>
  /** Shown in place of the table when there are no rows. */
  empty: ComponentChildren
  /** Shown above the button for more, when a page has no rows and older pages may have some. */
  short?: string
  /** The table stands on a card of its own. */
  isCard?: boolean
  /** A refresh is not shown: it comes every few seconds. */
  isQuiet?: boolean
  more?: () => void
}) {
  if (list.rows === null) return <Awaited {...list} />
  if (list.rows.length === 0 && !(short && list.hasMore)) return <>{empty}</>
  const content = (
    <>
      {list.rows.length === 0 && <p class="pane-empty">{short}</p>}
      <Table {...table} rows={list.rows} isBusy={!isQuiet && list.isLoading} more={list.hasMore ? more : undefined} />
    </>
  )
  return isCard ? <div class="pane card">{content}</div> : content
}
