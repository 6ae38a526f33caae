"""Bytes are sent to the disk while more of them come, so that the sync at the end has little left to do."""

import os
import subprocess
import sys
from collections.abc import MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from server.storage import disk, write_back
from server.storage.disk import DiskStore, Fsync
from server.storage.write_back import WINDOW_BYTES, begin_write_back
from server.transport.body import AsgiBody, End, Moved

pytestmark = pytest.mark.anyio

ID = "8a6b1c6e-3f0e-4a58-9f57-0d8f1f1f9c11"
DESCRIPTORS = Path("/proc/self/fd")
PIECE = bytes(1 << 20)


def body_of(count: int) -> AsgiBody:
    """A body of so many bytes."""
    left = count

    async def receive() -> MutableMapping[str, Any]:
        nonlocal left
        piece = PIECE[:left]
        left -= len(piece)
        return {"type": "http.request", "body": piece, "more_body": left > 0}

    return AsgiBody(receive, 5)


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """Which ranges of which files were sent early."""
    found: list[tuple[str, int, int]] = []

    def begin(descriptor: int, offset: int, length: int) -> None:
        found.append(((DESCRIPTORS / str(descriptor)).readlink().name, offset, length))

    monkeypatch.setattr(disk, "begin_write_back", begin)
    return found


async def fill(store: DiskStore, *counts: int) -> None:
    """Append so much in each request."""
    store.create(ID)
    offset = 0
    for count in counts:
        body = body_of(count)
        assert await store.append(ID, offset, body, count) == Moved(count, End.LIMIT)
        await body.close()
        offset += count
    assert store.size(ID) == offset


@pytest.mark.parametrize("fsync", ["complete", "patch"])
async def test_each_full_window_is_written_back_once(
    tmp_path: Path, begun: list[tuple[str, int, int]], fsync: Fsync
) -> None:
    """Whatever the requests are: a window counts from the start of the file, and what is not full waits for the end."""
    half = WINDOW_BYTES // 2
    await fill(DiskStore(tmp_path / "uploads", fsync), half, half - 1, 1, 2 * WINDOW_BYTES + 5, half)
    assert begun == [(ID, at * WINDOW_BYTES, WINDOW_BYTES) for at in range(3)]


async def test_fsync_never_starts_no_write_back(tmp_path: Path, begun: list[tuple[str, int, int]]) -> None:
    """With `never` the system writes when it likes."""
    await fill(DiskStore(tmp_path / "uploads", "never"), WINDOW_BYTES + 1)
    assert begun == []


def opened() -> list[Path]:
    """The files that this process has open; other tests may leave some that are collected at any moment."""
    found = []
    for descriptor in DESCRIPTORS.iterdir():
        with suppress(FileNotFoundError):
            found.append(descriptor.readlink())
    return found


def test_write_back_keeps_no_descriptor_of_the_caller(tmp_path: Path) -> None:
    """It may be closed at once, nothing is left open, and a range that is not there hurts nobody."""
    file = tmp_path / "file"
    for _ in range(100):
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT)
        os.pwrite(descriptor, PIECE, 0)
        begin_write_back(descriptor, 0, len(PIECE))
        begin_write_back(descriptor, 1 << 40, 10)
        os.close(descriptor)
    write_back.wait()
    assert file not in opened()


def test_the_kernel_is_asked_to_begin_and_not_to_wait(tmp_path: Path) -> None:
    """The kernel is asked for exactly that range, to begin and not to wait."""
    script = (
        "import os; from server.storage import write_back; "
        f"d = os.open({str(tmp_path / 'file')!r}, os.O_RDWR | os.O_CREAT); os.pwrite(d, bytes(9), 5000000000); "
        "write_back.begin_write_back(d, 4999999999, 8); write_back.wait()"
    )
    done = subprocess.run(
        ["strace", "-f", "-y", "-e", "trace=sync_file_range", sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "/file>, 4999999999, 8, SYNC_FILE_RANGE_WRITE) = 0" in done.stderr, done.stderr
