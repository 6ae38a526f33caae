"""Statements of small requests, compiled once down to the driver.

Rule: a prepared statement gives what SQLAlchemy would give for it: the same types, the same errors. Only the way is
shorter, on SQLite: executing by primary key costs SQLAlchemy 150 microseconds, and the driver 10. On PostgreSQL, where
round trips cost most, SQLAlchemy executes it; what is read very often is one statement there, whose rows PostgreSQL
gives as JSON (`as_json`, `of_json`).
"""

import sqlite3
from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any, cast

from sqlalchemy import ColumnElement, Connection, CursorResult, Dialect, Enum, Insert, Select, Update, func
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import TypeEngine

from server.database import types
from server.database.types import UtcDateTime

Row = Any
"""A row of a result, with its columns as attributes."""

Parameters = Mapping[str, object]

Link = Connection | sqlite3.Connection
"""A connection of SQLAlchemy, or of SQLite's driver."""

_Convert = Callable[[Any], Any] | None


class Prepared:
    """A statement with named parameters. An INSERT has a parameter for each of `columns`; the others get the scalar
    defaults of the model. With `by_name` a row of a SELECT has its columns as attributes only, and makes the value of
    one when it is asked for: of a long row, most requests use a few. Such a row has no `pack` and no `of_json`."""

    def __init__(
        self, statement: Select[Any] | Update | Insert, columns: Iterable[str] = (), *, by_name: bool = False
    ) -> None:
        # Without `inline`, SQLAlchemy would also fetch the key that the database made.
        self.statement = statement.inline() if isinstance(statement, Insert) else statement
        self._columns = tuple(columns)
        self._by_name = by_name
        self._compiled: _Compiled | None = None

    def one_or_none(self, connection: Link, parameters: Parameters) -> Row | None:
        """The one row, or None. Blocking."""
        raw = driver_of(connection)
        if raw is None:
            return cast("Connection", connection).execute(self.statement, parameters).one_or_none()
        return self.one_or_none_of(raw, parameters)

    def one_or_none_of(self, connection: sqlite3.Connection, parameters: Parameters) -> Row | None:
        """The same from the driver's connection. Raises `sqlalchemy.exc.DBAPIError`, as SQLAlchemy does."""
        compiled = self._form()
        found = self._execute(connection, parameters).fetchall()
        return compiled.row(found[0]) if found else None

    def all(self, connection: Link, parameters: Parameters) -> Sequence[Row]:
        """All rows. Blocking; raises as `one_or_none`."""
        raw = driver_of(connection)
        if raw is None:
            return cast("Connection", connection).execute(self.statement, parameters).all()
        row = self._form().row
        return [row(found) for found in self._execute(raw, parameters).fetchall()]

    def first(self, connection: Link, parameters: Parameters) -> Row | None:
        """The first of `all`, or None."""
        return next(iter(self.all(connection, parameters)), None)

    def pack(self, row: Row) -> list[Any]:
        """The values of a row as SQLite has them: numbers, text and None."""
        return [
            value if bind is None else bind(value)
            for value, bind in zip((getattr(row, name) for name in self._form().names), self._form().binds, strict=True)
        ]

    def unpack(self, packed: Sequence[Any]) -> Row:
        """The row of `pack`. Raises `ValueError`, `LookupError` or `TypeError` when it has other columns or values."""
        return self._form().row(packed)

    def as_json(self) -> ColumnElement[Any]:
        """The columns of a row of its result as an array, for a statement of PostgreSQL."""
        return func.json_build_array(*cast("Select[Any]", self.statement).selected_columns)

    def of_json(self, values: Sequence[Any]) -> Row:
        """The row of `as_json`."""
        return self._form().row_of_json(values)

    def change(self, connection: Link, parameters: Parameters) -> int:
        """Execute an INSERT or UPDATE; the number of rows that an UPDATE matched. Blocking."""
        raw = driver_of(connection)
        if raw is None:
            full = cast("Connection", connection)
            return cast("CursorResult[Any]", full.execute(self.statement, parameters)).rowcount
        return self._execute(raw, parameters).rowcount

    def change_all(self, connection: Connection, rows: Sequence[Parameters]) -> None:
        """Execute it once for each of `rows`. Blocking."""
        raw = driver_of(connection)
        if raw is not None:
            for row in rows:
                self._execute(raw, row)
        elif rows:
            connection.execute(self.statement, rows)

    def _execute(self, connection: sqlite3.Connection, parameters: Parameters) -> sqlite3.Cursor:
        compiled = self._form()
        try:
            return connection.execute(compiled.sql, compiled.values(parameters))
        except sqlite3.Error as error:
            raise DBAPIError.instance(compiled.sql, None, error, sqlite3.Error) from error

    def _form(self) -> "_Compiled":
        if self._compiled is None:
            self._compiled = _compile(self.statement, self._columns, by_name=self._by_name)
        return self._compiled


