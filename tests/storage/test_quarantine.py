"""Putting an upload aside: it is whole in one place or the other, whatever happens."""

import asyncio
import errno
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.errors import StorageFullError
from server.storage.base import UploadStore
from server.storage.disk import DiskStore
from server.storage.memory import MemoryStore
from tests.harness.object_store import object_store, opened_in  # noqa: F401  # the first is a fixture
from tests.transport.scripted import scripted, whole

ID = "8a6b1c6e-3f0e-4a58-9f57-0d8f1f1f9c11"
OTHER = "8a7c1c6e-3f0e-4a58-9f57-0d8f1f1f9c11"
DATA = bytes(range(256)) * 5000


@pytest.fixture(params=["disk", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[UploadStore]:
    if request.param == "s3":
        yield opened_in(request.getfixturevalue("object_store"), tmp_path)
        return
    made = DiskStore(tmp_path / "uploads") if request.param == "disk" else MemoryStore()
    yield made
    if isinstance(made, MemoryStore):
        made.close()


@pytest.fixture
def far(tmp_path: Path) -> Iterator[DiskStore]:
    """A store whose folder is a disk of its own, so that nothing can be renamed out of it."""
    folder = tmp_path / "uploads"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], check=True)
    try:
        yield DiskStore(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def made(store: UploadStore, upload: str = ID) -> None:
    store.create(upload)

    async def work() -> None:
        body = scripted(whole([DATA]))
        await store.append(upload, 0, body, len(DATA))
        await body.close()

    asyncio.run(work())


def check_aside(store: DiskStore, folder: Path) -> None:
    """It is in the quarantine, alone and whole, and nowhere else."""
    place = folder / "quarantine" / ID
    assert place.read_bytes() == DATA
    assert (place.stat().st_mode & 0o777, place.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert list(place.parent.iterdir()) == [place]
    assert store.size(ID) is None
    assert not store.local_path(ID).exists()


def test_a_quarantined_upload_has_left_the_store(store: UploadStore) -> None:
    """Aside it is out of reach; the others stay; again, and of what is not there, it is nothing."""
    made(store)
    made(store, OTHER)
    for _ in range(2):
        store.quarantine(ID)
        assert store.size(ID) is None
        assert not store.local_path(ID).exists()
    store.quarantine("9a6b1c6e-3f0e-4a58-9f57-0d8f1f1f9c11")
    store.delete(ID)
    assert store.local_path(OTHER).read_bytes() == DATA
    if isinstance(store, MemoryStore):
        assert set(store.quarantined) == {ID}


def test_quarantine_on_the_same_disk_is_a_private_rename(tmp_path: Path) -> None:
    """The file is renamed, not copied, and only its owner may read it."""
    store = DiskStore(tmp_path / "uploads")
    made(store)
    store.local_path(ID).chmod(0o666)
    before = store.local_path(ID).stat().st_ino
    store.quarantine(ID)
    check_aside(store, tmp_path)
    assert (tmp_path / "quarantine" / ID).stat().st_ino == before


def test_quarantine_on_another_disk_copies_and_then_removes(far: DiskStore, tmp_path: Path) -> None:
    """Where it must be copied it arrives whole, and then goes."""
    made(far)
    far.quarantine(ID)
    check_aside(far, tmp_path)


def test_an_interrupted_copy_into_quarantine_is_made_again(far: DiskStore, tmp_path: Path) -> None:
    """Half a copy is thrown away and made again; a whole one whose original is still there too."""
    for name, data in ((f".{ID}", DATA[:1000]), (ID, DATA)):
        made(far)
        (tmp_path / "quarantine").mkdir(exist_ok=True, mode=0o700)
        (tmp_path / "quarantine" / name).write_bytes(data)
        far.quarantine(ID)
        check_aside(far, tmp_path)


def test_a_full_quarantine_leaves_the_upload_in_place(tmp_path: Path) -> None:
    """Full: the error of the contract, the upload stays where it was, and no half of it in the quarantine."""
    folder = tmp_path / "quarantine"
    folder.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs", str(folder)], check=True)
    try:
        store = DiskStore(tmp_path / "uploads")
        made(store)
        with pytest.raises(StorageFullError) as caught:
            store.quarantine(ID)
        assert isinstance(caught.value.__cause__, OSError)
        assert caught.value.__cause__.errno == errno.ENOSPC
        assert list(folder.iterdir()) == []
        assert store.local_path(ID).read_bytes() == DATA
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
