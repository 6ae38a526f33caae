"""Copying files so that a file under its final name is whole.

Rule: bytes go into a file of another name, many of them are synced at once, and only then do they get their
names. So a name is true after a power cut, too, and a backup does not wait for the disk at each file.
"""

import ctypes
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from server.backup.layout import make_folder, private

Report = Callable[[int], None]
"""Called with the number of bytes that were copied since the last call."""

_PIECE_BYTES = 1 << 20
_BATCH_FILES = 256
_BATCH_BYTES = 1 << 29
_PREFIX = ".new-"


class Copier:
    """Copies into one file system; `flush` at the end. Without `syncs`, nothing waits for the disk."""

    def __init__(self, root: Path, report: Report, *, syncs: bool) -> None:
        self._root = root
        self._syncs = syncs
        self._report = report
        self._waiting: list[tuple[Path, Path]] = []
        self._bytes = 0

    def copy(self, source: Path, target: Path, limit: int, mtime_ns: int) -> tuple[int, str]:
        """Copy the first `limit` bytes, or as many as there are; returns their number and SHA-256. Raises `OSError`."""
        make_folder(target.parent)
        unborn = target.with_name(_PREFIX + target.name)
        hashed, left = hashlib.sha256(), limit
        with source.open("rb", buffering=0) as reader, open(unborn, "wb", buffering=0, opener=private) as writer:
            while left and (piece := reader.read(min(left, _PIECE_BYTES))):
                hashed.update(piece)
                left -= _write(writer.fileno(), piece)
                self._report(len(piece))
            os.utime(writer.fileno(), ns=(mtime_ns, mtime_ns))
        self._waiting.append((unborn, target))
        self._bytes += limit - left
        if len(self._waiting) >= _BATCH_FILES or self._bytes >= _BATCH_BYTES:
            self.flush()
        return limit - left, hashed.hexdigest()

    def discard(self, target: Path) -> None:
        """Drop the last copy: it does not get that name."""
        self._waiting = [(unborn, name) for unborn, name in self._waiting if name != target]
        target.with_name(_PREFIX + target.name).unlink(missing_ok=True)

    def flush(self) -> None:
        """Sync everything that was copied, and give it its name."""
        if self._waiting and self._syncs:
            sync_all(self._root)
        for unborn, target in self._waiting:
            unborn.rename(target)
        self._waiting, self._bytes = [], 0


def sync_all(folder: Path) -> None:
    """Sync the whole file system of this folder. Raises `OSError`."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _syncfs(descriptor):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(descriptor)


def _write(descriptor: int, piece: bytes) -> int:
    view = memoryview(piece)
    while view:
        view = view[os.write(descriptor, view) :]
    return len(piece)


_syncfs = ctypes.CDLL(None, use_errno=True).syncfs  # Linux has the call, Python has no name for it
_syncfs.argtypes = [ctypes.c_int]
