"""The store of uploads in a bucket.

Rule: it decides the order of things (bucket, ledger, client) and leaves each of them to its own module.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar

import structlog

from server import threads
from server.errors import UnavailableError, UploadLockedError
from server.storage.base import Capability, UploadStore
from server.storage.s3.appending import Appending, AppendTools
from server.storage.s3.bucket import Bucket, MultipartGoneError, PartLostError
from server.storage.s3.cache import LocalCache
from server.storage.s3.checksum import Crc32c, crc32c
from server.storage.s3.dialect import part_size
from server.storage.s3.joining import Extent, Joining
from server.storage.s3.ledger import Change, LedgerLostError, Part, PartLedger, StoredUpload
from server.storage.s3.location import Location
from server.storage.s3.memory import PartMemory, return_freed_memory
from server.storage.s3.objects import MARKER, UPLOADS, Objects, folder_of, key_of
from server.transport.body import Body, End, Moved, Tap

_PLENTY = 1 << 60
_COMPOSING = 2
_LOOK_SECONDS = 1.0
_UNKNOWN_FOR = timedelta(days=1)
_SHOWN_BYTES = 1 << 20
_ONE_WRITER = 2  # the version of an upload that one append wrote, when it is finished
T = TypeVar("T")

# Calls of all uploads: parts on their way, and the rows that count them.
_threads = ThreadPoolExecutor(24, "s3")
_log = structlog.stdlib.get_logger("videodock.storage")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a store may use. Sizes are bytes, times seconds."""

    memory: int
    """For parts on their way, in all."""
    part_size: int
    """The least size of parts."""
    largest: int
    """The largest upload, for those whose length is not known at their creation."""
    parallel: int
    """Parts of one upload that are sent at once."""
    deadline: float
    """How long a call is repeated."""
    cache: int
    """For local copies, in all."""


