"""Shows a file's new bytes to a checksum while another thread writes them.

Rule: what is shown is read from the file, in order and once. The writer reports its position, from one thread after the
other, and waits at the end; until then the hash may lag.
"""

import errno
import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor

from server.transport.body import Tap, Target, opened

BUFFER_BYTES = 1 << 20
_FOLLOW_BYTES = 1 << 21  # so many bytes the hash may lag before the writer reports its position

_local = threading.local()
_hashers = ThreadPoolExecutor(4, "checksum")


class TrailingHash:
    """Shows what was written, read from the file, in a thread of its own."""

    def __init__(self, target: Target, offset: int, see: Tap) -> None:
        self._target = target
        self._written = offset
        self._shown = offset
        self._see = see
        self._running: Future[None] | None = None

    def written(self, end: int) -> None:
        """Everything before `end` is in the file."""
        self._written = end
        if end - self._shown >= _FOLLOW_BYTES:
            self._join()
            self._running = _hashers.submit(self._show, self._shown, end)
            self._shown = end

    def end(self) -> None:
        """Wait until all written bytes were shown. Raises what showing raised."""
        self._join()
        self._show(self._shown, self._written)
        self._shown = self._written

    def _join(self) -> None:
        running, self._running = self._running, None
        if running:
            running.result()

    def _show(self, offset: int, end: int) -> None:
        view = memoryview(buffer())
        while offset < end:
            count = os.preadv(opened(self._target), [view[: end - offset]], offset)
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
