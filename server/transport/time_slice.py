"""The work of one thread for one connection: system calls on a socket that does not block, until the time slice ends.

Rule: bytes are counted after each call, so the connection knows them however its slice ends. A slice ends after
`SLICE_BYTES` or half a second; the connection then queues again, so that none keeps a thread.

A thread waits for its socket for a moment only (`patience_ms`). Longer waits happen on the event loop, where they cost
no thread: `SocketWaiter`.
"""

import asyncio
import errno
import select
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from server.transport.body import Pace

PLENTY = 1 << 17
"""A connection that moved so many bytes in one slice is waited for on the thread, for a moment, in the next."""

MOVE_BYTES = 1 << 20
"""Bytes of one system call, at most."""

SLICE_BYTES = 1 << 25
_SLICE_SECONDS = 0.5

# Errors of a socket whose client is gone.
_GONE = frozenset(
    {errno.ECONNRESET, errno.ETIMEDOUT, errno.EPIPE, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENOTCONN}
)


class Socket(NamedTuple):
    """The descriptor of a socket, and whether the thread that uses it has to stop."""

    descriptor: int
    is_stopping: Callable[[], bool]


class TimeSlice:
    """A thread's work for one connection. `events` are those of `poll` that let the next call succeed."""

    def __init__(self, target: Socket, events: int, limit: int, patience_ms: int) -> None:
        self._socket = target.descriptor
        self._is_stopping = target.is_stopping
        self._events = events
        self._limit = limit
        self._patience_ms = patience_ms
        self.count = 0
        """Bytes that went through the socket."""
        self.blocked = False
        """The socket was empty, or full."""
        self.gone = False
        """The client went away."""
        self.ended = False
        """A call moved nothing: its source is at its end."""

    def _calls(self, move: Callable[[int], int]) -> Iterator[int]:
        """Call `move` with the most that it may move, until the slice is over; yields the bytes of each call."""
        end = time.monotonic() + _SLICE_SECONDS
        waited = False
        while self.count < self._limit and not self._is_stopping():
            try:
                count = move(min(MOVE_BYTES, SLICE_BYTES - self.count, self._limit - self.count))
            except (BlockingIOError, InterruptedError):
                # Once for every success: a socket that polls as ready and is not would keep the thread.
                if waited or not self._poll():
                    self.blocked = True
                    return
                waited = True
                continue
            except OSError as error:
                if error.errno not in _GONE:
                    raise
                self.gone = True
                return
            if count == 0:
                self.ended = True
                return
            asked = min(MOVE_BYTES, SLICE_BYTES - self.count, self._limit - self.count)
            self.count += count
            waited = False
            yield count
            if not self._patience_ms and count < asked:  # that was all; another call would only find that out
                self.blocked = self.count < self._limit
                return
            if self.count >= SLICE_BYTES or time.monotonic() > end:
                return

    def _poll(self) -> bool:
        """Wait for a moment; returns whether the socket is ready."""
        if not self._patience_ms:
            return False
        poll = select.poll()
        poll.register(self._socket, self._events)
        return bool(poll.poll(self._patience_ms))


class SocketWaiter:
    """Waits on the event loop until a socket is ready. `pace` counts the wait against the client."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._future: asyncio.Future[bool] | None = None

    @property
    def is_waiting(self) -> bool:
        return self._future is not None

    def wake(self) -> None:
        """End the current wait, as if the socket were ready."""
        if self._future is not None:
            _resolve(self._future, ready=True)

    async def readable(self, descriptor: int, seconds: float) -> bool:
        """Wait for bytes to read; False when the time is up."""
        loop = asyncio.get_running_loop()
        return await self._wait(partial(loop.add_reader, descriptor), partial(loop.remove_reader, descriptor), seconds)

    async def writable(self, descriptor: int, seconds: float) -> bool:
        """Wait for space to write; False when the time is up."""
        loop = asyncio.get_running_loop()
        return await self._wait(partial(loop.add_writer, descriptor), partial(loop.remove_writer, descriptor), seconds)

    async def _wait(
        self, add: Callable[[Callable[[], None]], object], remove: Callable[[], object], seconds: float
    ) -> bool:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bool] = loop.create_future()
        self._future = future
        timer = loop.call_later(seconds, partial(_resolve, future, ready=False))
        add(partial(_resolve, future, ready=True))
        self._pace.wait()
        try:
            return await future
        finally:
            self._future = None
            timer.cancel()
            remove()


def _resolve(future: "asyncio.Future[bool]", *, ready: bool) -> None:
    if not future.done():
        future.set_result(ready)
