"""Blocking work on threads, for the event loop.

Rule: a thread that was begun is waited for, also by a caller who is cancelled. What it works on (a descriptor, a
lock, a connection) is the caller's, and must not be closed or reused under its hands.

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
    """The result of work that a thread does, awaited also by a caller who is cancelled meanwhile."""
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({running})
        if not running.cancelled():
            running.exception()  # looked at, so that asyncio does not report it as never retrieved
        raise
