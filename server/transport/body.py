"""The contract of a request body towards a store.

Rule: a body moves bytes (`write_to`) or shows them (`peek`, `read_into`); it always returns how many there were
and why it stopped, and never raises for something that a client or a network does. What it reported as written is in
the file; nothing is written after it has returned.

`stop()` evicts the reader of a body: it ends the current wait at once and every later one.
"""

import asyncio
import math
import os
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from server import threads

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

# The key in an ASGI scope's extensions under which a server that delivers trailers puts them, a live mapping.
TRAILERS = "videodock.trailers"

# Sees the bytes on their way: a hash's `update`. They are reused as soon as it returns.
Tap = Callable[[bytes | memoryview], object]


Permit = Callable[[], None]
"""Called before each write, on the thread that writes; raises when nothing may be written any more."""


class File(Protocol):
    """A file to write into. Both are called on the thread that writes."""

    def __call__(self) -> int:
        """Its descriptor; the file is opened on the first call."""

    def written(self, end: int) -> None:
        """Everything before `end` is in the file now."""


Target = int | File
"""A file to write into, or the descriptor of one."""

# Takes bytes on a thread, and returns how many it took from the front. Fewer than there were: it has enough.
# The view starts with the first byte of the object that it is a view of.
Sink = Callable[[memoryview], int]

# So much is gathered before a thread writes it, and so long a smaller rest may wait for more.
_BATCH_BYTES = 1 << 18
_BATCH_SECONDS = 0.05
_GATHER_SECONDS = 0.25  # a batch takes so long at most, in however small pieces it comes

writers = ThreadPoolExecutor(16, "body")
"""The threads that move bodies: few, whatever the number of connections."""


class End(Enum):
    """Why a body stopped."""

    LIMIT = "limit"  # as many bytes as were requested; there may be more
    COMPLETE = "complete"  # the body is over
    GONE = "gone"  # the client went away in the middle
    IDLE = "idle"  # no byte came for too long, or too few
    STOPPED = "stopped"  # `stop` was called


