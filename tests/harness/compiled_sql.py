"""SQL that is compiled once in a process of the tests, and not once for each engine.

Rule: nothing of a statement changes. SQLAlchemy keeps compiled statements in each engine, by the dialect object, and a
test makes an engine for each of its services: the first sweep of each compiled a hundred statements again. The engines
of this process share what they have compiled, by the kind of the dialect; a forked server (`forkserver`) begins with
what its parent has.
"""

from typing import Any

from sqlalchemy import Engine
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.util import LRUCache

_MOST = 5_000
_shared: "LRUCache[Any, Any]" = LRUCache(_MOST)


def share() -> None:
    """From now on, each new engine uses the common cache."""
    for dialect in (SQLiteDialect_pysqlite, PGDialect_psycopg):
        dialect.__eq__ = _is_same_kind  # type: ignore[method-assign]
        dialect.__hash__ = _by_kind  # type: ignore[method-assign]
    begin = Engine.__init__

    def begin_shared(engine: Engine, *arguments: Any, **options: Any) -> None:
        begin(engine, *arguments, **options)
        engine._compiled_cache = _shared

    Engine.__init__ = begin_shared  # type: ignore[method-assign]


def _is_same_kind(dialect: object, other: object) -> bool:
    return type(dialect) is type(other)


def _by_kind(dialect: object) -> int:
    return hash(type(dialect))
