"""A pool of pipes between a socket and a file.

Rule: a pipe that is not empty is closed, never kept: the next upload would receive another one's bytes.
"""

import contextlib
import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# A user without privileges has 64 MiB of pipe buffers for all processes: so only a few, and not larger.
_SIZE = 1 << 20
_KEPT = 8


class Pipe:
    """Both ends of a pipe, and how many bytes are in it."""

    def __init__(self) -> None:
        self.out, self.into = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.filled = 0
        with contextlib.suppress(OSError):  # EPERM: the user's buffers are used up, and 64 KiB do as well
            fcntl.fcntl(self.into, fcntl.F_SETPIPE_SZ, _SIZE)

    def close(self) -> None:
        os.close(self.out)
        os.close(self.into)


class Pipes:
    """A pool of empty pipes, for threads. A thread that finds none makes one and does not wait."""

    def __init__(self) -> None:
        self._free: list[Pipe] = []
        self._guard = threading.Lock()

    @contextmanager
    def borrow(self) -> Iterator[Pipe]:
        """A pipe for the time of the block. Raises `OSError` when there are no descriptors left."""
        with self._guard:
            pipe = self._free.pop() if self._free else None
        pipe = pipe or Pipe()
        try:
            yield pipe
        finally:
            with self._guard:
                keep = pipe.filled == 0 and len(self._free) < _KEPT
                if keep:
                    self._free.append(pipe)
            if not keep:
                pipe.close()

    def close(self) -> None:
        """Close those that are not in use."""
        with self._guard:
            free, self._free = self._free, []
        for pipe in free:
            pipe.close()
