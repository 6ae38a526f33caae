"""Writes of many requests in one transaction: all that wait share the cost of one commit.

Rule: the effect is that of one transaction per write. A write that raises leaves no changes and disturbs no other; no
caller gets a result before the commit; and when the common transaction fails, each write runs again alone. So a write
may change rows and nothing else: it may run twice.

There is one thread. While it commits, other writes gather for the next transaction: a lone write does not wait, and a
burst of 500 needs a few dozen commits.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from server import threads

T = TypeVar("T")

Work = Callable[[Session], T]
Begin = Callable[[bool], Any]
"""Begins a transaction that writes, as a context manager of its connection; lazy or not."""

_MOST = 64  # of one transaction: writers in other processes wait for it


@dataclass(slots=True)
class _Write:
    work: Work[Any]
    is_lazy: bool
    done: Callable[[Any, BaseException | None], None]
    result: Any = None
    error: BaseException | None = None

    def answer(self) -> None:
        self.done(self.result, self.error)


class GroupCommit:
    """The writer of one database in this process. `begin` begins a transaction."""

    def __init__(self, begin: Begin) -> None:
        self._begin = begin
        self._waiting: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    async def run(self, work: Work[T], *, lazy: bool = False) -> T:
        """`work` with a session, committed when this returns. Raises what it raises, or what the commit raises.

        Once begun, it completes even if the caller is cancelled.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def done(result: T, error: BaseException | None) -> None:
            with suppress(RuntimeError):  # the loop is closed: its process ends
                loop.call_soon_threadsafe(_settle, future, result, error)

        self._put(_Write(work, lazy, done))
        return await threads.finished(future)

    def close(self) -> None:
        """Complete the waiting writes, and end. Blocking."""
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join()
            self._thread = None

    def _put(self, write: _Write) -> None:
        if self._thread is None:
            with self._starting:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._work_off, name="sql-writer", daemon=True)
                    self._thread.start()
        self._waiting.put(write)

    def _work_off(self) -> None:
        last = False
        while not last:
            batch: list[_Write] = []
            item = self._waiting.get()
            while item is not None:
                batch.append(item)
                if len(batch) == _MOST or self._waiting.empty():
                    break
                item = self._waiting.get()
            last = item is None
            if batch:
                self._commit(batch)

    def _commit(self, batch: list[_Write]) -> None:
        try:
            self._try(batch)
        except BaseException as error:
            if len(batch) == 1:
                batch[0].error = error
            else:
                for write in batch:
                    self._commit([write])
                return
        for write in batch:
            write.answer()

    def _try(self, batch: list[_Write]) -> None:
        with self._begin(all(write.is_lazy for write in batch)) as connection:
            for write in batch:
                write.result = write.error = None
                if len(batch) == 1:
                    write.result = _perform(write.work, connection)
                else:
                    _perform_apart(write, connection)


def _perform(work: Work[T], connection: Connection) -> T:
    with Session(connection, join_transaction_mode="rollback_only", expire_on_commit=False) as session:
        result = work(session)
        session.flush()
        return result


def _perform_apart(write: _Write, connection: Connection) -> None:
    connection.exec_driver_sql("SAVEPOINT one")
    try:
        write.result = _perform(write.work, connection)
    except DBAPIError:
        raise  # the transaction itself may be gone: a full disk rolls all of it back
    except Exception as error:
        write.error = error
        connection.exec_driver_sql("ROLLBACK TO one")
    connection.exec_driver_sql("RELEASE one")


def _settle(future: "asyncio.Future[Any]", result: object, error: BaseException | None) -> None:
    if future.done():  # its caller was cancelled
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(cast("Exception", error))