class Pace:
    """The slowest rate that a body may have: `rate` bytes a second, over more than `window` seconds; 0 is no limit.

    A body has `window` seconds of patience. Waiting for it spends them, and every byte earns 1/rate seconds back, up
    to the full window. So a body whose average over each window is the rate is never too slow, however unevenly it
    comes, and one that trickles is over soon after a window. Only waiting counts: while the server writes, or is slow
    itself, the time does not count against the client.

    For one user at a time, a task or a thread: `wait()`, then whatever waits, then `check()`.
    """

    def __init__(self, rate: float, window: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._window = window
        self._clock = clock
        self._since: float | None = None
        self.left = window if rate else math.inf
        """Seconds that may be waited before the next byte has to come; none are left when it is 0 or less."""

    def wait(self) -> None:
        """A wait for bytes begins."""
        self._since = self._clock()

    def check(self, moved: int) -> bool:
        """After a wait, if there was one: `moved` bytes came, maybe none; returns whether the body may go on."""
        waited = 0 if self._since is None else self._clock() - self._since
        self._since = None
        return self.count(waited, moved)

    def count(self, waited: float, moved: int) -> bool:
        """The same for a wait of so many seconds, which another clock has measured."""
        if self._rate:
            self.left = min(self.left - waited + moved / self._rate, self._window)
        return self.left > 0


@dataclass(frozen=True)
class Moved:
    """How many bytes a call moved, and why it stopped there."""

    count: int
    end: End


class Body(ABC):
    """A request body, or a part of one. Used by one task at a time; `stop` may come from another."""

    def __init__(self, idle_seconds: float) -> None:
        self._idle_seconds = idle_seconds
        self._pending: deque[bytes] = deque()
        self._pending_bytes = 0
        self._over: End | None = None
        self.moved = 0
        """Bytes that were taken from the front so far, wherever they went."""
        self.permit: Permit | None = None
        """What its store calls before each write; None where a writer cannot lose its lock."""
        self.trailers: Mapping[str, str] = {}
        """Trailer fields, by lower-case name; complete when the body is."""

    @property
    def arrived(self) -> int:
        """Bytes that came so far: those that were taken, and those that were only peeked at."""
        return self.moved + self._pending_bytes

    @abstractmethod
    async def next_chunk(self, seconds: float) -> bytes | End | None:
        """The next bytes (never empty), or why there are none, or None when none came within `seconds`."""

    @abstractmethod
    def stop(self) -> None:
        """Stop: the current wait, and every later one, ends with `End.STOPPED`. Idempotent."""

    async def peek(self, count: int) -> tuple[bytes, End]:
        """Up to `count` bytes from the front, left in place; fewer only when the body ends before."""
        while self._pending_bytes < count and await self._wait_for_more():
            pass
        # Mostly the first piece has them all: the rest of it, up to a MiB, is not copied for two bytes.
        whole = len(self._pending) > 0 and len(self._pending[0]) >= count
        front = (self._pending[0] if whole else b"".join(self._pending))[:count]
        return front, End.LIMIT if len(front) == count else self._end()

    async def is_empty(self) -> bool:
        """Whether the body has no byte, which its framing alone does not show: waits for the first byte or the end.

        False, too, when neither comes: the client is gone or silent, or the body was stopped.
        """
        front, end = await self.peek(1)
        return not front and end is End.COMPLETE

    async def read_into(self, buffer: memoryview) -> Moved:
        """Fill `buffer`; `count` is smaller than its length only when the body ends before."""
        filled = 0
        while filled < len(buffer):
            if not self._pending and not await self._wait_for_more():
                return Moved(filled, self._end())
            chunk = self._pop(len(buffer) - filled)
            buffer[filled : filled + len(chunk)] = chunk
            filled += len(chunk)
        return Moved(filled, End.LIMIT)

    async def write_to(self, target: Target, offset: int, limit: int, see: Tap | None = None) -> Moved:
        """Write at most `limit` bytes into `target` at `offset`; `see` is shown each of them, on a thread.

        Raises `OSError` when the file takes no more; the store finds out how much of the batch it took.
        """
        return await self.feed(Writer(target, offset, see), limit)

    async def feed(self, sink: Sink, limit: int) -> Moved:
        """Give `sink` at most `limit` bytes, on a thread, until it has enough: then it ends with `End.LIMIT`.

        Bytes that the sink does not take stay in the body. Raises what the sink raises.
        """
        fed = 0
        while fed < limit:
            batch = await self._gather(min(_BATCH_BYTES, limit - fed))
            if not batch:
                return Moved(fed, self._end())
            left = await threads.run(_feed_all, sink, batch, pool=writers)
            fed += sum(map(len, batch)) - len(left)
            if left:
                self.put_back(left)
                break
        return Moved(fed, End.LIMIT)

    async def available(self, seconds: float) -> bytes | End | None:
        """The bytes or the end, as `next_chunk` returns them."""
        if not self._pending:
            more = self._over or await self.next_chunk(seconds)
            if more is None or not self._store_arrived(more):
                return more
        return self._pop(self._pending_bytes)

    def put_back(self, data: bytes) -> None:
        """Put back what was taken from the front."""
        if data:
            self._pending.appendleft(data)
            self._pending_bytes += len(data)
            self.moved -= len(data)

    async def drain(self, limit: int) -> Moved:
        """Read and drop at most `limit` bytes."""
        gone = 0
        while gone < limit:
            if not self._pending and not await self._wait_for_more():
                return Moved(gone, self._end())
            gone += len(self._pop(limit - gone))
        return Moved(gone, End.LIMIT)

    async def _gather(self, limit: int) -> list[bytes]:
        """The bytes that are there, up to `limit`; waits for the first of them, and only a moment for the others."""
        until = math.inf
        while self._pending_bytes < limit and time.monotonic() < until:
            if not await (self._wait_briefly() if self._pending else self._wait_for_more()):
                break
            until = min(until, time.monotonic() + _GATHER_SECONDS)
        batch: list[bytes] = []
        size = 0
        while self._pending and size < limit:
            batch.append(self._pop(limit - size))
            size += len(batch[-1])
        return batch

    async def _wait_for_more(self) -> bool:
        """Wait for more; False when none will come, also when none came for too long."""
        more = self._over or await self.next_chunk(self._idle_seconds)
        return self._store_arrived(more or End.IDLE)

    async def _wait_briefly(self) -> bool:
        """Wait a moment for more; False when none came."""
        more = self._over or await self.next_chunk(_BATCH_SECONDS)
        return more is not None and self._store_arrived(more)

    def _store_arrived(self, more: bytes | End) -> bool:
        if isinstance(more, End):
            self._over = more
            return False
        self._pending.append(more)
        self._pending_bytes += len(more)
        return True

    def _pop(self, limit: int) -> bytes:
        chunk = self._pending.popleft()
        if len(chunk) > limit:
            self._pending.appendleft(chunk[limit:])
            chunk = chunk[:limit]
        self._pending_bytes -= len(chunk)
        self.moved += len(chunk)
        return chunk

    def _end(self) -> End:
        return self._over or End.LIMIT


class NoBody(Body):
    """The body of a request that declares none."""

    def __init__(self, idle_seconds: float) -> None:
        super().__init__(idle_seconds)
        self._over = End.COMPLETE

    def stop(self) -> None:
        pass

    def consumed(self, length: int | None) -> bool:  # noqa: ARG002  # as the others
        """Whether the body has ended."""
        return True

    async def next_chunk(self, seconds: float) -> bytes | End | None:  # noqa: ARG002  # as the others
        return End.COMPLETE

    async def close(self) -> None:
        """There is nothing to end."""


class AsgiBody(Body):
    """The body of an ASGI request, on any server. `pace` is the slowest rate that it may have; None is no limit."""

    def __init__(self, receive: Receive, idle_seconds: float, pace: Pace | None = None) -> None:
        super().__init__(idle_seconds)
        self._receive = receive
        self._pace = pace or Pace(0, idle_seconds)
        self._waiting: asyncio.Future[MutableMapping[str, Any]] | None = None
        self._stopped = asyncio.Event()
        self._stop_waiter: asyncio.Future[Any] | None = None
        self._last = False
        self._received = 0

    def stop(self) -> None:
        self._stopped.set()

    def consumed(self, length: int | None) -> bool:
        """Whether the body has ended; `length` is its declared length in bytes, None for chunked."""
        return self._last or self._received == length

    async def next_chunk(self, seconds: float) -> bytes | End | None:
        while not self._stopped.is_set():
            if self._last:
                return End.COMPLETE
            # Checked here, not where bytes are taken from the front: a form's parts have bytes in between.
            if self._pace.left <= 0:
                return End.IDLE
            message = await self._paced(seconds)
            if message is None:
                break
            if message["type"] == "http.disconnect":
                return End.GONE
            self._last = not message.get("more_body", False)
            if message.get("body"):
                self._received += len(message["body"])
                return bytes(message["body"])
        if self._stopped.is_set():
            return End.STOPPED
        return None if self._pace.left > 0 else End.IDLE

    async def _paced(self, seconds: float) -> MutableMapping[str, Any] | None:
        self._pace.wait()
        message = await self._message(min(seconds, self._pace.left))
        self._pace.check(len(message.get("body", b"")) if message else 0)
        return message

    async def _message(self, seconds: float) -> MutableMapping[str, Any] | None:
        # A receive() that was begun is cancelled only at the very end: not every server returns the message that a
        # cancelled one had taken.
        if self._waiting is None:
            self._waiting = asyncio.ensure_future(self._receive())
        if self._stop_waiter is None:
            self._stop_waiter = asyncio.ensure_future(self._stopped.wait())
        waiters: set[asyncio.Future[Any]] = {self._waiting, self._stop_waiter}
        await asyncio.wait(waiters, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if self._stopped.is_set() or not self._waiting.done():
            return None
        message, self._waiting = self._waiting.result(), None
        return message

    async def close(self) -> None:
        """End the reading task; call it when the request is over."""
        for future in (self._waiting, self._stop_waiter):
            if future is not None and not future.done():
                future.cancel()
                await asyncio.wait({future})
            if future is not None and not future.cancelled():
                future.exception()


class Writer:
    """A sink that writes into a file at its place, and shows what it writes."""

    def __init__(self, target: Target, offset: int, see: Tap | None) -> None:
        self._target = target
        self.offset = offset
        """Where the next byte goes."""
        self._see = see

    def __call__(self, view: memoryview) -> int:
        if self._see is not None:
            self._see(view)
        descriptor, done = opened(self._target), 0
        while done < len(view):
            done += os.pwrite(descriptor, view[done:], self.offset + done)
        self.offset += done
        written(self._target, self.offset)
        return done


def opened(target: Target) -> int:
    """The descriptor of a target; on a thread, since it may be opened now."""
    return target if isinstance(target, int) else target()


def written(target: Target, end: int) -> None:
    """Report to a target how far it is written."""
    if not isinstance(target, int):
        target.written(end)


def _feed_all(sink: Sink, chunks: list[bytes]) -> bytes:
    """Give the views to the sink one after the other; returns what it left."""
    for number, chunk in enumerate(chunks):
        used = sink(memoryview(chunk))
        if used < len(chunk):
            return b"".join([chunk[used:], *chunks[number + 1 :]])
    return b""
