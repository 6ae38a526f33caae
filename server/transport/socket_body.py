"""A request body straight from its socket: `splice` for bytes that the server need not read, `readv` for the others.

Rule: between two calls, what was taken from the socket is in the file or in `_pending`; there is no third place.
Only one thread at a time reads the socket, and it is joined before its count is used.

Theory of operation. The HTTP server offers a body in the ASGI scope (`HANDOVER`). Taking it returns three things: the
bytes that the server's parser had read already, a descriptor of our own for the same socket (a `dup`: the server's own
may be closed and its number reused meanwhile), and how many bytes are still to come. The server reads no more
from the socket until the body is given back.

Bytes are moved by a thread: splice takes them from the socket into a pipe and from the pipe into the file, inside the
kernel. The socket does not block. When it is empty the thread waits for a moment, if bytes came in plenty before, and
then ends its time slice: waiting for a fast body is done on the event loop. A slow body goes to the mover (`mover.py`),
one thread for all of them, and comes back when it is over or has become fast. A slice also ends after a while
(`time_slice.py`), so that no body keeps a thread for itself.

For a checksum, the bytes go through a buffer that is hashed and written by one thread. Only a body that has the machine
to itself is spliced, and a second thread reads the file after the writer: then hashing and writing overlap. Where
splice cannot be used (some file systems refuse it), bytes go through a buffer.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol

from server import threads
from server.transport.body import Body, End, Moved, Pace, Sink, Tap, Target, Writer, writers
from server.transport.mover import Begin, SlowBody, bytes_waiting, mover
from server.transport.time_slice import PLENTY, Socket, SocketWaiter
from server.transport.trailing_hash import TrailingHash
from server.transport.transfer import FeedTransfer, SpliceTransfer, Transfer

# The key in an ASGI scope's extensions under which a server that hands bodies over puts its `Handover`.
HANDOVER = "videodock.body"

_READ_BYTES = 1 << 16  # of one read on the event loop
_MOMENT_MS = 2
_FAST_BEGIN = 1 << 15  # bytes that are there when a fast body begins: half of what the kernel takes at first
_FIRST_MOMENT_MS = 1  # in a body's first slice: when 500 phones begin at once, few have sent more than their heads


class _Shown:
    """The bodies of this process whose bytes are shown to a checksum just now. For the event loop."""

    number = 0

    @contextmanager
    def count(self) -> Iterator[None]:
        self.number += 1
        try:
            yield
        finally:
            self.number -= 1


_shown = _Shown()


class Taken(NamedTuple):
    """A body that was handed over: its first bytes, its socket, and how many bytes are still to come.

    The caller owns `descriptor`; it is -1 when nothing is to come, or the connection is gone.
    """

    front: bytes
    descriptor: int
    rest: int


class Handover(Protocol):
    """A server's offer for the body of one request. All methods are called on the event loop."""

    def take(self) -> Taken:
        """Stop reading, and hand the body over; answers `Expect: 100-continue`. Once only."""

    def give_back(self) -> None:
        """Every byte was taken: the server reads again, from the first byte after the body."""

    def gone(self) -> None:
        """The client left in the middle: it gets no response."""


