"""Blocking work on threads, for the event loop.

Rule: work on a thread is always awaited, even when its caller is cancelled. It uses resources of the caller (a
descriptor, a lock, a connection), which must not be closed or reused before it has ended.

The pools are the standard library's: handing work to a thread costs about two thirds of what it does with
AnyIO's when one waits, and less with many; the small requests of an upload do little else.
"""

import asyncio
import contextlib
import contextvars
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar, TypeVarTuple

A = TypeVarTuple("A")
T = TypeVar("T")

_common = ThreadPoolExecutor(32, "blocking")


async def run(work: Callable[[*A], T], *args: *A, pool: ThreadPoolExecutor | None = None) -> T:
    """`work(*args)` on a thread of `pool`, or of the common one."""
    answer: Answer[T] = Answer()
    (pool or _common).submit(contextvars.copy_context().run, _do, answer, work, args)
    return await answer


class Answer(asyncio.Future[T]):
    """The result of work on another thread, for the running event loop.

    It cannot be cancelled: a caller that is cancelled waits for the end of the work, and is cancelled then. This does
    what `asyncio.shield` and a loop around it would do, without two more futures and turns of the event loop.
    """

    def cancel(self, msg: object = None) -> bool:  # noqa: ARG002  # as the base class
        return False

    def settle(self, result: T, error: BaseException | None) -> None:
        """Wake the caller. On its event loop."""
        if error is None:
            self.set_result(result)
        else:
            self.set_exception(error)

    def give(self, result: T, error: BaseException | None) -> None:
        """The same from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: its process ends
            self.get_loop().call_soon_threadsafe(self.settle, result, error)


def _do(answer: "Answer[Any]", work: Callable[..., Any], args: tuple[object, ...]) -> None:
    try:
        result = work(*args)
    except BaseException as error:
        answer.give(None, error)
    else:
        answer.give(result, None)


class Gathered(Generic[T]):
    """Equal work for many callers, on a few threads: what comes while all of them are at work waits, and one thread
    takes all of it. So a burst costs few hand-overs to threads, and the work can prepare something for a whole batch.
    """

    def __init__(self, work: Callable[[T], object], begin: Callable[[Sequence[T]], object], threads: int) -> None:
        self._work = work
        self._begin = begin
        self._left = threads
        self._waiting: deque[tuple[T, Answer[None]]] = deque()

    async def run(self, item: T) -> None:
        """`work(item)` on a thread. Raises what that raises. For the event loop."""
        answer: Answer[None] = Answer()
        self._waiting.append((item, answer))
        if self._left:
            self._left -= 1
            # After this turn of the loop, in which more may come.
            answer.get_loop().call_soon(self._start)
        await answer

    def _start(self) -> None:
        batch, self._waiting = self._waiting, deque()
        if batch:
            _common.submit(self._do, batch)
        else:
            self._left += 1

    def _do(self, batch: Sequence[tuple[T, "Answer[None]"]]) -> None:
        failed: Sequence[BaseException | None]
        try:
            if len(batch) > 1:
                self._begin([item for item, _ in batch])
        except BaseException as error:
            failed = [error] * len(batch)
        else:
            failed = [self._failure_of(item) for item, _ in batch]
        with contextlib.suppress(RuntimeError):  # the loop is closed: its process ends
            batch[0][1].get_loop().call_soon_threadsafe(self._settle, batch, failed)

    def _failure_of(self, item: T) -> BaseException | None:
        try:
            self._work(item)
        except BaseException as error:
            return error
        return None

    def _settle(self, batch: Sequence[tuple[T, "Answer[None]"]], failed: Sequence[BaseException | None]) -> None:
        for (_, answer), error in zip(batch, failed, strict=True):
            answer.settle(None, error)
        self._start()


async def finished(running: "asyncio.Future[T]") -> T:
    """The result of a future; waits for it even when the caller is cancelled meanwhile."""
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({running})
        if not running.cancelled():
            running.exception()  # retrieved, so that asyncio does not report it as never retrieved
        raise
