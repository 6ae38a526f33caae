"""A file straight into its socket: `sendfile` for bytes that the server need not read.

Rule: bytes are counted when they are in the socket, never before, and what the file does not have is never made up: a
file that has become too short ends the connection.

Theory of operation. The HTTP server offers its socket in the ASGI scope (`FILES`). Head and framing of an answer go
through the ordinary `send`. When a part of its body lies in a file, the offer is taken: the server waits until all
that it was told to write before has left its own buffer, and gives a descriptor of our own for the same socket (a
`dup`: the number of the server's own may be closed and reused under our hands). Until that is given back nobody else
writes; each byte that was sent is told to the server, who counts what the Content-Length still lacks. So the answer
ends like any other, by an empty last message, and the next request on the connection is answered.

Bytes are moved by a thread, from the page cache into the socket, inside the kernel. The socket does not block. When
it is full the thread waits for a moment, if bytes went in plenty before, and then goes: waiting is done on the event
loop, so that a thousand slow downloads hold no thread. So that no download keeps a thread for itself, it also goes
after a while and gets in line again.

What is in the socket is still the file's own pages, until the client has confirmed it: a file that is sent must not
be written any more (it may be deleted, or replaced by another).

A client is alive while it takes bytes. The kernel calls a socket writable only when a third of its buffer is free,
which may be megabytes; so what tells is how many bytes the other side has confirmed. One that takes none for too long,
or too few, is reset: whatever the kernel still keeps for it is freed.
"""

import array
import asyncio
import errno
import fcntl
import os
import select
import termios
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol

from server import threads
from server.transport.body import Pace

# The key in an ASGI scope's extensions under which a server that lets files out puts its `Outlet`.
FILES = "videodock.file"

_MOVE_BYTES = 1 << 20  # of one call
_TURN_BYTES = 1 << 25  # so much a thread moves before it lets others have a turn
_TURN_SECONDS = 0.5
_PLENTY = 1 << 17  # who took so much in one turn is waited for a moment
_MOMENT_MS = 2

# What a socket says when its client is gone, in whatever way.
_GONE = frozenset(
    {errno.ECONNRESET, errno.ETIMEDOUT, errno.EPIPE, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENOTCONN}
)
# What a file system says that cannot be sent from.
_CANNOT = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})

senders = ThreadPoolExecutor(8, "file")
"""The threads that send files: few, whatever the number of connections."""


class FileTooShortError(Exception):
    """The file has fewer bytes than were announced: the answer cannot be ended."""


class Outlet(Protocol):
    """What a server offers for the body of one answer. All of it is called on the event loop."""

    async def take(self, count: int, lost: Callable[[], None]) -> int:
        """Wait until nothing is in front; a descriptor for the socket, or -1 when the connection is gone.

        It belongs to the taker. `count` bytes are to come, which the answer must lack; `lost` is called when the
        connection is lost.
        """

    def sent(self, count: int) -> None:
        """So many bytes are in the socket."""

    def give_back(self) -> None:
        """The server writes again."""

    def gone(self) -> None:
        """The client does not read the answer: it is not ended, and the connection is reset."""


