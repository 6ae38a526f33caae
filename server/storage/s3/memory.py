"""The memory for parts on their way to the bucket: bounded in total, however many uploads there are.

Rule: a body that holds memory never waits for more. A body that gets none parks what it has, which frees its memory,
and then waits in line. So a body that is faster than the bucket is slowed down, and the line always moves.
"""

import asyncio
import ctypes
import threading
import time
from collections import deque

BLOCK_BYTES = 1 << 18
"""Memory is given out in so many bytes: a slow body has one of these, and not a whole part."""

QUICK_SECONDS = 1.0
"""A body whose part was full in less is a quick one."""

_PATIENCE_SECONDS = 2.0
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8  # of <malloc.h>


def return_freed_memory() -> None:
    """Have the allocator of this process return large blocks to the system as soon as they are freed.

    Without this, glibc keeps them from the first one on that was freed, in a heap for each of the many threads.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # of glibc; musl returns them
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 1 << 17)
        mallopt(_M_ARENA_MAX, 2)


class PartMemory:
    """Counts the memory of all uploads of a process; for any thread."""

    def __init__(self, limit: int) -> None:
        """At most `limit` bytes."""
        self.limit = limit
        self._lock = threading.Lock()
        self._used = 0
        self._line: deque[tuple[int, asyncio.Future[None], asyncio.AbstractEventLoop]] = deque()
        self.peak = 0
        """The most bytes that were in use at once."""

    @property
    def is_short(self) -> bool:
        """Whether a body waits; then a body that hardly uses its memory gives it back."""
        return bool(self._line)

    @property
    def used(self) -> int:
        """Bytes in use."""
        return self._used

    def try_take(self, count: int) -> bool:
        """Take so many bytes if they are free and no body waits for memory."""
        with self._lock:
            if self._line or self._used + count > self.limit:
                return False
            self._take(count)
            return True

    async def take(self, count: int) -> None:
        """The same, in line. The caller holds none. For the event loop."""
        with self._lock:
            if not self._line and self._used + count <= self.limit:
                self._take(count)
                return
            loop = asyncio.get_running_loop()
            turn: asyncio.Future[None] = loop.create_future()
            entry = (count, turn, loop)
            self._line.append(entry)
        try:
            await turn
        except asyncio.CancelledError:
            with self._lock:
                if entry in self._line:
                    self._line.remove(entry)
                else:
                    self._used -= count  # the memory was granted as the wait was cancelled
                self._serve()
            raise

    def give(self, count: int) -> None:
        """Free so many bytes."""
        with self._lock:
            self._used -= count
            self._serve()

    def _take(self, count: int) -> None:
        self._used += count
        self.peak = max(self.peak, self._used)

    def _serve(self) -> None:
        while self._line and self._used + self._line[0][0] <= self.limit:
            count, turn, loop = self._line.popleft()
            self._take(count)
            loop.call_soon_threadsafe(_wake, turn)


def _wake(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)


class Filling:
    """The new bytes of a part that is being filled; `before` bytes of it were parked by earlier bodies.

    Called with bytes, on a thread, it returns how many it took: fewer when it is full, or no memory is left. It grows
    as it is filled: a new buffer of a whole part would occupy all of its memory at once.
    """

    def __init__(self, memory: PartMemory, size: int, before: int) -> None:
        self._memory = memory
        self._data = bytearray()
        self._held = 0
        self.size = size
        self.before = before
        self._since = time.monotonic()
        self.starved = False
        """Whether it did not take bytes for lack of memory."""

    @property
    def count(self) -> int:
        """How many new bytes it has."""
        return len(self._data)

    @property
    def room(self) -> int:
        """How many bytes are missing from a whole part."""
        return self.size - self.before - len(self._data)

    @property
    def age(self) -> float:
        """Seconds since it was made, or since it has its memory."""
        return time.monotonic() - self._since

    def __call__(self, view: memoryview) -> int:
        wanted = min(len(view), self.room)
        got = min(wanted, self._memory_for(wanted))
        self._data += view[:got]
        self.starved = got < wanted
        return got

    async def wait(self, count: int) -> None:
        """Wait in line for memory for `count` bytes, at most those that it can take; it must have no byte yet."""
        count = min(max(count, BLOCK_BYTES), self.room)
        await self._memory.take(count)
        self._held += count
        self._since = time.monotonic()

    def whole(self, front: bytes = b"") -> bytearray:
        """The bytes of the part, which begins with `front`: those that were parked before."""
        if front:
            self._data[:0] = front
        return self._data

    def close(self) -> None:
        """Give the memory back. Idempotent."""
        self._data = bytearray()
        self._memory.give(self._held)
        self._held = 0

    def _memory_for(self, wanted: int) -> int:
        """For how many of `wanted` bytes there is memory, which is taken."""
        if self._memory.is_short and self.count and self.age > _PATIENCE_SECONDS:
            return 0  # a slow body: what it has is parked, and its memory goes to those who wait
        while self._held < self.count + wanted and self._memory.try_take(BLOCK_BYTES):
            self._held += BLOCK_BYTES
        return self._held - self.count
