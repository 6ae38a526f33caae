"""Bytes that are complete and do not change any more, wherever they are: originals and results, to be served.

Rule: a response needs no other knowledge of a store. Where a file lies on this machine it has a path; elsewhere it has
pieces to read, and, where the store can sign, an address at which a client gets the bytes itself.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a signed address grants: for how many seconds, and the headers of its response."""

    seconds: int
    media_type: str
    cache_control: str
    disposition: str | None = None


Read = Callable[[int, int], Iterator[bytes]]
"""The bytes from a first one up to and without a last one, in pieces of at most a MiB; each step blocks."""

Sign = Callable[[Terms], str]
"""The address of the bytes on these terms, for GET only. Blocking: credentials may have to be renewed."""


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """A file, or an object. `stat` has at least the size; `tag` is its entity tag, with quotes."""

    stat: os.stat_result
    tag: str
    modified: datetime
    path: Path = Path("/")
    """Where it is on this machine, without `read`."""
    read: Read | None = None
    sign: Sign | None = None

    @property
    def size(self) -> int:
        """Bytes."""
        return self.stat.st_size


def file_at(path: Path) -> StoredFile | None:
    """The file at this path; None without one. Blocking."""
    try:
        stat = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    tag = f'"{stat.st_ino:x}-{stat.st_size:x}-{stat.st_mtime_ns:x}"'
    return StoredFile(stat=stat, tag=tag, modified=datetime.fromtimestamp(stat.st_mtime, UTC), path=path)


def stat_of(size: int) -> os.stat_result:
    """Of bytes elsewhere, of which only the size is known."""
    return os.stat_result((0, 0, 0, 0, 0, 0, size, 0, 0, 0))
