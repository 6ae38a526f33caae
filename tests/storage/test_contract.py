"""Every store keeps the contract of `server/storage/base.py`: the disk's, and the reference in memory."""

import asyncio
import errno
import os
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from server.errors import StorageFullError
from server.storage.base import Capability, UploadStore
from server.storage.disk import DiskStore
from server.storage.memory import MemoryStore
from tests.harness.object_store import object_store, opened_in  # noqa: F401  # the first is a fixture
from tests.harness.waiting import PATIENCE
from tests.transport.scripted import GONE, Message, chunk, scripted, whole

ID = "8a6b1c6e-3f0e-4a58-9f57-0d8f1f1f9c11"
OTHER = "8a7c1c6e-3f0e-4a58-9f57-0d8f1f1f9c11"
DESCRIPTORS = Path("/proc/self/fd")


@pytest.fixture(params=["disk", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[UploadStore]:
    if request.param == "s3":
        yield opened_in(request.getfixturevalue("object_store"), tmp_path)
    else:
        yield from _local(request.param, tmp_path)


@pytest.fixture(params=["disk", "memory"])
def local_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[UploadStore]:
    """A store whose bytes are in files; `s3/` has the same of a bucket."""
    yield from _local(request.param, tmp_path)


def _local(kind: str, folder: Path) -> Iterator[UploadStore]:
    opened = len(list(DESCRIPTORS.iterdir()))
    made = DiskStore(folder / "uploads") if kind == "disk" else MemoryStore()
    yield made
    if isinstance(made, MemoryStore):
        made.close()
    assert len(list(DESCRIPTORS.iterdir())) <= opened, "a descriptor was left open"


def append(store: UploadStore, offset: int, messages: list[Message], limit: int = 1000, upload: str = ID) -> bytes:
    """Append, and tell which bytes were shown."""
    return _append(store, offset, messages, limit, upload)[1]


def _append(
    store: UploadStore, offset: int, messages: list[Message], limit: int = 1000, upload: str = ID
) -> tuple[tuple[int, str], bytes]:
    seen: list[bytes] = []

    async def work() -> tuple[int, str]:
        body = scripted(messages, 0.05)
        try:
            moved = await store.append(upload, offset, body, limit, lambda view: seen.append(bytes(view)))
        finally:
            await body.close()
        return moved.count, moved.end.value

    return asyncio.run(work()), b"".join(seen)


def made(store: UploadStore, upload: str, data: bytes) -> None:
    """An upload of these bytes."""
    store.create(upload)
    if data:
        append(store, 0, whole([data]), upload=upload)


def content(store: UploadStore, upload: str) -> bytes:
    """All bytes, asked for in each way that there is."""
    seen: list[bytes] = []
    store.show(upload, 0, lambda view: seen.append(bytes(view)))
    data = b"".join(seen)
    assert store.local_path(upload).read_bytes() == store.head(upload, 10_000) == data
    assert store.size(upload) == len(data)
    return data


def test_an_upload_is_created_appended_finished_and_deleted(store: UploadStore) -> None:
    """Create, append in pieces, truncate, finish, delete: size and bytes follow, and each can be asked again."""
    assert (store.size(ID), store.modified(ID)) == (None, None)
    store.create(ID)
    assert content(store, ID) == b""
    with pytest.raises(FileExistsError):
        store.create(ID)
    assert _append(store, 0, whole([b"abc", b"def"])) == ((6, "complete"), b"abcdef")
    assert _append(store, 6, whole([b"ghi"]), limit=2) == ((2, "limit"), b"gh")
    assert content(store, ID) == b"abcdefgh"
    assert store.head(ID, 4) == b"abcd"
    store.truncate(ID, 5)
    for _ in range(2):
        store.finish(ID)
        assert content(store, ID) == b"abcde"
    for _ in range(2):
        store.delete(ID)
        assert (store.size(ID), store.modified(ID), store.local_path(ID).exists()) == (None, None, False)


@pytest.mark.parametrize(
    ("messages", "moved"),
    [
        ([chunk(b"abc"), GONE], (3, "gone")),
        ([chunk(b"abc")], (3, "idle")),
        ([GONE], (0, "gone")),
        ([chunk(b"", more=False)], (0, "complete")),
    ],
)
def test_reported_bytes_are_stored_however_the_body_ends(
    store: UploadStore, messages: list[Message], moved: tuple[int, str]
) -> None:
    """However a body ends, what it reported is there, and nothing else."""
    made(store, ID, b"12345")
    assert _append(store, 5, messages) == (moved, b"abc"[: moved[0]])
    assert content(store, ID) == b"12345abc"[: 5 + moved[0]]


def test_modified_is_the_time_of_the_last_byte(store: UploadStore) -> None:
    """`modified` is when the last byte came, and no other time: not that of a look at the bytes."""
    before = datetime.fromtimestamp(time.time() - 1, UTC)  # file systems count coarsely
    made(store, ID, b"abc")
    came = store.modified(ID)
    assert came is not None
    assert before <= came <= datetime.fromtimestamp(time.time() + 1, UTC)
    content(store, ID)
    assert store.modified(ID) == came
    append(store, 3, whole([b"d"]))
    again = store.modified(ID)
    assert again is not None
    assert again >= came
    store.finish(ID)
    assert store.modified(ID) == again


def test_modified_is_the_time_of_the_file(local_store: UploadStore) -> None:
    """Where bytes are in files, `modified` is what the file system says, also of another time."""
    made(local_store, ID, b"abc")
    os.utime(local_store.local_path(ID), (0, 0))
    content(local_store, ID)
    local_store.finish(ID)
    assert local_store.modified(ID) == datetime(1970, 1, 1, tzinfo=UTC)
    append(local_store, 3, whole([b"d"]))
    again = local_store.modified(ID)
    assert again is not None
    assert again >= datetime.fromtimestamp(time.time() - 10, UTC)


def test_uploads_do_not_affect_each_other(store: UploadStore) -> None:
    """Two uploads do not touch each other."""
    made(store, ID, b"abc")
    made(store, OTHER, b"12")
    store.truncate(OTHER, 1)
    assert (content(store, ID), content(store, OTHER)) == (b"abc", b"1")
    store.delete(OTHER)
    assert content(store, ID) == b"abc"


def test_an_unknown_upload_is_never_created_by_accident(store: UploadStore) -> None:
    """An upload that the store does not have is never made by accident."""
    with pytest.raises(FileNotFoundError):
        append(store, 0, whole([b"abc"]))
    for call in (
        lambda: store.head(ID, 1),
        lambda: store.finish(ID),
        lambda: store.truncate(ID, 0),
        lambda: store.show(ID, 0, print),
    ):
        with pytest.raises(FileNotFoundError):
            call()
    assert store.size(ID) is None
    assert not store.local_path(ID).exists()


def test_a_path_never_shows_another_uploads_bytes(store: UploadStore) -> None:
    """Who has a path, or has it open, never reads another upload's bytes by it; a child process may read it too."""
    made(store, ID, b"mine")
    path = store.local_path(ID)
    assert subprocess.run(["cat", str(path)], capture_output=True, check=True, timeout=PATIENCE).stdout == b"mine"
    with path.open("rb") as file:
        store.delete(ID)
        for number in range(5):
            made(store, f"{number}{OTHER[1:]}", b"theirs")
        assert file.read() == b"mine"
    assert not path.exists() or path.read_bytes() == b"mine"


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_store_raises_storage_full_and_keeps_its_bytes(
    local_store: UploadStore, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    """A store that takes no more is `StorageFullError`; what it took counts."""
    local_store.create(ID)
    real = os.pwrite

    def full(descriptor: int, view: memoryview, offset: int) -> int:
        if offset >= 4:
            raise OSError(error, os.strerror(error))
        return real(descriptor, view[:4], offset)

    with monkeypatch.context() as patched:
        patched.setattr("server.transport.body.os.pwrite", full)
        with pytest.raises(StorageFullError):
            append(local_store, 0, whole([b"abcdefgh"]))
    assert content(local_store, ID) == b"abcd"


def test_an_io_error_is_not_reported_as_a_full_store(local_store: UploadStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """EIO stays EIO: to tell a client that the store is full would be a lie."""
    local_store.create(ID)

    def broken(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("server.transport.body.os.pwrite", broken)
    with pytest.raises(OSError) as caught:
        append(local_store, 0, whole([b"abc"]))
    assert caught.value.errno == errno.EIO


def test_parts_are_joined_in_order_and_repeats_change_nothing(store: UploadStore) -> None:
    """In order; the first part is taken only where that is allowed; a call that is repeated changes nothing."""
    for name, data in (("a1", b"one"), ("b1", b""), ("c1", b"three")):
        made(store, name, data)
    parts = [("a1", 3), ("b1", 0), ("c1", 5), ("a1", 3)]
    for _ in range(2):
        store.concatenate("f1", parts, may_share=False)
        assert content(store, "f1") == b"onethreeone"
    assert content(store, "a1") == b"one"
    for _ in range(2):
        store.concatenate("f2", parts[:3], may_share=True)
        assert content(store, "f2") == b"onethree"
    assert store.size("c1") == 5, "only the first part may be taken whole"
    with pytest.raises(FileNotFoundError):
        store.concatenate("f3", [("c1", 5), ("gone", 3)], may_share=False)


def test_a_join_without_room_goes_on_when_there_is_room(
    local_store: UploadStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is `StorageFullError`, no part has lost a byte, and with room it goes on."""
    made(local_store, "a1", b"one")
    made(local_store, "c1", b"three")
    parts = [("a1", 3), ("c1", 5)]

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        patched.setattr(os, "copy_file_range", full)
        with pytest.raises(StorageFullError):
            local_store.concatenate("f1", parts, may_share=False)
    assert (content(local_store, "a1"), content(local_store, "c1")) == (b"one", b"three")
    local_store.concatenate("f1", parts, may_share=False)
    assert content(local_store, "f1") == b"onethree"


@pytest.mark.parametrize("there", range(9))
@pytest.mark.parametrize("taken", [False, True])
def test_an_interrupted_join_goes_on_where_it_was(store: UploadStore, there: int, taken: bool) -> None:
    """Called again, it goes on where it was, also when the first part has become the final."""
    data = b"onethree"
    if not taken:
        made(store, "a1", b"one")
    made(store, "c1", b"three")
    made(store, "f1", data[: max(there, 3) if taken else there])
    store.concatenate("f1", [("a1", 3), ("c1", 5)], may_share=True)
    assert content(store, "f1") == data
    assert content(store, "c1") == b"three"


def test_bytes_from_an_offset_are_read_in_bounded_memory(store: UploadStore) -> None:
    """What lies behind an offset is shown in order, and in pieces: memory does not depend on the size."""
    data = os.urandom((1 << 20) + 10)
    made(store, ID, b"")
    append(store, 0, whole([data]), limit=len(data))
    seen: list[bytes] = []
    store.show(ID, 4, lambda view: seen.append(bytes(view)))
    assert b"".join(seen) == data[4:]
    assert max(map(len, seen)) <= 1 << 20


def test_a_store_is_usable_after_its_claim_only(store: UploadStore) -> None:
    """A store that was never used is no place to conclude anything from, and says to the operator what it is."""
    assert not store.is_claimed()
    assert store.unclaimed.endswith(".")
    with pytest.raises(OSError):
        store.check()
    for _ in range(2):
        store.claim()
        assert store.is_claimed()
        store.check()
    assert store.room() > 0


def test_every_store_has_all_capabilities(store: UploadStore) -> None:
    """Each can do everything that a store may be able to do, so tus is offered whole; only a bucket does not show the
    bytes of an unfinished upload."""
    missing = set() if store.is_local else {Capability.READ_BACK}
    assert store.capabilities == set(Capability) - missing
