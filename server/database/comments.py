"""The meaning of tables, views and columns as comments in PostgreSQL, so that `\\d+` and other tools show it.

Rule: only what differs is written, under the lock of the migrations. SQLite has no comments.
"""

import re

from sqlalchemy import Connection

from server.database.base import Base
from server.database.report_views import VIEWS

_LINK = re.compile(r"\[([^]]+)\]\([^)]*\)")
_EXISTING = """
SELECT c.relname, c.relkind, a.attname, coalesce(d.description, '')
FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_description d ON d.objoid = c.oid AND d.objsubid = a.attnum AND d.classoid = 'pg_class'::regclass
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'v')
UNION ALL
SELECT c.relname, c.relkind, '', coalesce(obj_description(c.oid, 'pg_class'), '')
FROM pg_class c WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'v')
"""


def write(connection: Connection) -> None:
    """Write the comments that are missing or out of date into the caller's transaction; PostgreSQL only."""
    wanted = _wanted()
    for relation, kind, column, found in connection.exec_driver_sql(_EXISTING).all():
        comment = wanted.get((relation, column))
        if comment is None or comment == found:
            continue
        if column:
            place = f'COLUMN "{relation}"."{column}"'
        else:
            place = f'{"VIEW" if kind in ("v", b"v") else "TABLE"} "{relation}"'
        quoted = comment.replace("'", "''").replace("%", "%%")
        connection.exec_driver_sql(f"COMMENT ON {place} IS '{quoted}'")


def _wanted() -> dict[tuple[str, str], str]:
    found = {}
    for table in Base.metadata.tables.values():
        found[table.name, ""] = table.comment or ""
        found |= {(table.name, column.name): column.comment or "" for column in table.columns}
    for name, view in VIEWS.items():
        found[name, ""] = _plain(view.about)
        found |= {(name, column): _plain(about) for column, (_, about) in view.columns.items()}
    return found


def _plain(text: str) -> str:
    """Without the links of Markdown."""
    return _LINK.sub(r"\1", text)
