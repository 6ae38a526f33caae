"""Runs the revisions.

Rules: one transaction for all of them, DDL included; foreign keys are off meanwhile on SQLite (a batch copy of
a table would cascade-delete its children) and checked at its end; two programs that migrate the same database
at once wait for each other.
"""

from typing import Literal

from alembic import context
from sqlalchemy import Connection, Engine

from server.database import comments
from server.database.models import Base
from server.database.session import make_engine
from server.database.types import UtcDateTime
from server.settings import load

# Any number will do, as long as every Videodock uses the same.
_ADVISORY_LOCK = 7_245_193_001


def _engine() -> Engine:
    engine = context.config.attributes.get("engine")
    if isinstance(engine, Engine):
        return engine
    return make_engine(context.config.attributes.get("url") or load().sqlalchemy_url, 1)


def _render(kind: str, item: object, _: object) -> str | Literal[False]:
    """A new revision names plain types, since it imports nothing from `server`."""
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, UtcDateTime) else False


def _configure(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=True,
        compare_type=True,
        render_item=_render,
        transaction_per_migration=False,
    )


def _run_on_sqlite(engine: Engine) -> None:
    with engine.connect().execution_options(videodock_write=True) as connection:
        # PRAGMA foreign_keys does nothing inside a transaction.
        raw = connection.connection.cursor()
        raw.execute("PRAGMA foreign_keys=OFF")
        # A batch copy takes a table away for a moment; the views that read it stay as they are.
        raw.execute("PRAGMA legacy_alter_table=ON")
        try:
            with connection.begin():
                _configure(connection)
                context.run_migrations()
                broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
                if broken:
                    raise RuntimeError(f"the migration broke foreign keys: {broken[:5]}")
        finally:
            raw.execute("PRAGMA legacy_alter_table=OFF")
            raw.execute("PRAGMA foreign_keys=ON")


def _run_on_postgresql(engine: Engine) -> None:
    with engine.connect() as connection, connection.begin():
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})")
        _configure(connection)
        context.run_migrations()
        comments.write(connection)


_target = _engine()
if _target.dialect.name == "sqlite":
    _run_on_sqlite(_target)
else:
    _run_on_postgresql(_target)