class SocketBody(Body):
    """A body of known length that its server hands over. `pace` is the slowest rate; None is no limit."""

    def __init__(self, handover: Handover, idle_seconds: float, pace: Pace | None = None) -> None:
        super().__init__(idle_seconds)
        self._pace = pace or Pace(0, idle_seconds)
        self._handover = handover
        self._taken = False
        self._descriptor = -1
        self._rest = 0
        self._source = Socket(-1, self._must_stop)
        self._stopping = False
        self._took_last = False  # the last slice began after the stop
        self._last_byte_at = 0.0  # when the last byte came
        self._patience_ms = _MOMENT_MS  # how long a thread waits for more
        self._was_ready = False  # the last wait ended because the socket was readable
        self._slow: SlowBody | None = None  # while the mover has it
        self._waiter = SocketWaiter(self._pace)
        self._can_splice = hasattr(os, "splice")

    def stop(self) -> None:
        self._stopping = True
        self._waiter.wake()
        if self._slow is not None:
            mover.release(self._slow)

    @property
    def is_waiting(self) -> bool:
        """Whether it holds no thread, since no byte is there."""
        return self._waiter.is_waiting or (self._slow is not None and mover.holds(self._slow))

    def consumed(self, length: int | None) -> bool:
        return length == 0 or (self._taken and self._rest == 0)

    async def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self._source = Socket(-1, bool)  # a bound method of this body would keep it alive

    # Bytes that are shown, on the event loop

    async def next_chunk(self, seconds: float) -> bytes | End | None:
        front = self._take_over()
        if front:
            return front
        deadline = time.monotonic() + seconds
        while not self._stopping:
            if self._rest == 0:
                return End.COMPLETE
            try:
                chunk = self._read()
            except BlockingIOError:
                if not await self._readable(deadline - time.monotonic()):
                    return None if self._pace.left > 0 else End.IDLE
            else:
                return chunk or self._lost()
        return End.STOPPED

    def _take_over(self) -> bytes:
        """Have the body handed over, if it is not yet; its first bytes, once."""
        if self._taken:
            return b""
        taken = self._handover.take()
        self._taken = True
        self._descriptor, self._rest = taken.descriptor, taken.rest
        self._source = Socket(taken.descriptor, self._must_stop)
        return taken.front

    def _read(self) -> bytes:
        try:
            chunk = os.read(self._descriptor, min(_READ_BYTES, self._rest)) if self._descriptor >= 0 else b""
        except (BlockingIOError, InterruptedError):
            raise BlockingIOError from None
        except OSError:
            return b""  # a reset, or a network that is gone
        self._pace.check(len(chunk))
        self._took(len(chunk))
        return chunk

    def _took(self, count: int) -> None:
        self._rest -= count
        if self._rest == 0 and count:
            self._handover.give_back()

    async def _readable(self, seconds: float) -> bool:
        """Wait until there are bytes to read or the body is stopped; False when the time is up."""
        if self._stopping:  # `stop` was called while a thread was at work, so it found no wait to end
            return True
        seconds = min(seconds, self._pace.left)
        if seconds <= 0:
            return False
        try:
            return await self._waiter.readable(self._descriptor, seconds)
        finally:
            # Here, not when the bytes are moved: the time until a thread is free is not the client's fault.
            self._pace.check(0)

    # Bytes that are written or given to a sink, on a thread

    async def feed(self, sink: Sink, limit: int) -> Moved:
        self._keep_front()
        count = min(limit, self._pending_bytes)
        fed = await super().feed(sink, count) if count else Moved(0, End.LIMIT)
        if fed.count == limit or self._pending:
            return fed
        rest = await self._move(
            limit - fed.count, lambda _, most, patience, __: FeedTransfer(self._source, most, patience, sink)
        )
        return Moved(fed.count + rest.count, rest.end)

    async def write_to(self, target: Target, offset: int, limit: int, see: Tap | None = None) -> Moved:
        self._keep_front()
        size = min(limit, self._pending_bytes)
        pieces: list[bytes] = []
        while size > sum(map(len, pieces)):
            pieces.append(self._pop(size - sum(map(len, pieces))))
        self.moved -= size  # they are in the file when the first slice has written them
        front = b"".join(pieces)
        if see is None:
            return await self._move(limit, self._splicing(target, offset, None), front)
        with _shown.count():
            if _shown.number > 1 or self._seems_slow(front):
                return await self._move(limit, self._through_buffer(target, offset, see), front)
            return await self._write_and_follow(target, offset, limit, see, front)

    def _splicing(self, target: Target, offset: int, follower: TrailingHash | None) -> Begin:
        def begin(moved: int, most: int, patience: int, front: bytes) -> Transfer:
            if self._can_splice:
                return SpliceTransfer(self._source, most, patience, target, offset + moved, follower, front)
            sink = _followed(Writer(target, offset + moved, None), follower)
            return FeedTransfer(self._source, most, patience, sink, front)

        return begin

    def _through_buffer(self, target: Target, offset: int, see: Tap) -> Begin:
        """Shows and writes the same buffer: of several bodies at once, each has a processor for one thread at most."""
        return lambda moved, most, patience, front: FeedTransfer(
            self._source, most, patience, Writer(target, offset + moved, see), front
        )

    async def _write_and_follow(self, target: Target, offset: int, limit: int, see: Tap, front: bytes) -> Moved:
        """Writes, and shows what is written in a second thread: alone on the machine, a body has two processors."""
        follower = TrailingHash(target, offset, see)
        try:
            return await self._move(limit, self._splicing(target, offset, follower), front)
        finally:
            await threads.run(follower.end, pool=writers)

    def _keep_front(self) -> None:
        front = self._take_over()
        if front:
            self._store_arrived(front)

    async def _move(self, limit: int, begin: Begin, front: bytes = b"") -> Moved:
        """One time slice after another on a thread, while bytes come in plenty; else the mover takes them as they come.

        The first slice begins with the bytes of `front`, which were read before.
        """
        moved, self._last_byte_at, self._patience_ms, self._was_ready = 0, time.monotonic(), _FIRST_MOMENT_MS, False
        is_slow = self._seems_slow(front)
        while moved < limit:
            if not front and (self._over or self._descriptor < 0 or (self._stopping and not self._has_last_bytes())):
                return Moved(moved, self._finally())
            most = min(limit - moved - len(front), self._rest) if self._descriptor >= 0 else 0
            part: Transfer | SlowBody
            if is_slow and not self._stopping:
                part = self._slow = self._slowly(begin, moved, most, front)
                front, work = b"", mover.move(part)
            else:
                part, front = begin(moved, most, self._patience_ms, front), b""
                work = threads.run(part.run, pool=writers)
            self._took_last = self._stopping
            try:
                await work
            finally:
                self._slow = None
                moved += part.moved
                self.moved += part.moved
                self._took(part.count)
            if part.left:  # the sink has enough
                self._store_arrived(part.left)
                return Moved(moved, End.LIMIT)
            self._can_splice = self._can_splice and part.can_splice
            if self._rest == 0:
                self._over = End.COMPLETE
            elif part.gone or part.ended:
                self._over = self._lost()
            elif isinstance(part, SlowBody):
                is_slow = self._goes_on_slowly(part)
            else:
                is_slow = await self._is_slow_now(part)
        return Moved(moved, End.LIMIT)

    def _seems_slow(self, front: bytes) -> bool:
        """Whether little of the body is there when it begins. A guess: the mover gives back what is fast."""
        if self._descriptor < 0 or not self._rest:
            return False
        return len(front) + bytes_waiting(self._descriptor) < min(_FAST_BEGIN, len(front) + self._rest)

    def _slowly(self, begin: Begin, moved: int, most: int, front: bytes) -> SlowBody:
        return SlowBody(
            self._descriptor,
            begin,
            most,
            before=moved,
            front=front,
            pace=self._pace,
            idle_seconds=self._idle_seconds,
            last_byte_at=self._last_byte_at,
        )

    def _goes_on_slowly(self, part: SlowBody) -> bool:
        """Whether the mover gets the body again, which it gave back."""
        self._last_byte_at = part.last_byte_at
        if part.is_idle:
            self._over = End.IDLE
        if part.is_stuck:
            # splice stops before an urgent byte, for ever. Reading skips that byte, as it does everywhere.
            self._can_splice = False
        if part.is_fast:
            self._patience_ms = _MOMENT_MS
        return not (part.is_fast or part.is_stuck)

    async def _is_slow_now(self, part: Transfer) -> bool:
        """Whether the mover gets the body after a slice on a thread. When it is fast, waits until there is more."""
        self._pace.check(part.count)
        if part.count:
            self._last_byte_at, self._patience_ms = time.monotonic(), _MOMENT_MS if part.count >= PLENTY else 0
        if not part.blocked or not self._patience_ms:
            return part.blocked
        if self._was_ready and not part.count:
            self._can_splice = False  # the same, for a fast body
        self._was_ready = await self._readable(self._last_byte_at + self._idle_seconds - time.monotonic())
        self._over = None if self._was_ready else End.IDLE
        return False

    def _must_stop(self) -> bool:
        """Whether the current slice has to end. One that began after the stop takes the last bytes."""
        return self._stopping and not self._took_last

    def _has_last_bytes(self) -> bool:
        """A stopped body takes the bytes that have come, once, and no more."""
        return not self._took_last and self._rest > 0 and bytes_waiting(self._descriptor) > 0

    def _finally(self) -> End:
        if self._over is None:
            self._over = End.COMPLETE if self._rest == 0 else End.STOPPED if self._stopping else self._lost()
        return self._over

    def _lost(self) -> End:
        self._handover.gone()
        return End.GONE


def _followed(writer: Writer, follower: TrailingHash | None) -> Sink:
    """A writer that reports its position to the trailing hash."""
    if follower is None:
        return writer

    def write(view: memoryview) -> int:
        try:
            return writer(view)
        finally:
            follower.written(writer.offset)

    return write
