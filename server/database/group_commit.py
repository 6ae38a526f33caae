"""Writes of many requests in one transaction: all that wait share the cost of one commit.

Rule: the effect is that of one transaction per write. A write that raises leaves no changes and disturbs no other; no
caller gets a result before the commit; and when the common transaction fails, each write runs again alone. So a write
may change rows and nothing else: it may run twice.

There is one thread. While it commits, other writes gather for the next transaction: a lone write does not wait, and a
burst of 500 needs a few dozen commits. A write may have something to do after its commit (`then`), which the thread
does before it answers: so a request that creates a row and a file goes to one thread, once.
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

from server import threads

T = TypeVar("T")

Work = Callable[[Connection], T]
Then = Callable[[T], object]
Begin = Callable[[bool], Any]
"""Begins a transaction that writes, as a context manager of its connection; lazy or not."""

_MOST = 64  # of one transaction: writers in other processes wait for it


@dataclass(slots=True)
class _Write:
    work: Work[Any]
    is_lazy: bool
    done: Callable[[Any, BaseException | None], None]
    then: Then[Any] | None = None
    result: Any = None
    error: BaseException | None = None

    def answer(self) -> None:
        """After the commit, or after the failure of this write."""
        if self.then is not None and self.error is None:
            try:
                self.then(self.result)
            except BaseException as error:
                self.error = error
        self.done(self.result, self.error)


class GroupCommit:
    """The writer of one database in this process. `begin` begins a transaction."""

    def __init__(self, begin: Begin) -> None:
        self._begin = begin
        self._waiting: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    async def run(self, work: Work[T], *, then: Then[T] | None = None, lazy: bool = False) -> T:
        """`work` with a connection, committed when this returns, and `then` done with its result.

        Raises what they raise, or what the commit raises. Once begun, it completes even if the caller is cancelled.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def done(result: T, error: BaseException | None) -> None:
            with suppress(RuntimeError):  # the loop is closed: its process ends
                loop.call_soon_threadsafe(_settle, future, result, error)

        self._put(_Write(work, lazy, done, then))
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
            self._commit(batch)

    def _commit(self, batch: list[_Write]) -> None:
        self._settle_all(batch)
        for write in batch:
            write.answer()

    def _settle_all(self, batch: list[_Write]) -> None:
        """Commit these writes; those that fail have an error, and no effect."""
        left = batch
        while left:
            failed = self._try(left)
            if failed is None:
                return
            if failed.write is None:
                # None could begin: trying each would only make all the others wait as long again.
                for write in left:
                    write.error = failed.error
                return
            if failed.is_its_own or len(left) == 1:
                failed.write.error = failed.error
                left = [write for write in left if write is not failed.write]
            else:
                # Perhaps the transaction itself failed: on a full disk, say.
                for write in left:
                    self._settle_all([write])
                return

    def _try(self, batch: list[_Write]) -> "_Failure | None":
        """One transaction for all, or none of them and the first failure."""
        current: _Write | None = None
        at_work = True
        try:
            with self._begin(all(write.is_lazy for write in batch)) as connection:
                for current in batch:
                    current.result = current.work(connection)
                at_work = False
        except BaseException as error:
            return _Failure(current, error, is_its_own=at_work and not isinstance(error, DBAPIError))
        return None


@dataclass(frozen=True)
class _Failure:
    """What ended a transaction; `is_its_own` if that was surely the fault of this write alone.

    Without a write, it did not even begin.
    """

    write: _Write | None
    error: BaseException
    is_its_own: bool


def _settle(future: "asyncio.Future[Any]", result: object, error: BaseException | None) -> None:
    if future.done():  # its caller was cancelled
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(cast("Exception", error))
