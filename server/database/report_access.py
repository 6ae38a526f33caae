"""Which roles of PostgreSQL may read reports: the views and tables, and none of the secrets.

Rule: a role gets SELECT and nothing else. A new version may bring new views; granting again adds them.

PostgreSQL compiles a query that it expects to be long. For these views that takes ten times as long as the query (7 s
instead of 0.7 s at a million uploads), so it is switched off for the role, in this database only.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress

from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError

from server.database.base import Base
from server.database.personal_data import SECRET_TABLES, is_secret
from server.database.report_views import VIEWS
from server.database.session import Database


class NoRolesError(Exception):
    """The database is SQLite, which has none."""


class RoleUnknownError(Exception):
    """PostgreSQL has no such role."""


def grant(database: Database, role: str) -> Sequence[str]:
    """Let a role read the views and the tables without their secrets; the names of both.

    Raises `NoRolesError`, `RoleUnknownError`. Blocking.
    """
    with database.change() as connection:
        quoted = _quoted(connection, role)
        connection.exec_driver_sql(f"GRANT USAGE ON SCHEMA {_schema(connection)} TO {quoted}")
        granted = []
        for name, columns in _readable():
            connection.exec_driver_sql(f"GRANT SELECT{columns} ON {_name(connection, name)} TO {quoted}")
            granted.append(name)
        _set_compiling(connection, quoted, "SET jit = off")
        return sorted(granted)


def revoke(database: Database, role: str) -> None:
    """Take everything back that `grant` gave. Raises as `grant`. Blocking."""
    with database.change() as connection:
        quoted = _quoted(connection, role)
        for name in (*VIEWS, *Base.metadata.tables):
            # That of the table takes those of its columns too.
            connection.exec_driver_sql(f"REVOKE ALL ON {_name(connection, name)} FROM {quoted}")
        connection.exec_driver_sql(f"REVOKE USAGE ON SCHEMA {_schema(connection)} FROM {quoted}")
        _set_compiling(connection, quoted, "RESET jit")


def _set_compiling(connection: Connection, quoted_role: str, change: str) -> None:
    """Change it for a role; nothing where only an administrator of the cluster may: then reports are slower."""
    preparer = connection.dialect.identifier_preparer
    database = preparer.quote_identifier(str(connection.scalar(text("SELECT current_database()"))))
    with suppress(ProgrammingError), connection.begin_nested():
        connection.exec_driver_sql(f"ALTER ROLE {quoted_role} IN DATABASE {database} {change}")


def _readable() -> Iterator[tuple[str, str]]:
    """Views and tables, each with the columns that may be read; an empty text is all of them."""
    for view in VIEWS:
        yield view, ""
    for table in Base.metadata.tables.values():
        if table.name in SECRET_TABLES:
            continue
        open_ones = [column.name for column in table.columns if not is_secret(table.name, column.name)]
        some = len(open_ones) < len(table.columns)
        yield table.name, f" ({', '.join(_word(name) for name in open_ones)})" if some else ""


def _word(name: str) -> str:
    return f'"{name}"'


def _name(connection: Connection, name: str) -> str:
    return f"{_schema(connection)}.{_word(name)}"


def _schema(connection: Connection) -> str:
    found = connection.scalar(text("SELECT current_schema()"))
    return connection.dialect.identifier_preparer.quote_identifier(str(found))


def _quoted(connection: Connection, role: str) -> str:
    if connection.dialect.name != "postgresql":
        raise NoRolesError
    if connection.scalar(text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role}) is None:
        raise RoleUnknownError
    return connection.dialect.identifier_preparer.quote_identifier(role)
