"""Moves one complete upload between the disk and a bucket.

Rules:

- The row of the ledger says which copy is the upload (`on_disk`): it is the source until one statement makes it the
  target. Only then is the source deleted. So a process may die anywhere, and a repetition goes on: what the bucket has
  of a copy is not sent again.
- `copy_…` needs no lock, since the bytes of a complete upload do not change; it ends when the SHA-256 of both copies,
  each read to its end, is the same. `switch_…` needs the upload's lock, and takes a moment.
- Each copy takes a version of the ledger: of two that run at once, one loses, and so does one whose upload is deleted.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import structlog

from server.storage.base import translated
from server.storage.disk import DiskStore
from server.storage.fsync import sync
from server.storage.s3.bucket import MultipartGoneError
from server.storage.s3.checksum import crc32c
from server.storage.s3.ledger import Change, LedgerLostError, Part, StoredUpload
from server.storage.s3.objects import HEAD_BYTES, key_of
from server.storage.s3.store import S3Store

_READ_BYTES = 1 << 20
_log = structlog.stdlib.get_logger("videodock.storage")

Moved = Callable[[int], None]
"""Is told how many bytes were copied since the last time; it may raise, to end the copy there."""


class CopyDiffersError(Exception):
    """The copy does not have the bytes of the source: it was deleted, and the source stays."""


def ignore(_count: int) -> None:
    """For a copy that nobody watches."""


class Carrier:
    """Moves uploads between these two stores. Everything blocks."""

    def __init__(self, disk: DiskStore, bucket: S3Store) -> None:
        self._disk = disk
        self._bucket = bucket

    def copy_to_bucket(self, upload_id: str, length: int, moved: Moved = ignore) -> None:
        """Copy the first `length` bytes of a file: a part that shares its file with a final has more. Idempotent.

        Raises `FileNotFoundError` when the disk does not have it whole, `CopyDiffersError`, `UnavailableError`,
        `StorageFullError`, `LedgerLostError`.
        """
        found = self._bucket.ledger.find(upload_id)
        if found is not None and not found.on_disk:
            return
        with self._disk.local_path(upload_id).open("rb", buffering=0) as file:
            if os.fstat(file.fileno()).st_size < length:
                raise FileNotFoundError(2, "the disk does not have all bytes of the upload")
            if found is None:
                self._bucket.create_copy(upload_id, length)
            self._send(self._bucket.ledger.begin(upload_id), file, length, moved)
            self._bucket.finish(upload_id)
            same = _digest(_read(file, 0, length)) == _digest(self._bucket.stream(upload_id, 0, length))
        if not same:
            self._bucket.delete(upload_id)
            _log.error("copy_differs", upload=upload_id)
            raise CopyDiffersError

    def switch_to_bucket(self, upload_id: str) -> None:
        """From now on the bucket has the upload; what was copied before must be all of it. Idempotent.

        Raises `FileNotFoundError`, `LedgerLostError`.
        """
        upload = self._bucket.ledger.begin(upload_id)
        if not upload.is_whole:
            raise FileNotFoundError(2, "the bucket does not have all bytes of the upload")
        self._bucket.ledger.set_on_disk(upload_id, upload.version, on_disk=False)
        self._disk.delete(upload_id)

    def copy_to_disk(self, upload_id: str, moved: Moved = ignore) -> None:
        """Copy a finished upload to beside its place on the disk. Idempotent. Raises the same."""
        upload = self._bucket.ledger.find(upload_id)
        if upload is None or upload.on_disk:
            return
        if not upload.is_whole:
            raise FileNotFoundError(2, "the bucket does not have all bytes of the upload")
        path = self._disk.local_path(upload_id)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        arriving = arriving_path(path)
        try:
            with open(arriving, "w+b", opener=_privately) as file:
                written = _digest(_written(file, self._bucket.verified(upload_id), moved))
                os.fsync(file.fileno())
                found = os.fstat(file.fileno()).st_size
                same = found == upload.size and _digest(_read(file, 0, found)) == written
        except OSError as error:
            raise translated(error) from error
        if not same:
            arriving.unlink()
            _log.error("copy_differs", upload=upload_id)
            raise CopyDiffersError

    def switch_to_disk(self, upload_id: str) -> None:
        """From now on the disk has the upload. Idempotent. Raises the same."""
        upload = self._bucket.ledger.begin(upload_id)
        if not upload.on_disk:
            path = self._disk.local_path(upload_id)
            arriving_path(path).rename(path)
            sync(path, path.parent, path.parent.parent)
            self._bucket.ledger.set_on_disk(upload_id, upload.version, on_disk=True)
        self._bucket.delete(upload_id)

    def drop_copies(self, upload_id: str) -> None:
        """Delete what an unfinished move left beside the upload. Idempotent."""
        found = self._bucket.ledger.find(upload_id)
        if found is not None and found.on_disk:
            self._bucket.delete(upload_id)
        elif found is not None:
            self._disk.delete(upload_id)
        with suppress(FileNotFoundError):
            arriving_path(self._disk.local_path(upload_id)).unlink()

    def _send(self, upload: StoredUpload, file: BinaryIO, length: int, moved: Moved) -> None:
        """Write what the copy lacks: one piece for a small upload, else its parts."""
        bucket, ledger = self._bucket.bucket, self._bucket.ledger
        if upload.is_whole or upload.size == length:
            return
        if length <= upload.part_size:
            piece = self._bucket.put_piece(upload.id, _exactly(file, 0, length))
            try:
                ledger.change(upload.id, upload.version, Change(pieces=[piece]))
            except LedgerLostError:
                bucket.delete([piece.key])  # no row will show it
                raise
            moved(length)
            return
        multipart_id = upload.multipart_id
        if multipart_id is None:
            multipart_id = bucket.begin(key_of(upload.id), is_checked=True)
            ledger.set_multipart(upload.id, upload.version, multipart_id)
        for start in range(upload.parts_end, length, upload.part_size):
            data = _exactly(file, start, min(upload.part_size, length - start))
            checksum, number = crc32c(data), start // upload.part_size + 1
            try:
                etag = bucket.put_part(key_of(upload.id), multipart_id, number, data, checksum)
            except MultipartGoneError:
                # Deleted with its upload, or aborted by somebody else: then the next run begins again.
                self._bucket.delete(upload.id)
                raise LedgerLostError from None
            part = Part(start=start, size=len(data), number=number, etag=etag, crc32c=checksum)
            head = data[:HEAD_BYTES] if start == 0 else None
            ledger.change(upload.id, upload.version, Change(parts=[part], head=head))
            moved(len(data))


def arriving_path(path: Path) -> Path:
    """Where a file is written that comes from a bucket."""
    return path.with_name(f".{path.name}.moving")


def _digest(pieces: Iterable[bytes]) -> bytes:
    hashed = hashlib.sha256()
    for piece in pieces:
        hashed.update(piece)
    return hashed.digest()


def _read(file: BinaryIO, start: int, stop: int) -> Iterator[bytes]:
    while start < stop and (piece := os.pread(file.fileno(), min(_READ_BYTES, stop - start), start)):
        start += len(piece)
        yield piece


def _exactly(file: BinaryIO, start: int, count: int) -> bytes:
    data = b"".join(_read(file, start, start + count))
    if len(data) != count:
        raise FileNotFoundError(2, "the file became shorter while it was copied")
    return data


def _written(file: BinaryIO, pieces: Iterable[bytes], moved: Moved) -> Iterator[bytes]:
    for piece in pieces:
        file.write(piece)
        moved(len(piece))
        yield piece
    file.flush()


def _privately(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