class FileSender:
    """Sends from open files. A client that takes nothing for `idle_seconds`, or is slower than `pace`, is gone."""

    def __init__(self, outlet: Outlet, idle_seconds: float, pace: Pace | None = None) -> None:
        self._outlet = outlet
        self._idle_seconds = idle_seconds
        self._pace = pace or Pace(0, idle_seconds)
        self._descriptor = -1
        self._lost = False
        self._waiter: asyncio.Future[bool] | None = None
        self.can_sendfile = True
        self.sent = 0
        """Bytes that are in the socket."""

    async def send(self, file: int, offset: int, count: int) -> bool:
        """Send `count` bytes from `offset` on; False when the client is gone, and nothing more is to be said.

        Raises `FileTooShortError`, and `OSError` when the file cannot be read.
        """
        if count == 0:
            return True
        try:
            async with asyncio.timeout(self._idle_seconds):
                self._descriptor = await self._outlet.take(count, self._stop)
        except TimeoutError:
            self._outlet.gone()
            return False
        try:
            whole = self._descriptor >= 0 and await self._send(file, offset, count)
        finally:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1
            self._outlet.give_back()
        if not whole:
            self._outlet.gone()
        return whole

    async def _send(self, file: int, offset: int, count: int) -> bool:
        heard, patience = time.monotonic(), _MOMENT_MS
        while True:
            turn = _TimeSlice(self, file, offset, count, patience)
            try:
                await threads.run(turn.run, pool=senders)
            finally:
                self.sent += turn.sent
                self._outlet.sent(turn.sent)
            offset, count = offset + turn.sent, count - turn.sent
            if turn.gone or self._lost:
                return False
            if count == 0:
                return True
            if turn.short:
                raise FileTooShortError(f"{count} bytes from {offset} on are missing")
            if turn.sent:
                heard, patience = time.monotonic(), _MOMENT_MS if turn.sent >= _PLENTY else 0
            if turn.full and not await self._writable(heard):
                return False

    def _stop(self) -> None:
        self._lost = True
        if self._waiter is not None:
            _wake(self._waiter, ready=True)

    async def _writable(self, heard: float) -> bool:
        """Wait until the socket takes bytes, or is lost; False when its client has taken none since `heard`."""
        queued = _queued(self._descriptor)
        while not self._lost:
            seconds = min(heard + self._idle_seconds - time.monotonic(), self._pace.left)
            if seconds <= 0:
                return False
            ready = await self._wait(seconds)
            before, queued = queued, _queued(self._descriptor)
            self._pace.check(max(0, before - queued))
            if ready:
                return True
            if queued < before:
                heard = time.monotonic()
        return True

    async def _wait(self, seconds: float) -> bool:
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        self._waiter = waiter
        timer = loop.call_later(seconds, partial(_wake, waiter, ready=False))
        loop.add_writer(self._descriptor, partial(_wake, waiter, ready=True))
        self._pace.wait()
        try:
            return await waiter
        finally:
            self._waiter = None
            timer.cancel()
            loop.remove_writer(self._descriptor)


class _TimeSlice:
    """What a thread does for one file, from when it gets its turn until it goes."""

    def __init__(self, sender: FileSender, file: int, offset: int, limit: int, patience_ms: int) -> None:
        self._sender = sender
        self._target = sender._descriptor
        self._file = file
        self._offset = offset
        self._limit = min(limit, _TURN_BYTES)
        self._patience_ms = patience_ms
        self.sent = 0
        self.full = False  # the socket takes no more
        self.gone = False  # the client went away
        self.short = False  # the file has ended

    def run(self) -> None:
        """Raises `OSError` when the file cannot be read."""
        end = time.monotonic() + _TURN_SECONDS
        waited = False
        while self.sent < self._limit and not self._sender._lost:
            try:
                count = self._move(self._offset + self.sent, min(_MOVE_BYTES, self._limit - self.sent))
            except (BlockingIOError, InterruptedError):
                # Once for every success: what polls as writable and is not would keep the thread.
                if waited or not self._wait():
                    self.full = True
                    return
                waited = True
                continue
            except OSError as error:
                if error.errno not in _GONE:
                    raise
                self.gone = True
                return
            if count == 0:
                self.short = True
                return
            self.sent += count
            waited = False
            if time.monotonic() > end:
                return

    def _move(self, offset: int, count: int) -> int:
        if self._sender.can_sendfile:
            try:
                return os.sendfile(self._target, self._file, offset, count)
            except OSError as error:
                if error.errno not in _CANNOT:
                    raise
                self._sender.can_sendfile = False
        data = os.pread(self._file, count, offset)
        return os.write(self._target, data) if data else 0

    def _wait(self) -> bool:
        if not self._patience_ms:
            return False
        poll = select.poll()
        poll.register(self._target, select.POLLOUT)
        return bool(poll.poll(self._patience_ms))


def _queued(descriptor: int) -> int:
    """Bytes that were written into a socket and the other side has not confirmed."""
    found = array.array("i", [0])
    fcntl.ioctl(descriptor, termios.TIOCOUTQ, found)
    return found[0]


def _wake(waiter: "asyncio.Future[bool]", *, ready: bool) -> None:
    if not waiter.done():
        waiter.set_result(ready)
