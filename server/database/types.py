"""Column types and time expressions that mean the same on SQLite and PostgreSQL.

Rule: a time in the database is UTC and comes back aware. A lease is set and compared by the database's own clock
(`database_time`), never by the clocks of two machines.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import DateTime, Dialect, Float, TypeDecorator
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import expression
from sqlalchemy.sql.compiler import SQLCompiler


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime in UTC; SQLite, which has no time zones, stores it without and gets it back with."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone does not belong into the database")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, _: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def utc_as_text(value: datetime | None) -> str | None:
    """The text that SQLite has for a `UtcDateTime`: as SQLAlchemy makes it, by two calls instead of eight."""
    if value is None:
        return None
    if value.tzinfo is not UTC:
        if value.tzinfo is None:
            raise ValueError("a time without a zone does not belong into the database")
        value = value.astimezone(UTC)
    return value.replace(tzinfo=None).isoformat(" ", "microseconds")


def utc_of_text(text: str | None) -> datetime | None:
    """The time of such a text."""
    if text is None:
        return None
    found = datetime.fromisoformat(text)
    # Versions up to now wrote some times with their zone.
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


class database_time(expression.ColumnElement[datetime]):  # noqa: N801  # reads as the SQL function it is
    """The database's clock now, plus a number of seconds (negative for the past)."""

    inherit_cache = True
    type = UtcDateTime()

    def __init__(self, seconds: float | expression.BindParameter[float] = 0) -> None:
        self.seconds: expression.BindParameter[float] = (
            seconds if isinstance(seconds, expression.BindParameter) else expression.literal(float(seconds), Float())
        )

    def _gen_cache_key(self, anon_map: Any, bindparams: list[Any]) -> Any:
        return (type(self), self.seconds._gen_cache_key(anon_map, bindparams))  # type: ignore[no-untyped-call]


@compiles(database_time, "sqlite")
def _sqlite_time(element: database_time, compiler: SQLCompiler, **kw: Any) -> str:
    # The text form in which SQLAlchemy stores times, so that comparing texts compares times.
    seconds = compiler.process(element.seconds, **kw)
    return f"strftime('%Y-%m-%d %H:%M:%f000', 'now', {seconds} || ' seconds')"


@compiles(database_time, "postgresql")
def _postgresql_time(element: database_time, compiler: SQLCompiler, **kw: Any) -> str:
    # Not now(): that is the start of the transaction.
    seconds = compiler.process(element.seconds, **kw)
    return f"(clock_timestamp() + make_interval(secs => {seconds}))"
