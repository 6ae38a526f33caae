"""Local copies of objects, for programs that read files: FFmpeg, the scanner, the probe.

Rules:

- A copy is renamed into place when it is whole and every checksum was compared.
- Copies exist for speed only: the folder may be emptied at any moment, and a reader with an open file continues.
- All copies together stay below the limit, except for the copy that is requested now. The least recently used copy is
  removed first.
"""

import fcntl
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

_UNFINISHED = ".part"


class LocalCache:
    """Copies in `folder`, at most `limit` bytes."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder
        self._limit = limit

    def path(self, name: str) -> Path:
        """Where the copy of an upload is, if there is one."""
        return self._folder / name

    def fetch(self, name: str, size: int, content: Callable[[], Iterable[bytes]]) -> Path:
        """The copy of `size` bytes; made from `content` where it is not there. Blocking.

        Several processes may request it at once: one of them makes it. Raises what `content` raises, and `OSError`.
        """
        path = self.path(name)
        while not self._is_there(path, size):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(self._folder / f"{name}{_UNFINISHED}", "ab", opener=_privately) as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                # Otherwise another process has renamed or removed this file meanwhile.
                if _is_named(file.fileno(), Path(file.name)):
                    self._make_room(size, name)
                    _fill(file, size, content())
                    Path(file.name).rename(path)
                    break
        return path

    def drop(self, name: str) -> None:
        """Remove the copy. Idempotent."""
        for path in (self.path(name), self.path(name + _UNFINISHED)):
            with suppress(FileNotFoundError):
                path.unlink()

    def _is_there(self, path: Path, size: int) -> bool:
        try:
            if path.stat().st_size != size:
                return False
            os.utime(path)
        except FileNotFoundError:
            return False
        return True

    def _make_room(self, size: int, name: str) -> None:
        found: list[tuple[float, int, Path]] = []
        with suppress(FileNotFoundError), os.scandir(self._folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    state = entry.stat()
                    found.append((state.st_mtime, state.st_size, Path(entry.path)))
        total = size + sum(bytes_of for _, bytes_of, _ in found)
        for _, bytes_of, path in sorted(found):
            if total <= self._limit:
                return
            if path.name != name + _UNFINISHED and not _is_being_made(path):
                path.unlink(missing_ok=True)
                total -= bytes_of


def _fill(file: BinaryIO, size: int, content: Iterable[bytes]) -> None:
    file.truncate(0)
    file.writelines(content)
    file.flush()
    if os.fstat(file.fileno()).st_size != size:
        raise OSError(0, "the object has another size than it should have")


def _is_named(descriptor: int, path: Path) -> bool:
    try:
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False


def _is_being_made(path: Path) -> bool:
    """Whether a process is writing that copy now."""
    if path.suffix != _UNFINISHED:
        return False
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def _privately(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