def driver_of(connection: Link) -> sqlite3.Connection | None:
    """The driver's connection to SQLite; None for another database."""
    if isinstance(connection, sqlite3.Connection):
        return connection
    if connection.dialect.name != "sqlite":
        return None
    return cast("sqlite3.Connection", connection.connection.driver_connection)


@dataclass(frozen=True, slots=True)
class _Compiled:
    sql: str
    parameters: Sequence[tuple[str, _Convert]]
    """In their order in the statement, each with what makes the driver's value of it."""
    fixed: Parameters
    """The parameters that the statement itself has, and the defaults of columns."""
    results: Sequence[tuple[int, Callable[[Any], Any]]]
    """The places of columns whose values are not the driver's, each with what makes its value."""
    kind: Callable[[Sequence[Any]], Row]
    names: Sequence[str]
    """The columns of the result, with what makes the driver's value of each."""
    binds: Sequence[_Convert]
    of_json: Sequence[tuple[int, Callable[[Any], Any]]]
    """Those columns that JSON has no value for, with what makes it of a text."""

    def values(self, given: Parameters) -> list[Any]:
        fixed = self.fixed
        return [
            convert(given[name] if name in given else fixed[name])
            if convert is not None
            else given[name]
            if name in given
            else fixed[name]
            for name, convert in self.parameters
        ]

    def row(self, found: Sequence[Any]) -> Row:
        if not self.results:
            return self.kind(found)
        values = list(found)
        for place, convert in self.results:
            values[place] = convert(values[place])
        return self.kind(values)

    def row_of_json(self, found: Sequence[Any]) -> Row:
        values = list(found)
        for place, convert in self.of_json:
            if values[place] is not None:
                values[place] = convert(values[place])
        return self.kind(values)


def _compile(statement: Select[Any] | Update | Insert, columns: Sequence[str], *, by_name: bool) -> _Compiled:
    dialect: Dialect = sqlite.dialect()
    compiled: Any = statement.compile(dialect=dialect, column_keys=list(columns) or None)
    fixed: dict[str, object] = {
        name: value for name, value in compiled.params.items() if not compiled.binds[name].required
    }
    for column in compiled.insert_prefetch if isinstance(statement, Insert) else ():
        if not column.default.is_scalar:
            raise TypeError(f"the default of {column} is made anew for each row: give its value")
        fixed[column.key] = column.default.arg
    parameters = [(name, _bind(compiled.binds[name].type, dialect)) for name in compiled.positiontup]
    results: list[tuple[int, Callable[[Any], Any]]] = []
    kind: Callable[[Sequence[Any]], Row] = tuple
    names: list[str] = []
    binds: list[_Convert] = []
    of_json: list[tuple[int, Callable[[Any], Any]]] = []
    if isinstance(statement, Select):
        made = [_result(column.type, dialect) for column in statement.selected_columns]
        results = [(place, convert) for place, convert in enumerate(made) if convert is not None]
        names = [str(column.key) for column in statement.selected_columns]
        binds = [_bind(column.type, dialect) for column in statement.selected_columns]
        kind = _named_class(names, dict(results)) if by_name else _row_class(names)
        results = [] if by_name else results
        for place, column in enumerate(statement.selected_columns):
            if (convert := _of_text(column.type)) is not None:
                of_json.append((place, convert))
    return _Compiled(str(compiled), parameters, fixed, results, kind, names, binds, of_json)


def _row_class(names: Sequence[str]) -> Callable[[Sequence[Any]], Row]:
    kind: Any = namedtuple("row", names)  # type: ignore[misc]  # its fields are known only now
    make: Callable[[Sequence[Any]], Row] = kind._make
    return make


def _named_class(names: Sequence[str], converts: Mapping[int, Callable[[Any], Any]]) -> Callable[[Sequence[Any]], Row]:
    """A class of rows that have what the driver gave, and make a value of it each time that it is asked for."""
    fields: dict[str, Any] = {"__slots__": ()}
    for place, name in enumerate(names):
        fields[name] = property(_made(place, converts[place]) if place in converts else itemgetter(place))
    return type("row", (tuple,), fields)


def _made(place: int, convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda row: convert(row[place])


def _bind(kind: TypeEngine[Any], dialect: Dialect) -> _Convert:
    if isinstance(kind, UtcDateTime):
        return types.utc_as_text
    return kind.dialect_impl(dialect).bind_processor(dialect)


def _result(kind: TypeEngine[Any], dialect: Dialect) -> _Convert:
    if isinstance(kind, UtcDateTime):
        return types.utc_of_text
    return kind.dialect_impl(dialect).result_processor(dialect, None)


def _of_text(kind: TypeEngine[Any]) -> _Convert:
    """What makes a value of the text that PostgreSQL's JSON has for it; None where it has the value itself."""
    if isinstance(kind, Enum):
        return kind.enum_class
    return _moment if isinstance(kind, UtcDateTime) else None


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
