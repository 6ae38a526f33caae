"""What a bucket holds of each upload: the state of an upload, and the protocol of the ledger that keeps it.

Rule: this module knows neither SQL nor S3. Each change of an upload carries the version that its writer got from
`begin`. A writer that was only slow has an old version, and changes nothing (`LedgerLostError`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


class LedgerLostError(Exception):
    """Another writer has taken the upload over: nothing that this one has sent counts from now on."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a multipart upload; `start` is its first byte in the upload, `size` in bytes."""

    start: int
    size: int
    number: int
    etag: str
    crc32c: str
    """Base64 of the big-endian CRC32C; empty where the store copied the bytes and computed none."""

    @property
    def end(self) -> int:
        """The byte after the last."""
        return self.start + self.size


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Bytes below a part, parked as an object of their own under `key`."""

    start: int
    size: int
    key: str
    crc32c: str

    @property
    def end(self) -> int:
        """The byte after the last."""
        return self.start + self.size


@dataclass(frozen=True, kw_only=True)
class StoredUpload:
    """An upload as the ledger knows it. Parts and pieces are in the order of their bytes."""

    id: str
    version: int
    part_size: int
    length: int | None
    """The length that was declared at its creation, in bytes."""
    multipart_id: str | None
    object_key: str | None
    """The key of the object that has all bytes; None until the upload is finished."""
    modified_at: datetime
    object_size: int = 0
    """Bytes of that object."""
    is_quarantined: bool = False
    on_disk: bool = False
    """The disk has the upload, and the bucket a copy that is being made or deleted."""
    head: bytes = b""
    """The first bytes, of an upload that has parts: S3 shows no byte of a part."""
    parts: Sequence[Part] = ()
    pieces: Sequence[Piece] = ()

    @property
    def parts_end(self) -> int:
        """Bytes that are in parts."""
        return self.parts[-1].end if self.parts else 0

    @property
    def current_pieces(self) -> list[Piece]:
        """The pieces after the parts, one after the other. The others are spent: parts or larger pieces replace them.

        Spent pieces stay until the next append begins, so that the last one can be taken back.
        """
        found: list[Piece] = []
        position = self.parts_end
        while True:
            nexts = [piece for piece in self.pieces if piece.start == position]
            if not nexts:
                return found
            found.append(max(nexts, key=lambda piece: piece.size))
            position = found[-1].end

    @property
    def size(self) -> int:
        """Bytes that count, which is the offset of the upload."""
        if self.is_whole:
            return self.object_size
        pieces = self.current_pieces
        return pieces[-1].end if pieces else self.parts_end

    @property
    def is_whole(self) -> bool:
        """Whether one object has all bytes."""
        return self.object_key is not None


@dataclass(frozen=True, kw_only=True)
class Change:
    """What is added to an upload, and what does not count any more."""

    parts: Sequence[Part] = ()
    pieces: Sequence[Piece] = ()
    without_parts: Sequence[Part] = ()
    without_pieces: Sequence[Piece] = ()
    head: bytes | None = None
    """The first bytes of the upload, with its first part."""


class PartLedger(Protocol):
    """Which parts and pieces count. Every function blocks; each is one transaction."""

    def create(self, upload_id: str, *, part_size: int, length: int | None, on_disk: bool = False) -> None:
        """A new, empty upload; with `on_disk` a copy of one that the disk has. Raises `FileExistsError`."""

    def find(self, upload_id: str) -> StoredUpload | None:
        """The upload, also one in quarantine; None if there is none."""

    def begin(self, upload_id: str) -> StoredUpload:
        """Take the upload over: the result has a new version, and every earlier version is void.

        Raises `FileNotFoundError`, and `LedgerLostError` where the guard of this host does not hold.
        """

    def set_multipart(self, upload_id: str, version: int, multipart_id: str | None) -> None:
        """Record the multipart upload that its parts belong to. Raises `LedgerLostError`, as all that follow."""

    def change(self, upload_id: str, version: int, change: "Change") -> None:
        """Count other parts and pieces from now on, all at once; `modified_at` is now where some were added."""

    def finish(self, upload_id: str, version: int, object_key: str, size: int) -> None:
        """One object has all bytes now, `size` of them. Synced to the disk of the database before it returns."""

    def set_on_disk(self, upload_id: str, version: int, *, on_disk: bool) -> None:
        """Say which of the two copies of an upload is the upload from now on. Raises `LedgerLostError`.

        Synced to the disk of the database before it returns: the other copy is deleted next.
        """

    def set_quarantined(self, upload_id: str) -> None:
        """Mark the upload as quarantined. Nothing happens without such an upload."""

    def remove(self, upload_id: str) -> None:
        """Forget the upload. Idempotent."""

    def quarantined(self) -> Iterable[str]:
        """The ids in quarantine, in no order."""

    def forgotten(self) -> Iterable[str]:
        """The ids that no row of an upload needs any more, in no order."""

    def multiparts(self) -> Iterable[str]:
        """The ids of all multipart uploads that count, in no order."""
