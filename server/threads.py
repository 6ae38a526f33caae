"""Blocking work on threads, for the event loop.

Rule: work on a thread is always awaited, even when its caller is cancelled. It uses resources of the caller (a
descriptor, a lock, a connection), which must not be closed or reused before it has ended.

The pools are the standard library's: handing work to a thread costs about two thirds of what it does with
AnyIO's when one waits, and less with many; the small requests of an upload do little else.
"""

import asyncio
import contextlib
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple

A = TypeVarTuple("A")
T = TypeVar("T")

_common = ThreadPoolExecutor(32, "blocking")


async def run(work: Callable[[*A], T], *args: *A, pool: ThreadPoolExecutor | None = None) -> T:
    """`work(*args)` on a thread of `pool`, or of the common one."""
    context = contextvars.copy_context()
    running = asyncio.get_running_loop().run_in_executor(pool or _common, context.run, work, *args)
    return await finished(running)


async def finished(running: "asyncio.Future[T]") -> T:
    """The result of work on a thread; waits for its end even when the caller is cancelled meanwhile."""
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({running})
        if not running.cancelled():
            running.exception()  # retrieved, so that asyncio does not report it as never retrieved
        raise
