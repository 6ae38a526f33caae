"""Filling a database with rows that fit its schema, whatever the schema is: by reflection, parents first."""

import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Connection,
    Date,
    DateTime,
    Engine,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    String,
    Table,
    delete,
    insert,
    inspect,
    select,
)

Rows = dict[str, list[dict[str, Any]]]
VERSION_TABLE = "alembic_version"
ROWS = 3
_WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

# How to make a value of a type, for the row with that number. Order counts: Boolean is an Integer's cousin.
_VALUES: list[tuple[type, Callable[[int], object]]] = [
    (Boolean, lambda number: number % 2 == 0),
    (Integer, lambda number: number),
    (Float, lambda number: number + 0.5),
    (Numeric, lambda number: number),
    (DateTime, lambda number: _WHEN.replace(minute=number)),
    (Date, lambda number: _WHEN.date()),
    (JSON, lambda number: {"number": number}),
    (LargeBinary, lambda number: bytes([number])),
]


def reflect(engine: Engine) -> list[Table]:
    """The tables as they are in the database, parents before children."""
    metadata = MetaData()
    metadata.reflect(engine)
    tables = [table for table in metadata.sorted_tables if table.name != VERSION_TABLE]
    return sorted(tables, key=lambda table: table.name == "task_events")  # after the tasks, to which it may not refer


def fill(engine: Engine) -> None:
    """Put some rows into every table."""
    words = {table.name: _words(engine, table) for table in reflect(engine)}
    with engine.begin() as connection:
        for table in reflect(engine):
            connection.execute(delete(table))  # a revision may have made a row
            for number in range(1, ROWS + 1):
                connection.execute(insert(table), _row(connection, table, number, words[table.name]))


def rows(engine: Engine) -> Rows:
    """What is in every table, in the order of its key."""
    with engine.connect() as connection:
        return {
            table.name: [dict(row) for row in connection.execute(select(table).order_by(*table.primary_key)).mappings()]
            for table in reflect(engine)
        }


def _row(connection: Connection, table: Table, number: int, words: dict[str, str]) -> dict[str, object]:
    row = {
        column.name: _parent(connection, column, number) if column.foreign_keys else _value(column, number, words)
        for column in table.columns
        if column.computed is None
    }
    if "upload_id" in row and table.name == "task_events":
        # The event of a task: without a foreign key since 0010, and before it all events were of tasks.
        tasks = table.metadata.tables["tasks"]
        row["task_id"] = connection.scalars(select(tasks.c.id).order_by(tasks.c.id).offset(number - 1)).first()
        row["upload_id"] = None
    return row


def _parent(connection: Connection, column: Column[Any], number: int) -> object:
    (key,) = column.foreign_keys
    if key.column.table is column.table:
        return None
    return connection.execute(select(key.column).order_by(key.column).offset(number - 1).limit(1)).scalar_one()


def _value(column: Column[Any], number: int, words: dict[str, str]) -> object:
    if column.name in words:
        return words[column.name]
    for kind, make in _VALUES:
        if isinstance(column.type, kind):
            return make(number)
    assert isinstance(column.type, String), f"no value for {column} of type {column.type!r}"
    length = column.type.length
    text = str(uuid.uuid4()) if length in (36, None) else f"{column.name[:8]}{number}"
    return text[:length]


def _words(engine: Engine, table: Table) -> dict[str, str]:
    """A word that each column's check constraint allows: the first that it quotes."""
    found: dict[str, str] = {}
    for constraint in inspect(engine).get_check_constraints(table.name):
        text = constraint["sqltext"]
        quoted = re.search(r"'([^']*)'", text)
        for column in table.columns:
            if quoted and re.search(rf"\b{column.name}\b", text.partition(quoted[0])[0]):
                found.setdefault(column.name, quoted[1])
    return found
