"""Blocking work on threads, for the event loop.

Rule: a thread that was begun is waited for, also by a caller who is cancelled. What it works on (a descriptor, a
lock, a connection) is the caller's, and must not be closed or reused under its hands.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

import anyio
import anyio.to_thread

A = TypeVarTuple("A")
T = TypeVar("T")


async def run(work: Callable[[*A], T], *args: *A, limiter: anyio.CapacityLimiter | None = None) -> T:
    """`work(*args)` on a thread of `limiter`'s pool, or of the common one."""
    running = asyncio.ensure_future(anyio.to_thread.run_sync(work, *args, limiter=limiter))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({running})
        if not running.cancelled():
            running.exception()  # looked at, so that nobody reports it as forgotten
        raise
