"""Moves a request body out of its socket: into a file inside the kernel, or through a buffer into a sink.

Rule: the bytes that were taken from the socket and those that have reached their target are counted apart, after
each step, so that the body knows both however the time slice ends.
"""

import contextlib
import errno
import os
import select
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

from server.transport.body import Sink, Target, Writer, opened, written
from server.transport.pipes import Pipe, Pipes
from server.transport.time_slice import Socket, TimeSlice
from server.transport.trailing_hash import TrailingHash, buffer

# A body that brought so much in one slice wakes its thread for so much at once, not for each packet. (Before that the
# kernel could not let the receive buffer grow.)
_FAST_BYTES = 1 << 20
_GATHERED_BYTES = 1 << 17

_NONBLOCK = getattr(os, "SPLICE_F_NONBLOCK", 0)

pipes = Pipes()


class Transfer(TimeSlice, ABC):
    """One time slice of one body."""

    def __init__(self, source: Socket, limit: int, patience_ms: int) -> None:
        super().__init__(source, select.POLLIN, limit, patience_ms)
        self.moved = 0
        """Bytes that have reached their target."""
        self.left = b""
        """Bytes that were read and that the sink did not take."""
        self.can_splice = True
        """False after the file system refused to splice."""
        self._is_gathering = False

    def run(self) -> None:
        """Move bytes. Raises `OSError` when their target takes no more."""
        try:
            self._run()
        finally:
            self._gather(0)

    @abstractmethod
    def _run(self) -> None:
        """Move bytes; the socket's low-water mark is reset afterwards."""

    def _take(self, take: Callable[[int], int]) -> Iterator[int]:
        """Take bytes from the socket until the slice is over; yields how many came, each time."""
        for count in self._calls(take):
            yield count
            if self._limit - self.count < _GATHERED_BYTES:
                self._gather(0)  # that many will not come any more

    def _poll(self) -> bool:
        if self._patience_ms and self.count >= _FAST_BYTES and self._limit - self.count >= _GATHERED_BYTES:
            self._gather(_GATHERED_BYTES)
        return super()._poll()

    def _gather(self, count: int) -> None:
        """Make the socket readable once it has so many bytes; 0 means any bytes."""
        if self._is_gathering != bool(count):
            self._is_gathering = bool(count)
            set_low_water_mark(self._socket, max(1, count))


class FeedTransfer(Transfer):
    """From the socket through a buffer into a sink. The sink takes all of `front`, which was read before."""

    def __init__(self, source: Socket, limit: int, patience_ms: int, sink: Sink, front: bytes = b"") -> None:
        super().__init__(source, limit, patience_ms)
        self._sink = sink
        self._front = front

    def _run(self) -> None:
        if self._front:
            self.moved = self._sink(memoryview(self._front))
        view = memoryview(buffer())
        for count in self._take(lambda most: os.readv(self._socket, [view[:most]])):
            used = self._sink(view[:count])
            self.moved += used
            if used < count:
                self.left = bytes(view[used:count])
                return


class SpliceTransfer(Transfer):
    """From the socket into a file, inside the kernel; `front` was read before and goes first."""

    def __init__(
        self,
        source: Socket,
        limit: int,
        patience_ms: int,
        target: Target,
        offset: int,
        follower: TrailingHash | None,
        front: bytes,
    ) -> None:
        super().__init__(source, limit, patience_ms)
        self._target = target
        self._offset = offset
        self._follower = follower
        self._front = front

    def _run(self) -> None:
        if self._front:
            self.moved = Writer(self._target, self._offset, None)(memoryview(self._front))
            self._offset += self.moved
            self._report()
        if self._limit:
            with pipes.borrow() as pipe:
                self._splice(pipe)

    def _splice(self, pipe: Pipe) -> None:
        for count in self._take(lambda most: os.splice(self._socket, pipe.into, most, flags=_NONBLOCK)):
            pipe.filled = count
            try:
                self._empty(pipe)
            finally:
                self._report()
            if not self.can_splice:
                return

    def _report(self) -> None:
        """Report to target and checksum how far the file is written."""
        written(self._target, self._offset)
        if self._follower:
            self._follower.written(self._offset)

    def _empty(self, pipe: Pipe) -> None:
        target = opened(self._target)
        while pipe.filled:
            try:
                count = os.splice(pipe.out, target, pipe.filled, offset_dst=self._offset)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                # The file system cannot splice: empty the pipe by hand; later bytes go through a buffer.
                self.can_splice = False
                count = Writer(target, self._offset, None)(memoryview(os.read(pipe.out, pipe.filled)))
            pipe.filled -= count
            self._offset += count
            self.moved += count


def set_low_water_mark(descriptor: int, count: int) -> None:
    """Let a wait for a socket end when so many bytes are there (or its end is)."""
    view = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fileno=descriptor)
    try:
        with contextlib.suppress(OSError):  # of a connection that is gone
            view.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)
    finally:
        view.detach()
