// The frame of a picture: its name, the file of its numbers, and the same numbers as a table.
//
// Rule: it has its height before it has anything to show.

import type { ComponentChildren } from 'preact'
import { useEffect, useState } from 'preact/hooks'

import { ConnectionLost, Refusal } from '../../api/client'
import { count } from '../../format'
import { Button, LinkButton } from '../../parts/button'
import { sessionOver } from '../../state/session'
import { reasonText, t } from '../../text'
import type { Found } from './report'

export interface Column<Row> {
  id: string
  label: string
  value: (row: Row) => string
  isNumber?: boolean
}

/** Rows of a table; who wants more takes the file. */
const MOST_ROWS = 400

export function Panel<Row>({
  id,
  name,
  hint,
  file,
  found,
  columns,
  isNewestFirst = false,
  none,
  children,
}: {
  id: string
  name: string
  hint: string
  /** The address of the numbers as CSV. */
  file: string
  found: Found<Row>
  columns: readonly Column<Row>[]
  /** The rows ascend by time. */
  isNewestFirst?: boolean
  /** What is said when there are no rows. */
  none: string
  children: (rows: readonly Row[]) => ComponentChildren
}) {
  const { rows, error, isLoading, again } = found
  return (
    <section class="panel card" id={id} aria-labelledby={`${id}-name`} aria-busy={isLoading}>
      <div class="panel-head">
        <div>
          <h2 id={`${id}-name`}>{name}</h2>
          <p class="panel-hint">{hint}</p>
        </div>
        {rows && rows.length > 0 && (
          <LinkButton to={file} look="quiet" icon="download" label={t('numbers.csv_of', { name })} download>
            {t('numbers.csv')}
          </LinkButton>
        )}
      </div>
      <div class={`panel-body ${isLoading && rows ? 'is-stale' : ''}`}>
        {rows && rows.length > 0 ? (
          children(rows)
        ) : rows ? (
          <p class="panel-none">{none}</p>
        ) : error && !isLoading ? (
          <Trouble error={error} again={again} />
        ) : (
          <span class="spinner" role="status">
            <span class="unseen">{t('common.loading')}</span>
          </span>
        )}
      </div>
      <div class="panel-rest">
        {rows && rows.length > 0 && <Folded name={name} rows={rows} columns={columns} isNewestFirst={isNewestFirst} />}
      </div>
    </section>
  )
}

/** Why this picture is not there; the others may be. */
function Trouble({ error, again }: { error: unknown; again: () => void }) {
  useEffect(() => {
    if (error instanceof Refusal && error.status === 401) sessionOver()
  }, [error])
  const words =
    error instanceof Refusal
      ? reasonText(error.reason)
      : error instanceof ConnectionLost
        ? t('common.no_answer')
        : String(error)
  return (
    <div class="panel-none" role="alert">
      <p>{words}</p>
      <Button icon="retry" onClick={again}>
        {t('common.try_again')}
      </Button>
    </div>
  )
}

function Folded<Row>({
  name,
  rows,
  columns,
  isNewestFirst,
}: {
  name: string
  rows: readonly Row[]
  columns: readonly Column<Row>[]
  isNewestFirst: boolean
}) {
  const [isOpen, setOpen] = useState(false)
  const ordered = isNewestFirst ? [...rows].reverse() : rows
  const values = { n: count(MOST_ROWS), total: count(rows.length) }
  return (
    <details class="panel-table" onToggle={({ currentTarget }) => setOpen(currentTarget.open)}>
      <summary>
        {t('numbers.as_table')}
        <span class="unseen">: {name}</span>
      </summary>
      {isOpen && (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, and Safari lets no key scroll it otherwise
        <div class="panel-rows" role="region" tabIndex={0} aria-label={t('numbers.table_of', { name })}>
          <table>
            <thead>
              <tr>
                {columns.map(({ id, label, isNumber }) => (
                  <th key={id} scope="col" class={isNumber ? 'is-number' : ''}>
                    {label}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {ordered.slice(0, MOST_ROWS).map((row, place) => (
                <tr key={place}>
                  {columns.map(({ id, value, isNumber }, column) =>
                    column === 0 ? (
                      <th key={id} scope="row">
                        {value(row)}
                      </th>
                    ) : (
                      <td key={id} class={isNumber ? 'is-number' : ''}>
                        {value(row)}
                      </td>
                    ),
                  )}
                </tr>
              ))}
            </tbody>
          </table>
          {rows.length > MOST_ROWS && (
            <p class="panel-hint">{t(isNewestFirst ? 'numbers.table_newest' : 'numbers.table_most', values)}</p>
          )}
        </div>
      )}
    </details>
  )
}
