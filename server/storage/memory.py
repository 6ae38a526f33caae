"""Uploads in memory: the shortest implementation of a store, for readers and for tests that need no disk.

Rule: it does what `base.py` requires and no more. Bytes are in anonymous files (memfd, Linux only), since a body
writes into a descriptor and a download reads from a path; they are gone with the process.
"""

import errno
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from server.storage.base import Capability, UploadStore, translated
from server.transport.body import Body, Moved, Tap

_PIECE_BYTES = 1 << 20
_PLENTY = 1 << 40


class MemoryStore(UploadStore):
    """Anonymous files by id. Close it, otherwise they stay until the process ends."""

    capabilities = frozenset(Capability)

    def __init__(self) -> None:
        self._files: dict[str, int] = {}
        self.quarantined: dict[str, int] = {}
        self._opened: list[int] = []
        self._is_claimed = False

    @property
    def unclaimed(self) -> str:
        return "this store in memory has never held one: it is not the one that was used before."

    def create(self, upload_id: str, length: int | None = None) -> None:  # noqa: ARG002  # as it grows
        if upload_id in self._files:
            raise FileExistsError(errno.EEXIST, "there is an upload of that id")
        descriptor = os.memfd_create(upload_id, os.MFD_CLOEXEC)
        self._opened.append(descriptor)
        self._files[upload_id] = descriptor

    def size(self, upload_id: str) -> int | None:
        descriptor = self._files.get(upload_id)
        return None if descriptor is None else os.fstat(descriptor).st_size

    def modified(self, upload_id: str) -> datetime | None:
        descriptor = self._files.get(upload_id)
        return None if descriptor is None else datetime.fromtimestamp(os.fstat(descriptor).st_mtime, UTC)

    async def append(self, upload_id: str, offset: int, body: Body, limit: int, see: Tap | None = None) -> Moved:
        try:
            return await body.write_to(self._file(upload_id), offset, limit, see)
        except OSError as error:
            raise translated(error) from error

    def truncate(self, upload_id: str, size: int) -> None:
        os.ftruncate(self._file(upload_id), size)

    def concatenate(self, upload_id: str, parts: Sequence[tuple[str, int]], *, may_share: bool) -> None:
        first, first_size = parts[0]
        if upload_id not in self._files:
            descriptor = self._file(first) if may_share else -1
            if may_share and list(self._files.values()).count(descriptor) == 1:
                os.ftruncate(descriptor, first_size)  # bytes that a deleted upload had added
                self._files[upload_id] = descriptor
            else:
                self.create(upload_id)
        # Bytes are added in order and never changed: the size shows how far an earlier call came.
        there, start = self.size(upload_id) or 0, 0
        try:
            for part_id, size in parts:
                if there < start + size:
                    self._copy(part_id, there - start, upload_id, there, start + size - there)
                    there = start + size
                start += size
        except OSError as error:
            raise translated(error) from error

    def undo_concatenate(self, upload_id: str, first: str, size: int) -> None:
        descriptor = self._files.get(upload_id)
        if descriptor is not None and descriptor == self._files.get(first):
            os.ftruncate(descriptor, size)

    def head(self, upload_id: str, count: int) -> bytes:
        return os.pread(self._file(upload_id), count, 0)

    def show(self, upload_id: str, offset: int, see: Tap) -> None:
        while piece := os.pread(self._file(upload_id), _PIECE_BYTES, offset):
            see(piece)
            offset += len(piece)

    def finish(self, upload_id: str) -> None:
        self._file(upload_id)  # memory survives no power cut, so there is nothing to sync

    def delete(self, upload_id: str) -> None:
        # Not closed: its number would be the next upload's, and a reader that still uses it would read that one.
        self._files.pop(upload_id, None)

    def quarantine(self, upload_id: str) -> None:
        if upload_id in self._files:
            self.quarantined[upload_id] = self._files.pop(upload_id)

    def size_in_quarantine(self, upload_id: str) -> int | None:
        descriptor = self.quarantined.get(upload_id)
        return None if descriptor is None else os.fstat(descriptor).st_size

    def delete_from_quarantine(self, upload_id: str) -> None:
        self.quarantined.pop(upload_id, None)

    def ids_in_quarantine(self) -> set[str]:
        return set(self.quarantined)

    def local_path(self, upload_id: str) -> Path:
        # By the number of the process and not `self`: child processes read it too.
        return Path(f"/proc/{os.getpid()}/fd/{self._files.get(upload_id, 'none')}")

    def check(self) -> None:
        if not self._is_claimed:
            raise OSError(errno.ENOENT, "this store is not the one that was used before")

    def is_claimed(self) -> bool:
        return self._is_claimed

    def claim(self) -> None:
        self._is_claimed = True

    def room(self) -> int:
        return _PLENTY

    @property
    def capacity(self) -> int:
        return _PLENTY

    def ids(self) -> set[str]:
        """The ids of all uploads."""
        return set(self._files)

    def close(self) -> None:
        """Free all memory. The store and its paths must not be used afterwards."""
        self._files.clear()
        self.quarantined.clear()
        while self._opened:
            os.close(self._opened.pop())

    def _file(self, upload_id: str) -> int:
        try:
            return self._files[upload_id]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, "there is no upload of that id") from None

    def _copy(self, source: str, source_offset: int, target: str, target_offset: int, count: int) -> None:
        while count:
            piece = os.pread(self._file(source), min(count, _PIECE_BYTES), source_offset)
            if not piece:
                raise FileNotFoundError(errno.ENOENT, "a part is shorter than it was")
            moved = os.pwrite(self._file(target), piece, target_offset)
            source_offset, target_offset, count = source_offset + moved, target_offset + moved, count - moved
