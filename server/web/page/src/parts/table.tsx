// A table: rows and columns where there is room, a card for each row where there is not.
//
// Rule: it stays a table for screen readers in both forms, so every part says its role. It sorts nothing itself: a
// column that the API sorts by has a button in its head, and who draws the table asks the API.

import type { ComponentChildren } from 'preact'

import { t } from '../text'
import { Button } from './button'

/** What the elements are anyway, until the style sheet draws them as cards: then some browsers forget it. */
const ROLE = {
  table: { role: 'table' },
  rowgroup: { role: 'rowgroup' },
  row: { role: 'row' },
  columnheader: { role: 'columnheader' },
  rowheader: { role: 'rowheader' },
  cell: { role: 'cell' },
} as const

export interface Column<Row> {
  id: string
  label: string
  cell: (row: Row) => ComponentChildren
  /** Numbers stand at the end of their column. */
  isNumber?: boolean
  /** The name of a row: the title of its card. One column has it. */
  isHead?: boolean
  /** Buttons of a row: its head is for screen readers alone. */
  isActions?: boolean
  /** Takes the room that is left. */
  isWide?: boolean
  /** The API sorts by this. */
  sort?: string
  /** It is first sorted upwards, as names are. */
  isAscending?: boolean
}

export interface Sorting {
  by: string
  isDescending: boolean
  choose: (by: string, isDescending: boolean) => void
}

export function Table<Row>({
  label,
  columns,
  rows,
  keyOf,
  sorting,
  id,
  isBusy = false,
  more,
  dataOf,
}: {
  /** What it is a table of, for screen readers. */
  label: string
  columns: readonly Column<Row>[]
  rows: readonly Row[]
  keyOf: (row: Row) => string | number
  sorting?: Sorting
  id?: string
  isBusy?: boolean
  /** Asks for the next page; without it there is none. */
  more?: (() => void) | undefined
  /** The state of a row, for styles. */
  dataOf?: (row: Row) => string
}) {
  return (
    <div class="table-room">
      <table class="table" {...ROLE.table} aria-label={label} aria-busy={isBusy} id={id}>
        <thead {...ROLE.rowgroup}>
          <tr {...ROLE.row}>
            {columns.map((column) => (
              <Head key={column.id} column={column} sorting={sorting} />
            ))}
          </tr>
        </thead>
        <tbody {...ROLE.rowgroup}>
          {rows.map((row) => (
            <tr {...ROLE.row} key={keyOf(row)} data-state={dataOf?.(row)}>
              {columns.map((column) => (
                <Cell key={column.id} column={column} row={row} />
              ))}
            </tr>
          ))}
        </tbody>
      </table>
      {more && (
        <p class="table-more">
          <Button disabled={isBusy} onClick={more}>
            {isBusy ? t('common.loading') : t('common.load_more')}
          </Button>
        </p>
      )}
    </div>
  )
}

function look({ isNumber, isHead, isActions, isWide }: Column<never>): string {
  return [isNumber && 'is-number', isHead && 'is-head', isActions && 'is-actions', isWide && 'is-wide']
    .filter(Boolean)
    .join(' ')
}

function Head<Row>({ column, sorting }: { column: Column<Row>; sorting: Sorting | undefined }) {
  const { sort, label, isActions, isAscending } = column
  if (!sort || !sorting) {
    return (
      <th {...ROLE.columnheader} scope="col" class={look(column as Column<never>)}>
        {isActions ? <span class="unseen">{label}</span> : label}
      </th>
    )
  }
  const isChosen = sorting.by === sort
  const order = sorting.isDescending ? 'descending' : 'ascending'
  return (
    <th {...ROLE.columnheader} scope="col" class={look(column as Column<never>)} aria-sort={isChosen ? order : 'none'}>
      <button
        type="button"
        class="table-sort"
        data-sort={sort}
        onClick={() => sorting.choose(sort, isChosen ? !sorting.isDescending : !isAscending)}
      >
        {label}
      </button>
    </th>
  )
}

function Cell<Row>({ column, row }: { column: Column<Row>; row: Row }) {
  const content = column.cell(row)
  const words = (
    <>
      {/* A screen reader says the head of the column already. */}
      {!column.isHead && !column.isActions && (
        <span class="table-label" aria-hidden="true">
          {column.label}
        </span>
      )}
      <div class="table-value">{content}</div>
    </>
  )
  const isEmpty = content === null || content === undefined || content === '' || content === false
  const shape = `${look(column as Column<never>)} ${isEmpty ? 'is-empty' : ''}`
  return column.isHead ? (
    <th {...ROLE.rowheader} scope="row" class={shape}>
      {words}
    </th>
  ) : (
    <td {...ROLE.cell} class={shape}>
      {words}
    </td>
  )
}