class S3Store(UploadStore):
    """Uploads in the bucket at `location`; `ledger` says what counts, and `folder` has local copies."""

    is_local = False
    # What an unfinished upload has in parts cannot be read: all but READ_BACK.
    capabilities = frozenset(Capability) - {Capability.READ_BACK}

    def __init__(
        self, location: Location, ledger: PartLedger, folder: Path, limits: Limits, bucket: Bucket | None = None
    ) -> None:
        self.location = location
        self.bucket = bucket or Bucket(location, deadline=limits.deadline)
        self.ledger = ledger
        self._limits = limits
        self._running: dict[str, Appending] = {}
        self._cache = LocalCache(folder, limits.cache)
        return_freed_memory()
        self.memory = PartMemory(limits.memory - limits.memory // 8)
        self._objects = Objects(self.bucket, limits.memory // 8)
        self._joining = Joining(objects=self._objects, ledger=ledger, dialect=location.dialect)
        self._tools = AppendTools(
            objects=self._objects,
            ledger=ledger,
            memory=self.memory,
            pool=_threads,
            parallel=min(limits.parallel, location.dialect.parallel),
            composing=threading.Semaphore(_COMPOSING),
        )

    # Uploads

    def create(self, upload_id: str, length: int | None = None) -> None:
        wanted = self._limits.largest if length is None else length
        size = part_size(self.location.dialect, wanted, self._limits.part_size)
        self.ledger.create(upload_id, part_size=size, length=length)

    def size(self, upload_id: str) -> int | None:
        upload = self.ledger.find(upload_id)
        return None if upload is None or upload.is_quarantined else upload.size

    def modified(self, upload_id: str) -> datetime | None:
        upload = self.ledger.find(upload_id)
        return None if upload is None or upload.is_quarantined else upload.modified_at

    async def append(self, upload_id: str, offset: int, body: Body, limit: int, see: Tap | None = None) -> Moved:
        front, end = await body.peek(min(1, limit))
        if not front:
            await self._do(self._found, upload_id)
            return Moved(0, End.LIMIT if limit == 0 else end)
        try:
            upload = await self._do(self._begin_append, upload_id, offset)
            appending = self._running[upload_id] = Appending(self._tools, upload, body.permit)
            return await appending.run(body, limit, see)
        except LedgerLostError:
            raise UploadLockedError from None
        except (MultipartGoneError, PartLostError):
            # Aborted by somebody else. The bytes that were counted may be lost; an operator has to look.
            _log.exception("bucket_multipart_gone", upload=upload_id)
            raise UnavailableError(part="store") from None
        finally:
            self._running.pop(upload_id, None)

    def arrived(self, upload_id: str) -> int:
        """The size, and the bytes of a running body that are still on their way: a crash loses these."""
        running = self._running.get(upload_id)
        return (self.size(upload_id) or 0) if running is None else running.arrived

    def truncate(self, upload_id: str, size: int) -> None:
        upload = self._begin(upload_id)
        if upload.size <= size:
            return
        gone_parts = [part for part in upload.parts if part.end > size]
        gone = [piece for piece in upload.pieces if piece.end > size]
        kept = [piece for piece in upload.pieces if piece.end <= size]
        parts = [part for part in upload.parts if part.end <= size]
        reach = replace(upload, parts=parts, pieces=kept).size
        pieces = []
        if reach < size:
            cut = next((piece for piece in gone if piece.start == reach), None)
            if cut is None:
                raise OSError(0, "these bytes are in a part, and cannot be cut")
            data = self._objects.read_pieces([cut])[: size - reach]
            pieces = [self._objects.put_piece(upload_id, reach, data)]
        change = Change(pieces=pieces, without_parts=gone_parts, without_pieces=gone)
        self.ledger.change(upload_id, upload.version, change)
        with suppress(UnavailableError):
            self._objects.delete_pieces(gone)

    def concatenate(self, upload_id: str, parts: Sequence[tuple[str, int]], *, may_share: bool) -> None:  # noqa: ARG002
        total = sum(size for _, size in parts)
        if self.ledger.find(upload_id) is None:
            self.create(upload_id, total)
        upload = self._begin(upload_id)
        if upload.is_whole or upload.size >= total:
            return
        extents: list[Extent] = [(piece.key, 0, piece.size) for piece in upload.current_pieces]
        there, start = upload.size, 0
        for part_id, size in parts:
            if there < start + size:
                extents.append(self._extent(part_id, max(0, there - start), size))
            start += size
        try:
            self._joining.join(upload, extents, upload.part_size)
        except LedgerLostError:
            raise UploadLockedError from None

    def undo_concatenate(self, upload_id: str, first: str, size: int) -> None:
        """Nothing is shared, so there is nothing to give back."""

    def head(self, upload_id: str, count: int) -> bytes:
        upload = self._found(upload_id)
        if not upload.is_whole and count <= len(upload.head):
            return upload.head[:count]
        return b"".join(self._objects.stream(upload, 0, min(count, upload.size)))

    def show(self, upload_id: str, offset: int, see: Tap) -> None:
        upload = self._found(upload_id)
        for piece in self._objects.stream(upload, offset, upload.size):
            for first in range(0, len(piece), _SHOWN_BYTES):
                see(memoryview(piece[first : first + _SHOWN_BYTES]))

    def stream(self, upload_id: str, start: int, stop: int) -> Iterator[bytes]:
        yield from self._objects.stream(self._found(upload_id), start, stop)

    def finish(self, upload_id: str) -> None:
        if self._found(upload_id).is_whole:
            return
        upload = self._begin(upload_id)
        try:
            key = self._make_object(upload)
        except LedgerLostError:
            raise UploadLockedError from None
        except PartLostError:
            raise UnavailableError(part="store") from None
        self.ledger.finish(upload_id, upload.version, key, upload.size)
        # A second writer may follow one that died, and whose last object no row has.
        if len(upload.pieces) > 1 or (upload.pieces and key != upload.pieces[0].key) or upload.version > _ONE_WRITER:
            with suppress(UnavailableError):
                self._delete_objects(upload_id, but=key)
            self.ledger.change(upload_id, upload.version, Change(without_pieces=upload.pieces))

    def delete(self, upload_id: str) -> None:
        self._cache.drop(upload_id)
        try:
            upload = self.ledger.begin(upload_id)
        except FileNotFoundError:
            return
        if upload.multipart_id is not None and not upload.is_whole:
            self.bucket.abort(key_of(upload_id), upload.multipart_id)
        self._delete_objects(upload_id)
        self.ledger.remove(upload_id)

    # Quarantine

    def quarantine(self, upload_id: str) -> None:
        self.ledger.set_quarantined(upload_id)
        self._cache.drop(upload_id)

    def size_in_quarantine(self, upload_id: str) -> int | None:
        upload = self.ledger.find(upload_id)
        return upload.size if upload is not None and upload.is_quarantined else None

    def delete_from_quarantine(self, upload_id: str) -> None:
        if self.size_in_quarantine(upload_id) is not None:
            self.delete(upload_id)

    def ids_in_quarantine(self) -> Iterator[str]:
        return iter(self.ledger.quarantined())

    # The bucket

    def has_anything(self, upload_id: str) -> bool:
        return next(self.bucket.keys(folder_of(upload_id)), None) is not None

    def is_intact(self, upload_id: str) -> bool:
        upload = self.ledger.find(upload_id)
        if upload is None:
            return False
        if upload.object_key is not None:
            return self.bucket.size(upload.object_key) == upload.size
        if any(self.bucket.size(piece.key) != piece.size for piece in upload.current_pieces):
            return False
        try:
            found = self.bucket.part_sizes(key_of(upload_id), upload.multipart_id or "") if upload.parts else {}
        except (MultipartGoneError, FileNotFoundError):
            return False
        return all(found.get(part.number) == (part.size, part.etag) for part in upload.parts)

    def forgotten(self) -> Iterator[str]:
        return iter(self.ledger.forgotten())

    def sweep(self, *, dry_run: bool) -> int:
        """Abort multipart uploads of a day ago that the ledger does not know, since their process died before."""
        before = datetime.now(UTC) - _UNKNOWN_FOR
        old = [(key, found) for key, found, began in self.bucket.multiparts(UPLOADS) if began < before]
        known = set(self.ledger.multiparts()) if old else set()
        left = [(key, found) for key, found in old if found not in known]
        for key, found in () if dry_run else left:
            self.bucket.abort(key, found)
        return len(left)

    def ids(self) -> Iterator[str]:
        for name in self.bucket.folders(UPLOADS):
            yield name.removesuffix("/")

    def local_path(self, upload_id: str) -> Path:
        upload = self.ledger.find(upload_id)
        if upload is None or upload.is_quarantined:
            self._cache.drop(upload_id)
            return self._cache.path(upload_id)
        try:
            return self._cache.fetch(upload_id, upload.size, partial(self._verified, upload))
        except FileNotFoundError:  # somebody has deleted the object
            return self._cache.path(upload_id)

    def check(self) -> None:
        if not self.is_claimed():
            raise OSError(0, "the bucket is not the one that was used before")

    @property
    def unclaimed(self) -> str:
        marker = f"{self.location.shown}/{MARKER}"
        return (
            f"the bucket at {self.location.shown} has never held one. Is `store` another one than before? If their "
            f"bytes are lost for good, put an empty object at {marker} and start again."
        )

    def is_claimed(self) -> bool:
        found: list[int | None] = []
        bucket = self.bucket.impatient(_LOOK_SECONDS)
        bucket.try_out("be read", lambda: found.append(bucket.size(MARKER)))
        return found[0] is not None

    def claim(self) -> None:
        self.bucket.try_out("be written", lambda: self.bucket.put(MARKER, b"", crc32c(b"")))

    def room(self) -> int:
        return _PLENTY

    @property
    def capacity(self) -> int:
        return _PLENTY

    # Steps

    def _found(self, upload_id: str) -> StoredUpload:
        upload = self.ledger.find(upload_id)
        if upload is None or upload.is_quarantined:
            raise FileNotFoundError(2, "there is no upload of that id")
        return upload

    def _begin(self, upload_id: str) -> StoredUpload:
        self._found(upload_id)
        try:
            return self.ledger.begin(upload_id)
        except LedgerLostError:
            raise UploadLockedError from None

    def _begin_append(self, upload_id: str, offset: int) -> StoredUpload:
        """Take the upload over, and delete what its last append left spent."""
        upload = self._begin(upload_id)
        if upload.is_whole or upload.size != offset:
            raise OSError(0, f"the upload has {upload.size} bytes, and more were to come after {offset}")
        current = upload.current_pieces
        spent = [piece for piece in upload.pieces if piece not in current]
        if spent:
            with suppress(
                UnavailableError
            ):  # no right to delete, for one: they are tried again, and go with the upload
                self._objects.delete_pieces(spent)
                self.ledger.change(upload_id, upload.version, Change(without_pieces=spent))
        return replace(upload, pieces=current)

    def _make_object(self, upload: StoredUpload) -> str:
        """Make one object of everything; returns its key."""
        pieces, key = upload.current_pieces, key_of(upload.id)
        if not upload.parts:
            if len(pieces) == 1:
                return pieces[0].key
            data = self._objects.read_pieces(pieces)
            self.bucket.put(key, data, crc32c(data))
            return key
        parts = list(upload.parts)
        try:
            if pieces:
                parts.append(self._last_part(upload, self._objects.read_pieces(pieces)))
            self.bucket.complete(key, upload.multipart_id or "", parts)
        except MultipartGoneError:
            # Its answer may have been lost: then the object is there.
            if self.bucket.size(key) != upload.size:
                _log.exception("bucket_multipart_gone", upload=upload.id)
                raise UnavailableError(part="store") from None
        return key

    def _last_part(self, upload: StoredUpload, data: bytes) -> Part:
        number, checksum = upload.parts[-1].number + 1, crc32c(data)
        etag = self.bucket.put_part(key_of(upload.id), upload.multipart_id or "", number, data, checksum)
        part = Part(start=upload.parts_end, size=len(data), number=number, etag=etag, crc32c=checksum)
        self.ledger.change(upload.id, upload.version, Change(parts=[part]))
        return part

    def _extent(self, part_id: str, start: int, stop: int) -> Extent:
        self.finish(part_id)
        upload = self._found(part_id)
        if upload.object_key is None or upload.size < stop:
            raise FileNotFoundError(2, "a part is shorter than it was")
        return upload.object_key, start, stop

    def _delete_objects(self, upload_id: str, but: str | None = None) -> None:
        self.bucket.delete([key for key, _ in self.bucket.keys(folder_of(upload_id)) if key != but])

    def _verified(self, upload: StoredUpload) -> Iterator[bytes]:
        """All bytes, each part compared with the checksum that it came with."""
        if not upload.is_whole or not upload.parts:
            yield from self._objects.stream(upload, 0, upload.size)
            return
        for part in upload.parts:
            checksum = Crc32c()
            for piece in self._objects.stream(upload, part.start, part.end):
                checksum.update(piece)
                yield piece
            if part.crc32c and checksum.text != part.crc32c:
                _log.error("bucket_bytes_changed", upload=upload.id, part=part.number)
                raise UnavailableError(part="store")

    async def _do(self, work: Callable[..., T], *args: object) -> T:
        return await threads.run(work, *args, pool=self._tools.pool)
