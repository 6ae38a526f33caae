"""The disk store keeps its contract: the size of the file is the offset, whatever happens to a body."""

import asyncio
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.errors import StorageFullError
from server.storage.base import Capability
from server.storage.disk import DiskStore
from server.transport.body import End, Moved
from tests.transport.scripted import GONE, Message, chunk, scripted, whole

ID = "8a6b1c6e-3f0e-4a58-9f57-0d8f1f1f9c11"
DESCRIPTORS = Path("/proc/self/fd")
OTHER = "8a7c1c6e-3f0e-4a58-9f57-0d8f1f1f9c11"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DiskStore]:
    opened = len(list(DESCRIPTORS.iterdir()))
    made = DiskStore(tmp_path / "uploads")
    made.claim()
    yield made
    assert len(list(DESCRIPTORS.iterdir())) <= opened, "a descriptor was left open"


def append(store: DiskStore, offset: int, messages: list[Message], limit: int = 1000) -> Moved:
    async def work() -> Moved:
        body = scripted(messages, 0.05)
        try:
            return await store.append(ID, offset, body, limit)
        finally:
            await body.close()

    return asyncio.run(work())


def test_an_upload_from_birth_to_death(store: DiskStore) -> None:
    """Create, append in pieces, truncate, finish, delete: size and bytes follow, and each can be asked again."""
    assert store.size(ID) is None
    store.create(ID)
    assert store.size(ID) == 0
    with pytest.raises(FileExistsError):
        store.create(ID)
    assert append(store, 0, whole([b"abc", b"def"])) == Moved(6, End.COMPLETE)
    assert append(store, 6, whole([b"ghi"]), limit=2) == Moved(2, End.LIMIT)
    assert (store.size(ID), store.head(ID, 4), store.head(ID, 100)) == (8, b"abcd", b"abcdefgh")
    store.truncate(ID, 5)
    assert store.local_path(ID).read_bytes() == b"abcde"
    for _ in range(2):
        store.finish(ID)
    assert store.local_path(ID).read_bytes() == b"abcde"
    for _ in range(2):
        store.delete(ID)
    assert store.size(ID) is None


@pytest.mark.parametrize(
    ("messages", "moved"),
    [
        ([chunk(b"abc"), GONE], Moved(3, End.GONE)),
        ([chunk(b"abc")], Moved(3, End.IDLE)),
        ([GONE], Moved(0, End.GONE)),
        ([chunk(b"", more=False)], Moved(0, End.COMPLETE)),
    ],
)
def test_what_arrived_stays(store: DiskStore, messages: list[Message], moved: Moved) -> None:
    """However a body ends, what it reported is in the file, and nothing else."""
    store.create(ID)
    append(store, 0, whole([b"12345"]))
    assert append(store, 5, messages) == moved
    assert store.local_path(ID).read_bytes() == b"12345abc"[: 5 + moved.count]


def test_uploads_are_apart(store: DiskStore) -> None:
    """Two uploads of the same folder do not touch each other."""
    store.create(ID)
    store.create(OTHER)
    append(store, 0, whole([b"abc"]))
    assert store.size(OTHER) == 0
    store.delete(OTHER)
    assert store.size(ID) == 3


def test_what_is_not_there(store: DiskStore) -> None:
    """An upload that the store does not have is never made by accident."""
    with pytest.raises(FileNotFoundError):
        append(store, 0, whole([b"abc"]))
    for call in (lambda: store.head(ID, 1), lambda: store.finish(ID), lambda: store.truncate(ID, 0)):
        with pytest.raises(FileNotFoundError):
            call()
    assert store.size(ID) is None


def test_nobody_else_may_read(store: DiskStore) -> None:
    """Files and folders are their owner's only."""
    store.create(ID)
    path = store.local_path(ID)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == path.parent.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk(store: DiskStore, monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    """A disk that takes no more is `StorageFullError`; what it took counts."""
    store.create(ID)
    real = os.pwrite

    def full(descriptor: int, view: memoryview, offset: int) -> int:
        if offset >= 4:
            raise OSError(error, os.strerror(error))
        return real(descriptor, view[:4], offset)

    with monkeypatch.context() as patched:
        patched.setattr("server.transport.body.os.pwrite", full)
        with pytest.raises(StorageFullError):
            append(store, 0, whole([b"abcdefgh"]))
    assert store.local_path(ID).read_bytes() == b"abcd"


def test_another_error_is_not_a_full_disk(store: DiskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """EIO stays EIO: to tell a client that the disk is full would be a lie."""
    store.create(ID)

    def broken(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("server.transport.body.os.pwrite", broken)
    with pytest.raises(OSError) as caught:
        append(store, 0, whole([b"abc"]))
    assert caught.value.errno == errno.EIO


def test_finish_reaches_the_disk(store: DiskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Finish syncs the file, its folder and the folder of that: each is needed to find the bytes after a power cut."""
    store.create(ID)
    synced: list[Path] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append((DESCRIPTORS / str(descriptor)).readlink())
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    store.finish(ID)
    path = store.local_path(ID)
    assert set(synced) == {path, path.parent, path.parent.parent}


def test_check(store: DiskStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A store says how much room there is, and that it is away when its folder is."""
    store.check()
    assert store.room() > 0
    real = os.statvfs
    with monkeypatch.context() as patched:
        patched.setattr(os, "statvfs", lambda path: os.statvfs_result([*real(path)[:4], 0, *real(path)[5:]]))
        assert store.room() == 0
        store.check()  # full, but there: what it has can be believed
    (tmp_path / "uploads").rename(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        store.check()


def test_extensions_come_from_capabilities(store: DiskStore) -> None:
    """The disk can do everything that a store may be able to do."""
    assert store.capabilities == set(Capability)


def test_concatenate(store: DiskStore) -> None:
    """In order; the first part is taken only where that is allowed; a call that is repeated changes nothing."""
    for name, data in (("a1", b"one"), ("b1", b""), ("c1", b"three")):
        store.create(name)
        store.local_path(name).write_bytes(data)
    parts = [("a1", 3), ("b1", 0), ("c1", 5), ("a1", 3)]
    store.concatenate("f1", parts, may_take=False)
    assert store.local_path("f1").read_bytes() == b"onethreeone"
    assert store.size("a1") == 3
    for _ in range(2):
        store.concatenate("f2", parts[:3], may_take=True)
        assert store.local_path("f2").read_bytes() == b"onethree"
    assert store.size("a1") is None
    with pytest.raises(FileNotFoundError):
        store.concatenate("f3", [("c1", 5), ("a1", 3)], may_take=False)


def test_show_and_truncate(store: DiskStore) -> None:
    """What lies behind an offset is shown in order, and can be forgotten."""
    store.create("a1")
    store.local_path("a1").write_bytes(b"0123456789")
    seen: list[bytes] = []
    store.show("a1", 4, seen.append)
    assert b"".join(seen) == b"456789"
    store.truncate("a1", 4)
    assert store.local_path("a1").read_bytes() == b"0123"
