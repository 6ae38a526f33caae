"""Two stores beside each other while uploads move: the disk and a bucket.

Rule: the row of the ledger says where an upload is, and nothing else: in the bucket if there is a row that does not say
`on_disk`, on the disk otherwise. New uploads begin in the store that the settings want; all others stay where they are
until `migrate-store` moves them, or a join needs them elsewhere.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import chain
from pathlib import Path

from server.storage.base import Capability, UploadPair, UploadStore
from server.storage.carrying import Carrier
from server.storage.disk import DiskStore
from server.storage.s3.store import S3Store
from server.storage.stored_file import Sign
from server.transport.body import Body, Moved, Tap


class PairStore(UploadPair):
    """`into_bucket` says which of the two gets new uploads."""

    is_local = False
    capabilities = frozenset(Capability) - {Capability.READ_BACK}

    def __init__(self, disk: DiskStore, bucket: S3Store, *, into_bucket: bool) -> None:
        self.disk = disk
        self.bucket = bucket
        self.into_bucket = into_bucket
        self.carrier = Carrier(disk, bucket)
        self.ledger = bucket.ledger
        self.origins = bucket.origins

    @property
    def new(self) -> UploadStore:
        return self.bucket if self.into_bucket else self.disk

    @property
    def former(self) -> UploadStore:
        return self.disk if self.into_bucket else self.bucket

    def is_in_bucket(self, upload_id: str) -> bool:
        """Whether the bucket has the upload, and not the disk. Blocking."""
        found = self.ledger.find(upload_id)
        return found is not None and not found.on_disk

    def _of(self, upload_id: str) -> UploadStore:
        return self.bucket if self.is_in_bucket(upload_id) else self.disk

    # Uploads

    def create(self, upload_id: str, length: int | None = None) -> None:
        self.new.create(upload_id, length)

    def size(self, upload_id: str) -> int | None:
        return self._of(upload_id).size(upload_id)

    def modified(self, upload_id: str) -> datetime | None:
        return self._of(upload_id).modified(upload_id)

    async def append(self, upload_id: str, offset: int, body: Body, limit: int, see: Tap | None = None) -> Moved:
        store = await self.bucket.do(self._of, upload_id)
        return await store.append(upload_id, offset, body, limit, see)

    def truncate(self, upload_id: str, size: int) -> None:
        self._of(upload_id).truncate(upload_id, size)

    def seize(self, upload_id: str) -> None:
        self._of(upload_id).seize(upload_id)

    def concatenate(self, upload_id: str, parts: Sequence[tuple[str, int]], *, may_share: bool) -> None:
        target = self.new if self.size(upload_id) is None else self._of(upload_id)
        for part_id, size in parts:  # their locks are held by the join
            if self._of(part_id) is target or self.size(part_id) is None:
                continue
            if target is self.bucket:
                self.carrier.copy_to_bucket(part_id, size)
                self.carrier.switch_to_bucket(part_id)
            else:
                self.carrier.copy_to_disk(part_id)
                self.carrier.switch_to_disk(part_id)
        target.concatenate(upload_id, parts, may_share=may_share)

    def undo_concatenate(self, upload_id: str, first: str, size: int) -> None:
        self._of(upload_id).undo_concatenate(upload_id, first, size)

    def head(self, upload_id: str, count: int) -> bytes:
        return self._of(upload_id).head(upload_id, count)

    def show(self, upload_id: str, offset: int, see: Tap) -> None:
        self._of(upload_id).show(upload_id, offset, see)

    def stream(self, upload_id: str, start: int, stop: int) -> Iterator[bytes]:
        while start < stop:
            store, before = self._of(upload_id), start
            try:
                for piece in store.stream(upload_id, start, stop):
                    start += len(piece)
                    yield piece
            except FileNotFoundError:
                if start == before and self._of(upload_id) is store:
                    raise  # it did not move, it is gone
            else:
                return

    def signer_of(self, upload_id: str) -> Sign | None:
        return self._of(upload_id).signer_of(upload_id)

    def finish(self, upload_id: str) -> None:
        self._of(upload_id).finish(upload_id)

    def begin_finish(self, upload_ids: Sequence[str]) -> None:
        self.disk.begin_finish(upload_ids)  # a hint, and nothing for those in the bucket

    def delete(self, upload_id: str) -> None:
        self.carrier.drop_copies(upload_id)
        self._of(upload_id).delete(upload_id)

    # Quarantine

    def quarantine(self, upload_id: str) -> None:
        self.carrier.drop_copies(upload_id)
        self._of(upload_id).quarantine(upload_id)

    def size_in_quarantine(self, upload_id: str) -> int | None:
        found = self.bucket.size_in_quarantine(upload_id)
        return self.disk.size_in_quarantine(upload_id) if found is None else found

    def delete_from_quarantine(self, upload_id: str) -> None:
        self.bucket.delete_from_quarantine(upload_id)
        self.disk.delete_from_quarantine(upload_id)

    def ids_in_quarantine(self) -> Iterator[str]:
        return chain(self.disk.ids_in_quarantine(), self.bucket.ids_in_quarantine())

    # Both

    def ids(self) -> Iterator[str]:
        return chain(self.disk.ids(), self.bucket.ids())

    def has_anything(self, upload_id: str) -> bool:
        return self.disk.has_anything(upload_id) or self.bucket.has_anything(upload_id)

    def is_intact(self, upload_id: str) -> bool:
        return self._of(upload_id).is_intact(upload_id)

    def forgotten(self) -> Iterator[str]:
        return self.bucket.forgotten()

    def sweep(self, *, dry_run: bool) -> int:
        return self.bucket.sweep(dry_run=dry_run)

    def local_path(self, upload_id: str) -> Path:
        return self._of(upload_id).local_path(upload_id)

    def check(self) -> None:
        self.new.check()
        self.former.check()

    @property
    def unclaimed(self) -> str:
        return self.former.unclaimed if not self.former.is_claimed() else self.new.unclaimed

    def is_claimed(self) -> bool:
        """Both were used before. The new one is claimed at its first start, while it has no upload yet."""
        if not self.former.is_claimed():
            return False
        if not self.new.is_claimed() and next(iter(self.new.ids()), None) is None:
            self.new.claim()
        return self.new.is_claimed()

    def claim(self) -> None:
        self.new.claim()
        self.former.claim()

    def room(self) -> int:
        return self.new.room()

    @property
    def capacity(self) -> int:
        return self.new.capacity
