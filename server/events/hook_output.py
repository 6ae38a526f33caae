"""What a hook prints: copied to the server's standard error, line by line, up to a bound.

Rules:

- A hook may fill no log: it has 64 KiB a minute, over all of its processes. What is more is dropped, and the log says
  so once in that minute.
- A hook that prints without end is slowed down, so that reading its output costs the server little; it then takes too
  long, and is ended for that. One that ends is not hurt by what it printed.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable
from typing import IO

import structlog

_BYTES, _SECONDS = 64 << 10, 60.0
_LONGEST_LINE = 4096
_PAUSE_BYTES, _PAUSE = 64 << 10, 0.05  # of what is dropped: about a megabyte a second

_log = structlog.stdlib.get_logger("videodock.hooks")


class HookOutput:
    """The output of one hook. `write` takes whole lines."""

    def __init__(
        self, hook: str, *, write: Callable[[bytes], object] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._hook = hook
        self._write = write or _to_standard_error
        self._clock = clock
        self._lock = threading.Lock()
        self._began = float("-inf")
        self._left = 0
        self._is_told = False

    def follow(self, stream: IO[bytes]) -> None:
        """Copy a stream until its end, on a thread of its own."""
        threading.Thread(target=self._copy, args=(stream,), name="hook-output", daemon=True).start()

    def _copy(self, stream: IO[bytes]) -> None:
        dropped = 0
        with contextlib.suppress(OSError, ValueError), stream:
            while line := stream.readline(_LONGEST_LINE):
                if self._has_room(len(line)):
                    self._write(line if line.endswith(b"\n") else line + b"\n")
                    continue
                dropped += len(line)
                if dropped >= _PAUSE_BYTES:
                    dropped = 0
                    time.sleep(_PAUSE)

    def _has_room(self, size: int) -> bool:
        with self._lock:
            now = self._clock()
            if now >= self._began + _SECONDS:
                self._began, self._left, self._is_told = now, _BYTES, False
            if size <= self._left:
                self._left -= size
                return True
            self._left = 0  # not the short lines between long ones
            is_first, self._is_told = not self._is_told, True
        if is_first:
            _log.warning("hook_output_cut", hook=self._hook, bytes=_BYTES, seconds=int(_SECONDS))
        return False


def _to_standard_error(line: bytes) -> None:
    with contextlib.suppress(OSError):
        os.write(2, line)
