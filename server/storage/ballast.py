"""A file that only takes up space, for SQLite on a full disk.

Rule: on a full disk SQLite can record nothing, not even a removal, which would free space. Then this file is deleted,
which frees enough for that, and for a server to start. It is written again when there is space. Every function
may be repeated, by several processes at once, and raises nothing.
"""

import contextlib
import os
from pathlib import Path

import structlog

_NAME = "spare"
_MOST_BYTES = 8 << 20
_LITTLE = 1 << 20  # bytes; with less free SQLite may not even open its database

_log = structlog.stdlib.get_logger("videodock.storage")


class Ballast:
    """The ballast file of a data folder; `size` is in bytes, 0 for none."""

    def __init__(self, folder: Path, size: int) -> None:
        self._path = folder / _NAME
        self._size = min(size, _MOST_BYTES)

    def release(self) -> None:
        """Delete the file, which frees its space."""
        try:
            self._path.unlink()
        except OSError:
            return  # another process did, or there was none
        _log.warning("spare_room_released", reason="the disk is full")

    def release_if_needed(self) -> None:
        """Before a database is opened: free the space if there is next to none."""
        with contextlib.suppress(OSError):
            if _free(self._path.parent) < _LITTLE:
                self.release()

    def maintain(self, least_free: int) -> None:
        """Write the file, if it does not exist yet, and `least_free` bytes are free besides."""
        with contextlib.suppress(OSError):
            if not self._size or self._path.exists() or _free(self._path.parent) < least_free + self._size:
                return
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, self._size)
            except OSError:
                self._path.unlink(missing_ok=True)
            finally:
                os.close(descriptor)


def _free(folder: Path) -> int:
    state = os.statvfs(folder)
    return state.f_bavail * state.f_frsize
