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
    begin = Engine.__init__

    def begin_shared(engine: Engine, *arguments: Any, **options: Any) -> None:
        begin(engine, *arguments, **options)
        engine._compiled_cache = _shared

    _replace(Engine, __init__=begin_shared)
    for dialect in (SQLiteDialect_pysqlite, PGDialect_psycopg):
        _replace(dialect, __eq__=_is_same_kind, __hash__=_by_kind)


def _replace(kind: type, **methods: Any) -> None:
    for name, method in methods.items():
        setattr(kind, name, method)


def _is_same_kind(dialect: object, other: object) -> bool:
    return type(dialect) is type(other)


def _by_kind(dialect: object) -> int:
    return hash(type(dialect))
