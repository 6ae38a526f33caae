"""The ledger of parts without a database: the protocol written to be read."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from server.storage.s3.ledger import Change, LedgerLostError, StoredUpload


@dataclass
class MemoryLedger:
    """Uploads by id."""

    uploads: dict[str, StoredUpload] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def create(self, upload_id: str, *, part_size: int, length: int | None, on_disk: bool = False) -> None:
        with self._lock:
            if upload_id in self.uploads:
                raise FileExistsError(upload_id)
            self.uploads[upload_id] = StoredUpload(
                id=upload_id,
                version=0,
                part_size=part_size,
                length=length,
                on_disk=on_disk,
                multipart_id=None,
                object_key=None,
                modified_at=datetime.now(UTC),
            )

    def find(self, upload_id: str) -> StoredUpload | None:
        return self.uploads.get(upload_id)

    def begin(self, upload_id: str) -> StoredUpload:
        with self._lock:
            if upload_id not in self.uploads:
                raise FileNotFoundError(upload_id)
            found = self.uploads[upload_id]
            self.uploads[upload_id] = replace(found, version=found.version + 1)
            return self.uploads[upload_id]

    def set_multipart(self, upload_id: str, version: int, multipart_id: str | None) -> None:
        with self._lock:
            self.uploads[upload_id] = replace(self._mine(upload_id, version), multipart_id=multipart_id)

    def change(self, upload_id: str, version: int, change: Change) -> None:
        with self._lock:
            found = self._mine(upload_id, version)
            parts = [*(part for part in found.parts if part not in change.without_parts), *change.parts]
            pieces = [*(piece for piece in found.pieces if piece not in change.without_pieces), *change.pieces]
            added = change.parts or change.pieces
            self.uploads[upload_id] = replace(
                found,
                parts=sorted(parts, key=lambda part: part.start),
                pieces=sorted(pieces, key=lambda piece: piece.start),
                head=found.head if change.head is None else change.head,
                modified_at=datetime.now(UTC) if added else found.modified_at,
            )

    def finish(self, upload_id: str, version: int, object_key: str, size: int) -> None:
        with self._lock:
            found = self._mine(upload_id, version)
            self.uploads[upload_id] = replace(found, object_key=object_key, object_size=size)

    def set_on_disk(self, upload_id: str, version: int, *, on_disk: bool) -> None:
        with self._lock:
            self.uploads[upload_id] = replace(self._mine(upload_id, version), on_disk=on_disk)

    def set_quarantined(self, upload_id: str) -> None:
        with self._lock:
            if upload_id in self.uploads:
                self.uploads[upload_id] = replace(self.uploads[upload_id], is_quarantined=True)

    def remove(self, upload_id: str) -> None:
        with self._lock:
            self.uploads.pop(upload_id, None)

    def quarantined(self) -> Iterator[str]:
        yield from [found.id for found in self.uploads.values() if found.is_quarantined]

    def forgotten(self) -> Iterator[str]:
        yield from ()

    def multiparts(self) -> Iterator[str]:
        unfinished = [found for found in self.uploads.values() if not found.is_whole]
        yield from [found.multipart_id for found in unfinished if found.multipart_id is not None]

    def _mine(self, upload_id: str, version: int) -> StoredUpload:
        found = self.uploads.get(upload_id)
        if found is None or found.version != version:
            raise LedgerLostError
        return found
