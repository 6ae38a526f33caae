"""Copies all rows from one database to another; each may be SQLite or PostgreSQL.

Rule: a row is copied as it is. JSON is copied as text and a state as its value: a NULL stays a NULL, and a `null`
stays one. Memory does not depend on the number of rows.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import (
    JSON,
    URL,
    Column,
    ColumnElement,
    Connection,
    Engine,
    Enum,
    MetaData,
    String,
    Table,
    Text,
    bindparam,
    cast,
    collate,
    delete,
    func,
    insert,
    inspect,
    select,
    text,
)
from sqlalchemy.sql.elements import NamedColumn

from server.database.models import Base, FormAnswer
from server.database.report_models import ReportState

_BATCH = 1000
_FILLED_BY_MIGRATIONS = ("alembic_version", "sqlite_sequence", ReportState.__tablename__)


def _plain(table: Table, made: MetaData) -> Table:
    columns = []
    for column in table.columns:
        kind = String() if isinstance(column.type, Enum) else Text() if isinstance(column.type, JSON) else column.type
        columns.append(Column(column.name, kind, primary_key=column.primary_key, autoincrement=column.autoincrement))
    return Table(table.name, made, *columns)


_made = MetaData()
TABLES = [_plain(table, _made) for table in Base.metadata.sorted_tables]
"""Parents before children."""
_JSON = {(table.name, column.name) for table in Base.metadata.sorted_tables for column in table.columns
         if isinstance(column.type, JSON)}  # fmt: skip


def sqlite_url(path: Path) -> str:
    """The URL of a database in a file."""
    return URL.create("sqlite", database=str(path)).render_as_string()


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """One consistent state of all tables while others commit. Only for reading."""
    connection = engine.connect()
    if engine.dialect.name == "postgresql":
        connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    with connection, connection.begin():
        if engine.dialect.name == "postgresql":
            # The transaction is silent while files are read, and that may take minutes.
            connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
        yield connection


def is_empty(connection: Connection) -> bool:
    """Whether no table of this database, ours or not, has a row."""
    quote = connection.dialect.identifier_preparer.quote
    names = [name for name in inspect(connection).get_table_names() if name not in _FILLED_BY_MIGRATIONS]
    return not any(connection.execute(text(f"SELECT 1 FROM {quote(name)} LIMIT 1")).first() for name in names)  # noqa: S608


def copy(source: Connection, target: Connection) -> dict[str, int]:
    """Copy every row into empty tables, and set the target's sequences to the source's; returns rows by table."""
    counts = {}
    for table in TABLES:
        if table.name in _FILLED_BY_MIGRATIONS:
            target.execute(delete(table))
        statement = insert(table).values(_bound(table, target))
        counts[table.name] = 0
        for batch in _batches(source, table):
            target.execute(statement, batch)
            counts[table.name] += len(batch)
        if table.autoincrement_column is not None:
            _set_counter(target, table, _counter(source, table))
    return counts


def digests(connection: Connection) -> dict[str, str]:
    """SHA-256 of all rows of each table, the same on every kind of database."""
    return {table.name: _digest(connection, table) for table in TABLES}


def _digest(connection: Connection, table: Table) -> str:
    binary = "C" if connection.dialect.name == "postgresql" else "BINARY"
    order = [collate(key, binary) if isinstance(key.type, String) else key for key in table.primary_key]
    hashed = hashlib.sha256()
    for batch in _batches(connection, table, *order):
        for row in batch:
            hashed.update(repr([_shown(row[column.name]) for column in table.columns]).encode())
    return hashed.hexdigest()


def _shown(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value


def _batches(connection: Connection, table: Table, *order: ColumnElement[Any]) -> Iterator[list[dict[str, Any]]]:
    query = select(*(_read(connection, table, column) for column in table.columns)).order_by(*order)
    if table.name == FormAnswer.__tablename__:
        query = query.where(table.c.fingerprint.is_not(None))  # a form without an answer cannot be answered again
    with connection.execute(query.execution_options(yield_per=_BATCH)) as found:
        for part in found.mappings().partitions(_BATCH):
            yield [dict(row) for row in part]


def _read(connection: Connection, table: Table, column: Column[Any]) -> NamedColumn[Any]:
    is_json = (table.name, column.name) in _JSON and connection.dialect.name == "postgresql"
    return cast(column, Text).label(column.name) if is_json else column


def _bound(table: Table, connection: Connection) -> Mapping[str, Any]:
    """Each column's value in an INSERT: PostgreSQL needs the type of a text that is JSON."""
    values: dict[str, Any] = {}
    for column in table.columns:
        value = bindparam(column.name, type_=column.type)
        is_json = (table.name, column.name) in _JSON and connection.dialect.name == "postgresql"
        values[column.name] = cast(value, JSON) if is_json else value
    return values


# Numbers that were used are not used again, even when their rows are gone.


def _counter(connection: Connection, table: Table) -> int:
    """The largest number that a table's key ever had."""
    if connection.dialect.name == "sqlite":
        found = connection.execute(text("SELECT seq FROM sqlite_sequence WHERE name = :name"), {"name": table.name})
        return int(found.scalar() or 0)
    sequence = connection.scalar(_sequence(table))
    found = connection.execute(text(f"SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {sequence}"))  # noqa: S608
    return int(found.scalar_one())


def _set_counter(connection: Connection, table: Table, number: int) -> None:
    if not number:
        return
    if connection.dialect.name == "sqlite":
        values = {"name": table.name, "seq": number}
        connection.execute(text("DELETE FROM sqlite_sequence WHERE name = :name"), values)
        connection.execute(text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :seq)"), values)
    else:
        connection.execute(select(func.setval(_sequence(table).scalar_subquery(), number)))


def _sequence(table: Table) -> Any:
    (key,) = table.primary_key
    return select(func.pg_get_serial_sequence(table.name, key.name))
