"""Joins uploads: their objects become parts of another object inside the bucket.

Rule: bytes pass through this process only where S3 does not copy them: parts below the least size, and, on servers
that want equal parts, those that lie in two objects.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from server.storage.s3.dialect import Dialect
from server.storage.s3.ledger import Change, Part, PartLedger, StoredUpload
from server.storage.s3.objects import HEAD_BYTES, Objects, key_of

Extent = tuple[str, int, int]
"""Bytes of an object: its key, the first byte, and the byte after the last."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Joining:
    """Makes parts of extents."""

    objects: Objects
    ledger: PartLedger
    dialect: Dialect

    def join(self, upload: StoredUpload, extents: Sequence[Extent], part_size: int) -> None:
        """Add the bytes of the extents, in order, to an upload without pieces, or with those they begin with.

        Each part counts as soon as it is there, so an interrupted join goes on after the last one. Blocking.
        """
        rest = [extent for extent in extents if extent[1] < extent[2]]
        total = sum(stop - start for _, start, stop in rest)
        if not upload.parts and total < min(part_size, self.dialect.least_part * 2):
            self._put_piece(upload, rest)
            return
        multipart_id = upload.multipart_id
        if multipart_id is None:
            multipart_id = self.objects.bucket.begin(key_of(upload.id), is_checked=False)
            self.ledger.set_multipart(upload.id, upload.version, multipart_id)
        position, number = upload.parts_end, upload.parts[-1].number + 1 if upload.parts else 1
        while rest:
            front, rest = self._next(rest, part_size)
            part = self._make(upload, multipart_id, front, position, number)
            head = b"".join(self._read(front, HEAD_BYTES)) if position == 0 else None
            self.ledger.change(upload.id, upload.version, Change(parts=[part], head=head))
            position, number = part.end, number + 1

    def _next(self, rest: Sequence[Extent], part_size: int) -> tuple[list[Extent], list[Extent]]:
        """The extents of the next part, and the others."""
        key, start, stop = rest[0]
        if self.dialect.has_equal_parts or not self.dialect.copies_parts:
            wanted = part_size
        elif stop - start >= self.dialect.least_part or len(rest) == 1:
            # No part is left over that would be too small to be copied.
            wanted = min(stop - start, self.dialect.largest_copy - self.dialect.least_part)
        else:
            wanted = part_size
        front: list[Extent] = []
        left = list(rest)
        while left and wanted:
            key, start, stop = left.pop(0)
            taken = min(wanted, stop - start)
            front.append((key, start, start + taken))
            wanted -= taken
            if start + taken < stop:
                left.insert(0, (key, start + taken, stop))
        return front, left

    def _make(
        self, upload: StoredUpload, multipart_id: str, front: Sequence[Extent], position: int, number: int
    ) -> Part:
        # Without checksums: for a part that it copies, a server may give the one of the whole source.
        bucket, key = self.objects.bucket, key_of(upload.id)
        size = sum(stop - start for _, start, stop in front)
        if len(front) == 1 and self.dialect.copies_parts:
            etag = bucket.copy_part(key, multipart_id, number, front[0])
        else:
            etag = bucket.put_part(key, multipart_id, number, b"".join(self._read(front, size)), "")
        return Part(start=position, size=size, number=number, etag=etag, crc32c="")

    def _put_piece(self, upload: StoredUpload, rest: Sequence[Extent]) -> None:
        data = b"".join(self._read(rest, sum(stop - start for _, start, stop in rest)))
        if data:
            piece = self.objects.put_piece(upload.id, 0, data)
            # It has the bytes of earlier pieces, which are spent now.
            self.ledger.change(upload.id, upload.version, Change(pieces=[piece]))

    def _read(self, extents: Sequence[Extent], count: int) -> list[bytes]:
        found: list[bytes] = []
        for key, start, stop in extents:
            taken = min(count, stop - start)
            found.append(self.objects.bucket.get(key, start, start + taken))
            count -= taken
        return found
