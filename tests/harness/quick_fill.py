"""Fills large tables for tests in a tenth of the time.

Rule: the tables have the same indexes afterwards as before; in between, one transaction holds them.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, bindparam, text
from sqlalchemy.orm import Session

from server.database.session import Database
from tests.harness.waiting import until

_INDEXES = {
    "sqlite": "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql <> '' AND tbl_name IN :tables",
    "postgresql": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema() "
    "AND indexname LIKE 'ix@_%' ESCAPE '@' AND tablename IN :tables",
}
_HIDDEN = text(
    "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace "
    "AND relname IN :tables AND relallvisible < relpages"
).bindparams(bindparam("tables", expanding=True))


@contextmanager
def without_indexes(session: Session, *tables: str) -> Iterator[None]:
    """Within this block of a transaction the tables have no indexes of ours; they are made again at its end.

    An index that is made of all rows sorts them once; one that is there takes each row at a place of its own.
    """
    kind = session.get_bind().dialect.name
    memory = "PRAGMA cache_size=-400000" if kind == "sqlite" else "SET LOCAL maintenance_work_mem = '400MB'"
    session.connection().exec_driver_sql(memory)
    named = text(_INDEXES[kind]).bindparams(bindparam("tables", expanding=True))
    indexes = session.execute(named, {"tables": tables}).all()
    assert indexes
    for name, _ in indexes:
        session.execute(text(f"DROP INDEX {name}"))
    yield
    for _, sql in indexes:
        session.connection().exec_driver_sql(sql)


def analyse(database: Database, *tables: str) -> None:
    """Afterwards the planner knows these tables, and no automatic vacuum will change its mind. Blocking."""
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if database.engine.dialect.name == "sqlite":
            connection.execute(text("ANALYZE"))
        else:
            # It leaves pages that another transaction might still read, such as that of an automatic ANALYZE; the
            # planner then thinks the less of reading an index alone.
            until(lambda: _vacuumed(connection, tables), what="every page is visible to all")


def _vacuumed(connection: Connection, tables: tuple[str, ...]) -> bool:
    connection.execute(text("VACUUM ANALYZE"))
    return not connection.execute(_HIDDEN, {"tables": tables}).all()
