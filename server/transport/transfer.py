"""Stints: what a thread does for a request body, from when it gets its turn until it goes.

Rule: what a stint took from the socket and what of it is where it should be are counted apart, after each step, so
that the body knows both however the stint ends.
"""

import contextlib
import errno
import os
import select
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import NamedTuple

from server.transport.body import Sink, Target, Writer, opened, written
from server.transport.pipes import Pipe, Pipes
from server.transport.trailing_hash import BUFFER_BYTES, TrailingHash, buffer

PLENTY = 1 << 17
"""Who brought so much in one stint is waited for a moment."""

_MOVE_BYTES = BUFFER_BYTES  # of one splice or one read
_STINT_BYTES = 1 << 25  # so much a thread moves before it lets others have a turn
_STINT_SECONDS = 0.5
# Who brought so much in one stint is woken for so much at once, not for each packet. (Before that it would keep the
# kernel from letting the receive buffer grow.)
_FAST_BYTES = 1 << 20
_GATHERED_BYTES = 1 << 17

# What a socket says when its client is gone, in whatever way.
_GONE = frozenset(
    {errno.ECONNRESET, errno.ETIMEDOUT, errno.EPIPE, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENOTCONN}
)
_NONBLOCK = getattr(os, "SPLICE_F_NONBLOCK", 0)

pipes = Pipes()


class Source(NamedTuple):
    """A socket, and whether its reader has to stop."""

    descriptor: int
    is_stopping: Callable[[], bool]


class Transfer(ABC):
    """What a thread does for one body, from when it gets its turn until it goes."""

    def __init__(self, source: Source, limit: int, patience_ms: int) -> None:
        self._source = source.descriptor
        self._is_stopping = source.is_stopping
        self._limit = limit
        self._patience_ms = patience_ms
        self.taken = 0  # bytes from the socket
        self.moved = 0  # bytes that are where they should be
        self.left = b""  # what was read and the sink did not take
        self.dry = False  # the socket was empty
        self.gone = False  # the client went away
        self.is_last = False  # the body has to stop, and this is what it had
        self.works = True  # False: this way of moving bytes cannot be used
        self._is_gathering = False

    def run(self) -> None:
        """Move bytes. Raises `OSError` when their target takes no more."""
        try:
            self._run()
        finally:
            self._gather(0)

    @abstractmethod
    def _run(self) -> None:
        """The same."""

    def _turn(self, take: Callable[[int], int]) -> Iterator[int]:
        """Take bytes until the turn is over: how many came, each time."""
        end = time.monotonic() + _STINT_SECONDS
        waited = False
        while self.taken < self._limit and (self.is_last or not self._is_stopping()):
            try:
                count = take(min(_MOVE_BYTES, self._limit - self.taken))
            except (BlockingIOError, InterruptedError):
                # Once for every success: what polls as readable and is not would keep the thread.
                if waited or not self._wait():
                    self.dry = True
                    return
                waited = True
                continue
            except OSError as error:
                if error.errno not in _GONE:
                    raise
                count = 0
            if count == 0:
                self.gone = True
                return
            self.taken += count
            waited = False
            yield count
            if not self.works or self.taken >= _STINT_BYTES or time.monotonic() > end:
                return
            if self._limit - self.taken < _GATHERED_BYTES:
                self._gather(0)  # so much will not come any more

    def _wait(self) -> bool:
        if not self._patience_ms:
            return False
        if self.taken >= _FAST_BYTES and self._limit - self.taken >= _GATHERED_BYTES:
            self._gather(_GATHERED_BYTES)
        poll = select.poll()
        poll.register(self._source, select.POLLIN)
        return bool(poll.poll(self._patience_ms))

    def _gather(self, count: int) -> None:
        """Let the socket call for somebody when it has so many bytes; with 0 when it has any."""
        if self._is_gathering != bool(count):
            self._is_gathering = bool(count)
            set_low_water_mark(self._source, max(1, count))


class FeedTransfer(Transfer):
    """From the socket into a buffer, for a sink to look at. A sink takes all of `front`."""

    def __init__(self, source: Source, limit: int, patience_ms: int, sink: Sink, front: bytes = b"") -> None:
        super().__init__(source, limit, patience_ms)
        self._sink = sink
        self._front = front

    def _run(self) -> None:
        if self._front:
            self.moved = self._sink(memoryview(self._front))
        view = memoryview(buffer())
        for count in self._turn(lambda most: os.readv(self._source, [view[:most]])):
            used = self._sink(view[:count])
            self.moved += used
            if used < count:
                self.left = bytes(view[used:count])
                return


class SpliceTransfer(Transfer):
    """From the socket into a file, inside the kernel; `front` is here already and goes before."""

    def __init__(
        self,
        source: Source,
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
            self._tell()
        if self._limit:
            with pipes.borrow() as pipe:
                self._splice(pipe)

    def _splice(self, pipe: Pipe) -> None:
        for count in self._turn(lambda most: os.splice(self._source, pipe.into, most, flags=_NONBLOCK)):
            pipe.filled = count
            try:
                self._empty(pipe)
            finally:
                self._tell()

    def _tell(self) -> None:
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
                # A file system without it: what is in the pipe is read out, and all after it goes through a buffer.
                self.works = False
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
