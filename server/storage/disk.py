"""Uploads as local files, one each, named by their id.

Rule: the size of the file is the offset of the upload. So nothing is ever preallocated, files are not opened
with O_APPEND, and a write goes to an explicit position.
"""

import contextlib
import errno
import os
import shutil
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from server import threads
from server.storage import locks, mounts, pins
from server.storage.base import Capability, UploadStore, translated
from server.storage.copy_range import copy_range
from server.storage.fsync import sync
from server.storage.write_back import WINDOW_BYTES, begin_write_back, send_to_disk
from server.transport.body import Body, Moved, Permit, Tap

_SHOWN_BYTES = 1 << 20


# File systems without hard links, or with no more links for this file.
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS, errno.EXDEV})

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC

Fsync = Literal["complete", "patch", "never"]
"""When bytes are synced to the disk: once an upload is whole, after every request, or when the system does."""

MARKER = ".videodock"
"""A disk that is not mounted leaves an empty folder in its place; only the real one has this file."""


class DiskStore(UploadStore):
    """Files in `folder`, spread over 256 folders by the first two characters of their id."""

    capabilities = frozenset(Capability)

    def __init__(self, folder: Path, fsync: Fsync = "complete") -> None:
        self._folder = folder
        self._root = f"{folder}/"
        self._synced: set[str] = set()  # folders whose own entry is on the disk; none is ever removed
        self._quarantine = folder.with_name("quarantine")
        self._fsync = fsync
        self._kept = 0
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # With `patch` a creation waits for the disk.
        self.is_quick = fsync != "patch" and mounts.is_local(folder)
        if fsync != "never":
            # Here, once: SQLite syncs the folder that it lies in, but a database may be elsewhere.
            sync(folder, folder.parent, folder.parent.parent)

    def create(self, upload_id: str, length: int | None = None) -> None:  # noqa: ARG002  # as it grows
        path = self._path(upload_id)
        try:
            try:
                os.close(os.open(path, _NEW, 0o600))
            except FileNotFoundError:
                self.local_path(upload_id).parent.mkdir(mode=0o700, exist_ok=True)
                os.close(os.open(path, _NEW, 0o600))
            if self._fsync == "patch":
                sync(self.local_path(upload_id).parent, self._folder)
        except OSError as error:
            raise translated(error) from error

    def size(self, upload_id: str) -> int | None:
        try:
            return self._state(upload_id).st_size
        except FileNotFoundError:
            return None

    def modified(self, upload_id: str) -> datetime | None:
        try:
            return datetime.fromtimestamp(self._state(upload_id).st_mtime, UTC)
        except FileNotFoundError:
            return None

    def state(self, upload_id: str) -> tuple[int, datetime] | None:
        try:
            found = self._state(upload_id)
        except FileNotFoundError:
            return None
        return found.st_size, datetime.fromtimestamp(found.st_mtime, UTC)

    async def append(self, upload_id: str, offset: int, body: Body, limit: int, see: Tap | None = None) -> Moved:
        file = _LazyFile(
            self._path(upload_id), offset, early=self._fsync != "never", kept=self._kept, permit=body.permit
        )
        try:
            try:
                return await body.write_to(file, offset, limit, see)
            finally:
                # However it ended: the next HEAD reports these bytes.
                if self._fsync == "patch" and file.is_open:
                    await threads.run(os.fsync, file.descriptor)
        except OSError as error:
            raise translated(error) from error
        finally:
            file.close()

    def truncate(self, upload_id: str, size: int) -> None:
        path = self.local_path(upload_id)
        with path.open("r+b") as file:
            locks.permitted()  # after the file is open: see `seize`
            file.truncate(size)
        if self._fsync != "never":
            # The row will stop excluding these bytes: they must not come back after that.
            sync(path)

    def concatenate(self, upload_id: str, parts: Sequence[tuple[str, int]], *, may_share: bool) -> None:
        # The file's size shows how far an earlier call came: bytes are added in order and never changed.
        target = self.local_path(upload_id)
        try:
            if not target.exists() and not (may_share and self._share(*parts[0], target)):
                self.create(upload_id)
            with target.open("r+b") as file:
                self._join(file.fileno(), parts)
        except OSError as error:
            raise translated(error) from error

    def _share(self, first: str, size: int, target: Path) -> bool:
        """Give a part's file a second name, as an upload that begins with that part's bytes; returns whether it did.

        Only one upload may grow in that file. So a file that has another name already (it may be an upload's, or a
        running backup's) is not shared.
        """
        path = self.local_path(first)
        with path.open("r+b") as file:
            state = os.fstat(file.fileno())
            if state.st_nlink != 1 or state.st_size < size:
                return False
            os.ftruncate(file.fileno(), size)  # bytes that an upload added that is gone
        target.parent.mkdir(mode=0o700, exist_ok=True)
        try:
            target.hardlink_to(path)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            return False
        return True

    def undo_concatenate(self, upload_id: str, first: str, size: int) -> None:
        path, part = self.local_path(upload_id), self.local_path(first)
        try:
            if path.stat().st_size < size:
                return  # it copies, and has not even the first part
            # While the upload keeps its name, no other one shares the part's file and grows in it.
            os.truncate(path, size)
            # Earlier versions moved the part's file away from it; then its bytes are here.
            part.parent.mkdir(mode=0o700, exist_ok=True)
            part.hardlink_to(path)
        except (FileExistsError, FileNotFoundError):
            pass

    def _join(self, target: int, parts: Sequence[tuple[str, int]]) -> None:
        there, start = os.fstat(target).st_size, 0
        for part_id, size in parts:
            if there < start + size:
                with self.local_path(part_id).open("rb") as part:
                    copy_range(part.fileno(), there - start, target, there, start + size - there)
                there = start + size
            start += size

    def seize(self, upload_id: str) -> None:
        # Who opened the file before writes into one without a name from now on. So a writer opens it first and looks
        # at its lease after that: as long as the lease is valid, the file has not been replaced.
        path = self.local_path(upload_id)
        copy = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
        try:
            with path.open("rb") as source:
                state = os.fstat(source.fileno())
                if state.st_nlink != 1:
                    return  # of a final and its part: the same bytes come to the same places from each writer
                target = os.open(copy, _NEW, 0o600)
                try:
                    copy_range(source.fileno(), 0, target, 0, state.st_size)
                    os.utime(target, ns=(state.st_atime_ns, state.st_mtime_ns))
                    if self._fsync != "never":
                        os.fsync(target)
                finally:
                    os.close(target)
            locks.permitted()
            copy.rename(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise translated(error) from error
        finally:
            copy.unlink(missing_ok=True)
        if self._fsync != "never":
            with suppress(FileNotFoundError):
                sync(path.parent)

    def head(self, upload_id: str, count: int) -> bytes:
        with self.local_path(upload_id).open("rb") as file:
            return file.read(count)

    def show(self, upload_id: str, offset: int, see: Tap) -> None:
        with self.local_path(upload_id).open("rb", buffering=0) as file:
            file.seek(offset)
            while chunk := file.read(_SHOWN_BYTES):
                see(chunk)

    def begin_finish(self, upload_ids: Sequence[str]) -> None:
        if self._fsync != "never":
            for upload_id in upload_ids:
                with contextlib.suppress(OSError):  # `finish` reports it
                    send_to_disk(self._path(upload_id))

    def finish(self, upload_id: str) -> None:
        if self._fsync != "never":
            path = self._path(upload_id)
            # The file, its entry, and the entry of its folder: all three must be there after a power cut.
            sync(path, path[: -len(upload_id)])
            if upload_id[:2] not in self._synced:
                sync(self._folder)
                self._synced.add(upload_id[:2])

    def delete(self, upload_id: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path(upload_id))  # noqa: PTH108  # see `_path`

    def quarantine(self, upload_id: str) -> None:
        path, target = self.local_path(upload_id), self._quarantine / upload_id
        if not path.exists():
            return
        self._quarantine.mkdir(mode=0o700, exist_ok=True)
        path.chmod(0o600)
        try:
            path.rename(target)
        except OSError as error:
            if error.errno != errno.EXDEV:  # the folder of the uploads may be a disk of its own
                raise translated(error) from error
            self._carry(path, target)
        if self._fsync != "never":
            # In this order: after a power cut it may be in both places, and never in none.
            sync(self._quarantine, self._quarantine.parent, path.parent)

    def _carry(self, path: Path, target: Path) -> None:
        """Move a file to another disk; it is there whole or not at all."""
        arriving = target.with_name(f".{target.name}")
        arriving.unlink(missing_ok=True)
        try:
            with path.open("rb") as source, open(arriving, "wb", opener=_privately) as copy:
                shutil.copyfileobj(source, copy, _SHOWN_BYTES)
        except OSError as error:
            arriving.unlink(missing_ok=True)
            raise translated(error) from error
        if self._fsync != "never":
            sync(arriving)
        arriving.rename(target)
        if self._fsync != "never":
            sync(target.parent)
        path.unlink()

    def size_in_quarantine(self, upload_id: str) -> int | None:
        try:
            return (self._quarantine / upload_id).stat().st_size
        except FileNotFoundError:
            return None

    def delete_from_quarantine(self, upload_id: str) -> None:
        (self._quarantine / upload_id).unlink(missing_ok=True)
        (self._quarantine / f".{upload_id}").unlink(missing_ok=True)

    def ids(self) -> Iterator[str]:
        for path in _entries(self._folder):
            if path.name in (MARKER, pins.FOLDER):
                continue
            if not path.is_dir():
                yield path.name
                continue
            for entry in _entries(Path(path.path)):
                yield entry.name if entry.name[:2] == path.name else f"{path.name}/{entry.name}"

    def ids_in_quarantine(self) -> Iterator[str]:
        for path in _entries(self._quarantine):
            if path.name != pins.FOLDER:
                yield path.name

    def local_path(self, upload_id: str) -> Path:
        return self._folder / upload_id[:2] / upload_id

    def _state(self, upload_id: str) -> os.stat_result:
        return os.stat(self._path(upload_id))  # noqa: PTH116  # see `_path`

    def _path(self, upload_id: str) -> str:
        """The same as text: making a `Path` takes longer than the system call."""
        return f"{self._root}{upload_id[:2]}/{upload_id}"

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
        if self._fsync != "never":
            sync(self._folder)

    def room(self) -> int:
        return _free(os.statvfs(self._folder))

    @property
    def capacity(self) -> int:
        state = os.statvfs(self._folder)
        return state.f_blocks * state.f_frsize

    def keep_free(self, count: int) -> None:
        """From now on no append uses the last `count` bytes of the disk: other writes need them more."""
        self._kept = count


class _LazyFile:
    """A file that the writing thread opens with its first byte; this saves a thread switch.

    With `early`, what is written is sent to the disk while more comes. It is full when no more than `kept` bytes of its
    disk are free.
    """

    def __init__(self, path: str, offset: int, *, early: bool, kept: int, permit: Permit | None = None) -> None:
        self._path = path
        self._permit = permit
        self._kept = kept
        self._descriptor = -1
        self._next = (offset // WINDOW_BYTES + 1) * WINDOW_BYTES if early else sys.maxsize

    def __call__(self) -> int:
        if self._descriptor < 0:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        if self._permit is not None:
            self._permit()  # after the file is open: see `DiskStore.seize`
        # Checked before each write, of a MiB at most.
        if self._kept and _free(os.fstatvfs(self._descriptor)) <= self._kept:
            raise OSError(errno.ENOSPC, "the rest of the disk is not for bodies")
        return self._descriptor

    @property
    def descriptor(self) -> int:
        return self._descriptor

    def written(self, end: int) -> None:
        while end >= self._next:
            begin_write_back(self._descriptor, self._next - WINDOW_BYTES, WINDOW_BYTES)
            self._next += WINDOW_BYTES

    @property
    def is_open(self) -> bool:
        return self._descriptor >= 0

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """The contents of a folder, read in pieces; nothing if it is gone."""
    try:
        found = os.scandir(folder)
    except FileNotFoundError:
        return
    with found:
        yield from found


def _free(state: os.statvfs_result) -> int:
    return state.f_bavail * state.f_frsize


def _privately(path: str, _flags: int) -> int:
    return os.open(path, _NEW, 0o600)
