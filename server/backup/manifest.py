"""The files of a backup with their sizes and SHA-256.

Rule: it is SQLite, and not a list in memory: HLS alone is hundreds of files a video.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
  path TEXT PRIMARY KEY,          -- below the data folder
  is_open INTEGER NOT NULL,       -- of an open upload: it lies with the snapshot
  bytes INTEGER NOT NULL,
  mtime_ns INTEGER NOT NULL,      -- of the file that it was copied from
  sha256 TEXT                     -- NULL until it is copied
) WITHOUT ROWID
"""
_COLUMNS = "path, is_open, bytes, mtime_ns, sha256"
_BATCH = 1000


@dataclass(frozen=True)
class Entry:
    """One file; `path` is its place below the data folder."""

    path: str
    is_open: bool
    bytes: int
    mtime_ns: int
    sha256: str | None


class FileList:
    """The list in one file; use it with `closing`. With `writable` it is created if missing."""

    def __init__(self, path: Path, *, writable: bool = False) -> None:
        if writable:
            path.touch(mode=0o600)
            self._connection = sqlite3.connect(path, isolation_level=None)
            # An unfinished list is thrown away: only its end needs a sync.
            self._connection.execute("PRAGMA synchronous=OFF")
            self._connection.execute(_SCHEMA)
            self._connection.execute("BEGIN")
        else:
            # `immutable`: it may be on a read-only disk.
            quoted = str(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
            self._connection = sqlite3.connect(f"file:{quoted}?mode=ro&immutable=1", uri=True, isolation_level=None)

    def close(self) -> None:
        """Commit the entries and close the file, without a sync."""
        if self._connection.in_transaction:
            self._connection.execute("COMMIT")
        self._connection.close()

    def clear(self) -> None:
        """Remove all entries."""
        self._connection.execute("DELETE FROM files")

    def put(self, entry: Entry) -> None:
        """Add the entry, or replace that of the same path."""
        values = (entry.path, entry.is_open, entry.bytes, entry.mtime_ns, entry.sha256)
        self._connection.execute(f"INSERT OR REPLACE INTO files ({_COLUMNS}) VALUES (?, ?, ?, ?, ?)", values)  # noqa: S608

    def find(self, path: str) -> Entry | None:
        """The file of that path."""
        return next(self._select("path = ?", [path]), None)

    def below(self, folder: str) -> list[Entry]:
        """The files in a folder, which ends with a slash."""
        return list(self._select("path >= ? AND path < ?", [folder, folder[:-1] + "0"]))

    def all(self, *, uncopied: bool = False) -> Iterator[Entry]:
        """Every file in the order of its path, or those without a digest; entries may be put meanwhile."""
        last, more = "", "AND sha256 IS NULL" if uncopied else ""
        while found := list(self._select(f"path > ? {more} ORDER BY path LIMIT {_BATCH}", [last])):
            yield from found
            last = found[-1].path

    def totals(self, *, uncopied: bool = False) -> tuple[int, int]:
        """The number of files and of their bytes."""
        where = "WHERE sha256 IS NULL" if uncopied else ""
        query = f"SELECT count(*), coalesce(sum(bytes), 0) FROM files {where}"  # noqa: S608
        count, size = self._connection.execute(query).fetchone()
        return count, size

    def _select(self, where: str, values: Iterable[object]) -> Iterator[Entry]:
        query = f"SELECT {_COLUMNS} FROM files WHERE {where}"  # noqa: S608
        with closing(self._connection.execute(query, tuple(values))) as cursor:
            for path, is_open, size, mtime_ns, digest in cursor:
                yield Entry(path, bool(is_open), size, mtime_ns, digest)
