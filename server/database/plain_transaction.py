"""A transaction of SQLite that is begun and ended by the driver alone.

Rule: it does what a transaction of `session.py` does, and raises what SQLAlchemy raises. It is a class with two
methods, because SQLAlchemy's transaction and the generators around it cost as much as the statements.
"""

import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, cast

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError


class PlainTransaction:
    """Write by the driver of `connection`; the lock `line` is held meanwhile. SQLAlchemy must not be used in it.

    With `is_lazy` the commit does not wait for the disk. `ended` is called after `line` is free, with the error if
    there was one.
    """

    __slots__ = ("_connection", "_ended", "_level", "_line", "_raw")

    def __init__(
        self,
        connection: Connection,
        line: AbstractContextManager[Any],
        ended: Callable[[BaseException | None], None],
        *,
        is_lazy: bool,
    ) -> None:
        self._connection = connection
        self._raw = cast("sqlite3.Connection", connection.connection.driver_connection)
        self._line = line
        self._ended = ended
        self._level = "NORMAL" if is_lazy else "FULL"

    def __enter__(self) -> tuple[sqlite3.Connection, Connection]:
        self._line.__enter__()
        info = self._connection.info
        try:
            if info.get("synchronous") != self._level:
                self._raw.execute(f"PRAGMA synchronous={self._level}")
                info["synchronous"] = self._level
            self._raw.execute("BEGIN IMMEDIATE")
        except BaseException as error:
            self._leave(error)
        return self._raw, self._connection

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        try:
            if error is None:
                self._raw.execute("COMMIT")
        except BaseException as failure:
            error = failure
        if error is None:
            self._line.__exit__(None, None, None)
            self._ended(None)
            return
        try:
            self._raw.rollback()
        finally:
            self._leave(error)

    def _leave(self, error: BaseException) -> None:
        self._line.__exit__(None, None, None)
        if isinstance(error, sqlite3.Error):
            translated: BaseException = DBAPIError.instance(None, None, error, sqlite3.Error)
            self._ended(translated)
            raise translated from error
        self._ended(error)
        raise error
