"""Writes of many requests in one transaction: all that wait share the cost of one commit.

Rule: the effect is that of one transaction per write. A write that raises leaves no changes and disturbs no other; no
caller gets a result before the commit; and when the common transaction fails, each write runs again alone. So a write
may change rows and nothing else: it may run twice.

There is one thread. It gets the writes of one turn of the event loop together; while it commits, others gather for the
next transaction. So a lone write does not wait, and a burst of 500 needs a few dozen commits. A write may have
something to do after its commit (`then`), which the thread does before it answers, and which may give one more write:
so a request that ends a row, deletes its file and changes the row again goes to one thread, once.

A write says whether it is `plain`: it uses prepared statements only. Then SQLite's driver is enough, and a transaction
of such writes costs a fifth of one of SQLAlchemy's.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy.exc import DBAPIError

from server import threads

T = TypeVar("T")

Work = Callable[[Any], T]
"""What a write does, by a connection: SQLAlchemy's, or the driver's for a plain one."""
Then = Callable[[T], Work[object] | None]
Begin = Callable[[bool, bool], Any]
"""Begins a transaction that writes; lazy or not, plain or not. A context manager of two connections: the one for plain
writes, and the one for others."""

_MOST = 64  # of one transaction: writers in other processes wait for it


class _Write:
    __slots__ = ("answer", "error", "is_lazy", "is_plain", "result", "then", "work")

    def __init__(
        self, work: Work[Any], then: Then[Any] | None, answer: "threads.Answer[Any]", *, lazy: bool, plain: bool
    ) -> None:
        self.work = work
        self.then = then
        self.answer = answer
        self.is_lazy = lazy
        self.is_plain = plain
        self.result: Any = None
        self.error: BaseException | None = None

    def after_commit(self) -> "_Write | None":
        """What comes after the commit; the write that comes next, if there is one."""
        if self.then is None or self.error is not None:
            return None
        try:
            more = self.then(self.result)
        except BaseException as error:
            self.error = error
            return None
        return None if more is None else _Write(more, None, self.answer, lazy=self.is_lazy, plain=self.is_plain)


class GroupCommit:
    """The writer of one database in this process. `begin` begins a transaction."""

    def __init__(self, begin: Begin) -> None:
        self._begin = begin
        self._gathered: list[_Write] = []  # of the current turn of the event loop
        self._gathering = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None  # of the newest of them
        self._waiting: queue.SimpleQueue[list[_Write] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    async def run(self, work: Work[T], *, then: Then[T] | None = None, lazy: bool = False, plain: bool = False) -> T:
        """`work` with a connection, committed when this returns, and `then` done with its result.

        Raises what they raise, or what the commit raises. Once begun, it completes even if the caller is cancelled.
        """
        answer: threads.Answer[T] = threads.Answer()
        loop = answer.get_loop()
        with self._gathering:
            is_first = not self._gathered or self._loop is not loop
            self._gathered.append(_Write(work, then, answer, lazy=lazy, plain=plain))
            self._loop = loop
        if is_first:
            # Not at once: the thread would wake and wait for the interpreter's lock until this turn is over.
            loop.call_soon(self._put_gathered)
        return await answer

    def close(self) -> None:
        """Complete the waiting writes, and end. Blocking."""
        self._put_gathered()
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join()
            self._thread = None

    def _put_gathered(self) -> None:
        with self._gathering:
            writes, self._gathered = self._gathered, []
        if not writes:
            return
        if self._thread is None:
            with self._starting:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._work_off, name="sql-writer", daemon=True)
                    self._thread.start()
        self._waiting.put(writes)

    def _work_off(self) -> None:
        batch: list[_Write] = []
        last = False
        while batch or not last:
            while not last and len(batch) < _MOST and not (batch and self._waiting.empty()):
                more = self._waiting.get()
                last = more is None
                batch += more or ()
            self._commit(batch[:_MOST])
            batch = batch[_MOST:]

    def _commit(self, batch: list[_Write]) -> None:
        self._settle_all(batch)
        nexts = {write: more for write in batch if (more := write.after_commit()) is not None}
        _answer([write for write in batch if write not in nexts] if nexts else batch)
        if nexts:
            self._settle_all(list(nexts.values()))
            for write, more in nexts.items():
                write.error = more.error
            _answer(list(nexts))

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
            is_lazy, is_plain = all(write.is_lazy for write in batch), all(write.is_plain for write in batch)
            with self._begin(is_lazy, is_plain) as (plain, full):
                for current in batch:
                    current.result = current.work(plain if current.is_plain else full)
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


def _answer(writes: list[_Write]) -> None:
    """Wake the callers, all by one call of their event loop."""
    loops = {write.answer.get_loop() for write in writes}
    for loop in loops:
        with suppress(RuntimeError):  # the loop is closed: its process ends
            loop.call_soon_threadsafe(_settle, [write for write in writes if write.answer.get_loop() is loop])


def _settle(writes: list[_Write]) -> None:
    for write in writes:
        write.answer.settle(write.result, write.error)
