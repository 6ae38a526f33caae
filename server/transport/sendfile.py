"""A file straight into its socket: `sendfile` for bytes that the server need not read.

Rule: bytes are counted when they are in the socket, never before, and missing bytes of the file are never made up: a
file that has become too short ends the connection.

Theory of operation. The HTTP server offers its socket in the ASGI scope (`FILES`). Head and framing of an answer go
through the ordinary `send`. When a part of its body lies in a file, the offer is taken: the server waits until its own
buffer is empty, and gives a descriptor of our own for the same socket (a `dup`: the server may close its own, and its
number may be reused while we write). Until that is given back the server does not write. It is notified of every byte
that was sent, and counts what the Content-Length still lacks. So the answer ends like any other, by an empty last
message, and the next request on the connection is answered.

Bytes are moved by a thread, from the page cache into the socket, inside the kernel. The socket does not block. When
it is full the thread waits for a moment, if bytes went in plenty before, and then ends its time slice: waiting is done
on the event loop, so that a thousand slow downloads hold no thread. A slice also ends after a while (`time_slice.py`),
so that no download keeps a thread for itself.

The socket's buffer has the file's own pages, until the client has confirmed them: a file that is sent must not
be written any more (it may be deleted, or replaced by another).

A client is alive while it reads. The kernel calls a socket writable only when a third of its buffer is free,
which may be megabytes; so what counts is how many bytes the other side has confirmed. A client that reads none for too
long, or too few, is reset, which frees the kernel's memory for it.
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
from typing import Protocol

from server import threads
from server.transport.body import Pace
from server.transport.time_slice import PLENTY, Socket, SocketWaiter, TimeSlice

# The key in an ASGI scope's extensions under which a server that offers `sendfile` puts its `Outlet`.
FILES = "videodock.file"

_MOMENT_MS = 2  # how long a thread waits for a client that read plenty

# Errors of a file system that cannot send.
_CANNOT = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})

senders = ThreadPoolExecutor(8, "file")
"""The threads that send files: few, whatever the number of connections."""


class FileTooShortError(Exception):
    """The file has fewer bytes than were announced: the response cannot be completed."""


class Outlet(Protocol):
    """A server's offer for the body of one response. All methods are called on the event loop."""

    async def take(self, count: int, lost: Callable[[], None]) -> int:
        """Wait until the server's buffer is empty; a descriptor for the socket, or -1 when the connection is gone.

        The caller owns it. `count` bytes will be written, which the response must still lack; `lost` is called when the
        connection is lost.
        """

    def sent(self, count: int) -> None:
        """Count so many bytes as written to the socket."""

    def give_back(self) -> None:
        """The server writes again."""

    def gone(self) -> None:
        """The client does not read the response: it is not completed, and the connection is reset."""


class FileSender:
    """Sends from open files. A client that reads nothing for `idle_seconds`, or is slower than `pace`, is gone."""

    def __init__(self, outlet: Outlet, idle_seconds: float, pace: Pace | None = None) -> None:
        self._outlet = outlet
        self._idle_seconds = idle_seconds
        self._pace = pace or Pace(0, idle_seconds)
        self._descriptor = -1
        self._lost = False
        self._waiter = SocketWaiter(self._pace)
        self.can_sendfile = True
        self.sent = 0
        """Bytes that are in the socket."""

    async def send(self, file: int, offset: int, count: int) -> bool:
        """Send `count` bytes from `offset` on; False when the client is gone: then send nothing more.

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
        confirmed_at, patience = time.monotonic(), _MOMENT_MS
        target = Socket(self._descriptor, lambda: self._lost)
        while True:
            part = _FileSlice(target, file, offset, count, patience, can_sendfile=self.can_sendfile)
            try:
                await threads.run(part.run, pool=senders)
            finally:
                self.sent += part.count
                self._outlet.sent(part.count)
            self.can_sendfile = part.can_sendfile
            offset, count = offset + part.count, count - part.count
            if part.gone or self._lost:
                return False
            if count == 0:
                return True
            if part.ended:
                raise FileTooShortError(f"{count} bytes from {offset} on are missing")
            if part.count:
                confirmed_at, patience = time.monotonic(), _MOMENT_MS if part.count >= PLENTY else 0
            if part.blocked and not await self._writable(confirmed_at):
                return False

    def _stop(self) -> None:
        self._lost = True
        self._waiter.wake()

    async def _writable(self, confirmed_at: float) -> bool:
        """Wait until the socket takes bytes, or is lost; False when its client has read none since `confirmed_at`."""
        queued = _queued(self._descriptor)
        while not self._lost:
            seconds = min(confirmed_at + self._idle_seconds - time.monotonic(), self._pace.left)
            if seconds <= 0:
                return False
            ready = await self._waiter.writable(self._descriptor, seconds)
            before, queued = queued, _queued(self._descriptor)
            self._pace.check(max(0, before - queued))
            if ready:
                return True
            if queued < before:
                confirmed_at = time.monotonic()
        return True


class _FileSlice(TimeSlice):
    """One time slice of one file."""

    def __init__(
        self, target: Socket, file: int, offset: int, limit: int, patience_ms: int, *, can_sendfile: bool
    ) -> None:
        super().__init__(target, select.POLLOUT, limit, patience_ms)
        self._file = file
        self._offset = offset
        self.can_sendfile = can_sendfile
        """False after the file system refused it."""

    def run(self) -> None:
        """Send bytes. Raises `OSError` when the file cannot be read."""
        for count in self._calls(self._move):
            self._offset += count

    def _move(self, most: int) -> int:
        if self.can_sendfile:
            try:
                return os.sendfile(self._socket, self._file, self._offset, most)
            except OSError as error:
                if error.errno not in _CANNOT:
                    raise
                self.can_sendfile = False
        data = os.pread(self._file, most, self._offset)
        return os.write(self._socket, data) if data else 0


def _queued(descriptor: int) -> int:
    """Bytes that were written into a socket and the other side has not confirmed."""
    found = array.array("i", [0])
    fcntl.ioctl(descriptor, termios.TIOCOUTQ, found)
    return found[0]
