"""What the disk store owes beyond the contract (`test_contract.py`): to the disk, and to other users of the machine."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.storage.disk import DiskStore

ID = "8a6b1c6e-3f0e-4a58-9f57-0d8f1f1f9c11"
DESCRIPTORS = Path("/proc/self/fd")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DiskStore]:
    opened = len(list(DESCRIPTORS.iterdir()))
    made = DiskStore(tmp_path / "uploads")
    made.claim()
    yield made
    assert len(list(DESCRIPTORS.iterdir())) <= opened, "a descriptor was left open"


def test_files_and_folders_are_private(store: DiskStore) -> None:
    """Files and folders are their owner's only."""
    store.create(ID)
    path = store.local_path(ID)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == path.parent.parent.stat().st_mode & 0o777 == 0o700


def test_finish_syncs_the_file_and_its_folders(store: DiskStore, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_check_reports_free_space_and_a_missing_folder(
    store: DiskStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
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
