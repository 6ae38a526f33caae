"""An upload moves between disk and bucket: the process may die anywhere, and every reader finds all bytes meanwhile."""

import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from server.storage.carrying import Carrier, CopyDiffersError, arriving_path
from server.storage.disk import DiskStore
from server.storage.pair import PairStore
from server.storage.s3.bucket import Bucket
from server.storage.s3.ledger import LedgerLostError
from server.storage.s3.store import S3Store
from tests.harness.kill_points import NEVER, KilledError, KillPoint
from tests.harness.object_store import ObjectStore, object_store  # noqa: F401  # the second is a fixture
from tests.harness.part_ledger import MemoryLedger
from tests.storage.s3.driving import PART, append, noise

ID = "8a6b1c6e-3f0e-4a58-9f57-0d8f1f1f9c11"
OTHER = "8a7c1c6e-3f0e-4a58-9f57-0d8f1f1f9c11"
FINAL = "8a8c1c6e-3f0e-4a58-9f57-0d8f1f1f9c11"
SMALL, LARGE = noise(9000), noise(PART + 9000)
_STEPS = {
    MemoryLedger: ("create", "begin", "set_multipart", "change", "finish", "set_on_disk", "remove"),
    Bucket: ("begin", "put", "put_part", "complete", "delete"),
    DiskStore: ("delete",),
    Path: ("rename",),
}


class Pair:
    """A folder, and a prefix of a bucket, with a ledger."""

    def __init__(self, server: ObjectStore, folder: Path, *, into_bucket: bool) -> None:
        self.server = server
        self._bucket, self._prefix = server.shared_bucket(), uuid.uuid4().hex
        url = server.url(self._bucket, self._prefix)
        self.bucket: S3Store = server.open_store(url, folder / "cache", MemoryLedger())
        self.disk = DiskStore(folder / f"uploads-{self._prefix}")
        self.store = PairStore(self.disk, self.bucket, into_bucket=into_bucket)
        self.carrier = self.store.carrier

    def fill(self, data: bytes, upload_id: str = ID) -> None:
        """Give the former store a complete upload."""
        self.store.former.create(upload_id, len(data))
        append(self.store.former, upload_id, 0, data)
        self.store.former.finish(upload_id)

    def move(self, size: int) -> None:
        """All of it, as `migrate-store` does, also after a death."""
        if self.store.into_bucket:
            if not self.store.is_in_bucket(ID):
                self.carrier.copy_to_bucket(ID, size)
                self.carrier.switch_to_bucket(ID)
            self.disk.delete(ID)
        elif self.bucket.ledger.find(ID) is not None:
            self.carrier.copy_to_disk(ID)
            self.carrier.switch_to_disk(ID)

    def content(self, upload_id: str = ID) -> bytes:
        return b"".join(self.store.stream(upload_id, 0, self.store.size(upload_id) or 0))

    def objects(self) -> list[str]:
        return [key for key in self.server.objects(self._bucket) if key.startswith(self._prefix)]

    def multiparts(self) -> list[str]:
        return [key for key in self.server.multiparts(self._bucket) if key.startswith(self._prefix)]

    def files(self) -> list[Path]:
        return [path for path in self.disk.local_path(ID).parent.parent.rglob("*") if path.is_file()]


@pytest.fixture
def make_pair(object_store: ObjectStore, tmp_path: Path) -> Callable[[bool], Pair]:  # noqa: F811
    return lambda into_bucket: Pair(object_store, tmp_path, into_bucket=into_bucket)


def dying(patched: pytest.MonkeyPatch, at: int, *, after: bool) -> KillPoint:
    """The process dies at the step `at` of all that change something."""
    point = KillPoint(at, after=after)
    for kind, names in _STEPS.items():
        for name in names:
            patched.setattr(kind, name, point.step(getattr(kind, name)))
    return point


@pytest.mark.parametrize("into_bucket", [True, False], ids=["to-bucket", "to-disk"])
@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
def test_a_move_that_dies_anywhere_goes_on_and_loses_nothing(
    make_pair: Callable[[bool], Pair], monkeypatch: pytest.MonkeyPatch, data: bytes, into_bucket: bool
) -> None:
    """Before and after each step the pair reads all bytes; the next run ends it, and one copy is left, and no more."""
    whole = make_pair(into_bucket)
    whole.fill(data)
    with monkeypatch.context() as patched:
        counted = dying(patched, NEVER, after=True)
        whole.move(len(data))
    assert counted.reached >= 4
    for at in range(1, counted.reached + 1):
        for after in (False, True):
            pair = make_pair(into_bucket)
            pair.fill(data)
            with monkeypatch.context() as patched:
                dying(patched, at, after=after)
                with pytest.raises(KilledError):
                    pair.move(len(data))
            assert pair.content() == data, (at, after)
            pair.move(len(data))
            assert pair.content() == data, (at, after)
            assert pair.store.is_in_bucket(ID) == into_bucket
            with monkeypatch.context() as patched:  # it may die before the row has the id: the sweep's case, in a day
                patched.setattr("server.storage.s3.store._UNKNOWN_FOR", -timedelta(days=1))
                pair.store.sweep(dry_run=False)
            assert pair.multiparts() == []
            assert (len(pair.objects()), len(pair.files())) == ((1, 0) if into_bucket else (0, 1)), (at, after)


