"""Uploads as local files, one each, named by their id.

Rule: the size of the file is the offset of the upload. So nothing is ever preallocated, files are not opened
with O_APPEND, and a write goes to an explicit position.
"""

import errno
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from server import threads
from server.storage.base import Capability, UploadStore, translated
from server.transport.body import Body, Moved, See

# Between two looks at a signal; the kernel may move less.
_COPY_BYTES = 1 << 28
_SHOWN_BYTES = 1 << 20


MARKER = ".videodock"
"""A disk that is not mounted leaves an empty folder in its place; this file tells the two apart."""


class DiskStore(UploadStore):
    """Files in `folder`, spread over 256 folders by the first two characters of their id."""

    capabilities = frozenset(Capability)

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def create(self, upload_id: str) -> None:
        path = self.local_path(upload_id)
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise translated(error) from error

    def size(self, upload_id: str) -> int | None:
        try:
            return self.local_path(upload_id).stat().st_size
        except FileNotFoundError:
            return None

    def modified(self, upload_id: str) -> datetime | None:
        try:
            return datetime.fromtimestamp(self.local_path(upload_id).stat().st_mtime, UTC)
        except FileNotFoundError:
            return None

    async def append(self, upload_id: str, offset: int, body: Body, limit: int, see: See | None = None) -> Moved:
        descriptor = await threads.run(partial(os.open, self.local_path(upload_id), os.O_WRONLY | os.O_CLOEXEC))
        try:
            return await body.write_to(descriptor, offset, limit, see)
        except OSError as error:
            raise translated(error) from error
        finally:
            os.close(descriptor)

    def truncate(self, upload_id: str, size: int) -> None:
        os.truncate(self.local_path(upload_id), size)

    def concatenate(self, upload_id: str, parts: Sequence[tuple[str, int]], *, may_take: bool) -> None:
        # The size of the file tells how far an earlier call came: bytes are added in order and never changed.
        target = self.local_path(upload_id)
        first, first_size = parts[0]
        if may_take and not target.exists() and self.size(first) == first_size:
            target.parent.mkdir(mode=0o700, exist_ok=True)
            self.local_path(first).rename(target)
        elif not target.exists():
            self.create(upload_id)
        try:
            with target.open("r+b") as file:
                self._join(file.fileno(), parts)
        except OSError as error:
            raise translated(error) from error

    def _join(self, target: int, parts: Sequence[tuple[str, int]]) -> None:
        there, start = os.fstat(target).st_size, 0
        for part_id, size in parts:
            if there < start + size:
                with self.local_path(part_id).open("rb") as part:
                    _copy(part.fileno(), there - start, target, there, start + size - there)
                there = start + size
            start += size

    def head(self, upload_id: str, count: int) -> bytes:
        with self.local_path(upload_id).open("rb") as file:
            return file.read(count)

    def show(self, upload_id: str, offset: int, see: See) -> None:
        with self.local_path(upload_id).open("rb", buffering=0) as file:
            file.seek(offset)
            while chunk := file.read(_SHOWN_BYTES):
                see(chunk)

    def finish(self, upload_id: str) -> None:
        path = self.local_path(upload_id)
        # The file, its entry, and the entry of its folder: all three must be there after a power cut.
        for target in (path, path.parent, self._folder):
            descriptor = os.open(target, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def delete(self, upload_id: str) -> None:
        self.local_path(upload_id).unlink(missing_ok=True)

    def local_path(self, upload_id: str) -> Path:
        return self._folder / upload_id[:2] / upload_id

    def check(self) -> None:
        if not os.access(self._folder, os.R_OK | os.W_OK | os.X_OK):
            raise OSError(errno.EACCES, "the upload folder cannot be written")
        if not self.is_claimed():
            raise OSError(errno.ENOENT, "the upload folder is not the one that was used before")

    @property
    def unclaimed(self) -> str:
        return (
            f"the folder {self._folder} has never held one. Is its disk not mounted, or --data-dir another one? If "
            f"their bytes are lost for good, create the file {self._folder / MARKER} and start again."
        )

    def is_claimed(self) -> bool:
        return (self._folder / MARKER).exists()

    def claim(self) -> None:
        (self._folder / MARKER).touch(mode=0o600)

    def room(self) -> int:
        state = os.statvfs(self._folder)
        return state.f_bavail * state.f_frsize


def _copy(source: int, source_offset: int, target: int, target_offset: int, count: int) -> None:
    """Copy inside the kernel: shared blocks where the file system can (XFS, Btrfs), never through our memory."""
    while count:
        moved = os.copy_file_range(source, target, min(count, _COPY_BYTES), source_offset, target_offset)
        if not moved:
            raise FileNotFoundError(errno.ENOENT, "a part is shorter than it was")
        source_offset, target_offset, count = source_offset + moved, target_offset + moved, count - moved
