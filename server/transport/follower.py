"""Shows a file's new bytes to a checksum, behind the one who writes them.

Rule: what is shown is read from the file, in order and once; whoever writes says how far, and waits at the end.
"""

import errno
import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor

from server.transport.body import See

BUFFER_BYTES = 1 << 20
_FOLLOW_BYTES = 1 << 21  # so far it may be behind the writer before it is told

_local = threading.local()
_hashers = ThreadPoolExecutor(4, "checksum")


class Follower:
    """Shows what was written, read from the file, in a thread of its own behind the writer."""

    def __init__(self, descriptor: int, offset: int, see: See) -> None:
        self._descriptor = descriptor
        self._shown = offset
        self._see = see
        self._running: Future[None] | None = None

    def written(self, end: int) -> None:
        """Everything before `end` is in the file."""
        if end - self._shown >= _FOLLOW_BYTES:
            self._follow(end)

    def end(self, end: int) -> None:
        """Wait until all before `end` was shown. Raises what showing raised."""
        self._follow(end)
        if self._running:
            self._running.result()

    def _follow(self, end: int) -> None:
        if self._running:
            self._running.result()
        self._running = _hashers.submit(self._show, self._shown, end) if end > self._shown else None
        self._shown = end

    def _show(self, offset: int, end: int) -> None:
        view = memoryview(buffer())
        while offset < end:
            count = os.preadv(self._descriptor, [view[: end - offset]], offset)
            if count == 0:
                raise OSError(errno.EIO, "what was written is not there")
            self._see(view[:count])
            offset += count


def buffer() -> bytearray:
    """A buffer of this thread's own."""
    try:
        found: bytearray = _local.buffer
    except AttributeError:
        found = _local.buffer = bytearray(BUFFER_BYTES)
    return found