def test_a_copy_that_goes_on_sends_no_part_twice(
    make_pair: Callable[[bool], Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a death at the second part, the next run sends that part and not the first one."""
    pair = make_pair(True)
    pair.fill(LARGE)
    with monkeypatch.context() as patched:
        patched.setattr(Bucket, "put_part", KillPoint(2, after=False).step(Bucket.put_part))
        with pytest.raises(KilledError):
            pair.move(len(LARGE))
    before = pair.bucket.bucket.calls["upload_part"]
    pair.move(len(LARGE))
    assert pair.bucket.bucket.calls["upload_part"] == before + 1
    assert pair.content() == LARGE


@pytest.mark.parametrize("into_bucket", [True, False], ids=["to-bucket", "to-disk"])
def test_a_copy_with_other_bytes_leaves_the_source(
    make_pair: Callable[[bool], Pair], monkeypatch: pytest.MonkeyPatch, into_bucket: bool
) -> None:
    """The digests differ: the copy is deleted, and the upload is where it was."""
    pair = make_pair(into_bucket)
    pair.fill(SMALL)
    digests = iter([b"one", b"another"])
    with monkeypatch.context() as patched:
        patched.setattr("server.storage.carrying._digest", lambda pieces: (list(pieces), next(digests))[1])
        with pytest.raises(CopyDiffersError):
            pair.move(len(SMALL))
    assert pair.content() == SMALL
    assert (len(pair.objects()), len(pair.files())) == ((0, 1) if into_bucket else (1, 0))


def test_an_upload_that_is_deleted_during_its_copy_stays_deleted(make_pair: Callable[[bool], Pair]) -> None:
    """The copy notices at its next row: nothing of it stays in the bucket."""
    pair = make_pair(True)
    pair.fill(LARGE)

    def delete(_count: int) -> None:
        if pair.store.size(ID) is not None:
            pair.store.delete(ID)

    with pytest.raises((LedgerLostError, FileNotFoundError)):
        pair.carrier.copy_to_bucket(ID, len(LARGE), delete)
    assert pair.store.size(ID) is None
    assert (pair.objects(), pair.multiparts(), pair.files()) == ([], [], [])


@pytest.mark.parametrize("into_bucket", [True, False], ids=["to-bucket", "to-disk"])
def test_a_deletion_removes_both_copies(make_pair: Callable[[bool], Pair], into_bucket: bool) -> None:
    """A move that was cut before its switch, and then the upload is deleted."""
    pair = make_pair(into_bucket)
    pair.fill(SMALL)
    if into_bucket:
        pair.carrier.copy_to_bucket(ID, len(SMALL))
    else:
        pair.carrier.copy_to_disk(ID)
        assert arriving_path(pair.disk.local_path(ID)).exists()
    pair.store.delete(ID)
    assert pair.store.size(ID) is None
    assert (pair.objects(), pair.files()) == ([], [])


@pytest.mark.parametrize("into_bucket", [True, False], ids=["to-bucket", "to-disk"])
def test_a_join_brings_its_parts_together(make_pair: Callable[[bool], Pair], into_bucket: bool) -> None:
    """One part is in each store: the final begins in the new one, and has the bytes of both."""
    pair = make_pair(into_bucket)
    pair.fill(SMALL)
    pair.store.create(OTHER, 500)
    append(pair.store.new, OTHER, 0, noise(500, 7))
    pair.store.finish(OTHER)
    pair.store.concatenate(FINAL, [(ID, len(SMALL)), (OTHER, 500)], may_share=True)
    pair.store.finish(FINAL)
    assert pair.store.is_in_bucket(FINAL) == into_bucket
    assert pair.content(FINAL) == SMALL + noise(500, 7)


def test_only_the_bytes_of_a_part_move_when_its_file_is_a_finals_too(make_pair: Callable[[bool], Pair]) -> None:
    """A final shares the file of its first part, which is longer than the part: each gets its own bytes."""
    pair = make_pair(True)
    pair.fill(SMALL)
    pair.fill(noise(500, 7), OTHER)
    pair.disk.concatenate(FINAL, [(ID, len(SMALL)), (OTHER, 500)], may_share=True)
    pair.move(len(SMALL))
    assert pair.content() == SMALL
    assert pair.content(FINAL) == SMALL + noise(500, 7)
    assert isinstance(pair.carrier, Carrier)
