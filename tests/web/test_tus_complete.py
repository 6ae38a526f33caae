"""Rules 3, 8 and 11: a finished upload becomes a task exactly once, whatever fails on the way."""

import concurrent.futures
import errno
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from server.storage.disk import DiskStore
from tests.harness.http import Answer, LiveServer, serving
from tests.harness.waiting import until
from tests.tus.client import (
    MOUNT,
    OCTETS,
    VERSION,
    create,
    creation,
    filled,
    head,
    id_of,
    patch,
    patch_request,
    target,
    video,
)

LENGTH = 2000


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def live(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with serving(request, tmp_path_factory.mktemp("live")) as made:
        yield made


def unfinished(live: LiveServer) -> str:
    """An upload as a crash after its last byte leaves it: all bytes are there, and nobody has finished it."""
    upload, data = filled(live, LENGTH, LENGTH - 1)
    live.path(upload).write_bytes(data)
    return upload


def registered(live: LiveServer, upload: str) -> tuple[int, int, int]:
    """How many tasks, files and `uploaded` events an upload has."""
    return (
        len(live.query("SELECT id FROM tasks WHERE id = :id", id=upload)),
        len(live.query("SELECT id FROM task_files WHERE upload_id = :id", id=upload)),
        len(live.query("SELECT id FROM task_events WHERE task_id = :id AND type = 'uploaded'", id=upload)),
    )


def check_complete(live: LiveServer, upload: str) -> None:
    assert registered(live, upload) == (1, 1, 1)
    row = live.row(upload)
    assert (row["status"], row["received"], row["media_type"]) == ("complete", LENGTH, "mp4")
    assert live.stored(upload) == video(LENGTH)
    assert live.locks() == []


@pytest.fixture
def failing_finish(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """The store's finish fails until the returned function is called."""
    real = DiskStore.finish

    def broken(_: DiskStore, __: str) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(DiskStore, "finish", broken)
    return lambda: monkeypatch.setattr(DiskStore, "finish", real)


ASKED: dict[str, Callable[[LiveServer, str], Answer]] = {
    "HEAD": head,
    "replayed last PATCH": lambda live, upload: patch(live, upload, LENGTH, b""),
    "last PATCH again": lambda live, upload: patch(live, upload, LENGTH - 1, b"x"),
    "stale PATCH": lambda live, upload: patch(live, upload, 0, b"x" * LENGTH),
    "PATCH beyond": lambda live, upload: patch(live, upload, LENGTH, b"x"),
}


@pytest.mark.parametrize("asked", ASKED)
def test_no_answer_has_the_full_offset_before_the_upload_is_complete(
    live: LiveServer, failing_finish: Callable[[], None], asked: str
) -> None:
    """Rule 3: while the finish fails, no answer carries Upload-Offset = length; afterwards HEAD ends it, once."""
    upload, data = filled(live, LENGTH, LENGTH - 1)
    answer = patch(live, upload, LENGTH - 1, data[-1:])
    assert answer.status >= 500
    assert "upload-offset" not in answer.headers
    assert "upload-task" not in answer.headers
    assert registered(live, upload) == (0, 0, 0)
    assert live.row(upload)["status"] == "open"

    again = ASKED[asked](live, upload)
    assert again.status >= 400
    assert "upload-offset" not in again.headers
    assert "upload-task" not in again.headers
    assert live.stored(upload) == data

    failing_finish()
    assert head(live, upload).headers["upload-task"] == upload
    check_complete(live, upload)


@pytest.mark.parametrize("asked", ASKED)
def test_a_request_that_finds_all_bytes_completes_the_upload(live: LiveServer, asked: str) -> None:
    """Rules 3 and 11: an answer that says Upload-Offset = length is given for a registered task only."""
    upload = unfinished(live)
    answer = ASKED[asked](live, upload)
    if answer.headers.get("upload-offset") == str(LENGTH):
        check_complete(live, upload)
    else:
        assert "upload-offset" not in answer.headers
        assert asked not in ("HEAD", "replayed last PATCH")
    assert live.stored(upload) == video(LENGTH)


def test_a_creation_that_cannot_complete_is_completed_by_head(
    live: LiveServer, failing_finish: Callable[[], None]
) -> None:
    """Rule 3: the same for a POST; it tells where the upload is, and HEAD there ends it."""
    headers = creation(LENGTH) | {"Content-Type": OCTETS}
    answer = live.ask("POST", MOUNT, headers, video(LENGTH))
    assert (answer.status, answer.code) == (500, "internal_error")
    assert "upload-offset" not in answer.headers
    failing_finish()
    upload = id_of(answer)
    assert head(live, upload).headers["upload-task"] == upload
    check_complete(live, upload)


def test_a_failed_transaction_leaves_the_upload_open(live: LiveServer) -> None:
    """One transaction: where the event cannot be written there is no task, no file and no complete upload."""
    upload, data = filled(live, LENGTH, LENGTH - 1)
    live.execute("ALTER TABLE task_events RENAME TO away")
    answer = patch(live, upload, LENGTH - 1, data[-1:])
    assert answer.status >= 500
    assert "upload-offset" not in answer.headers
    live.execute("ALTER TABLE away RENAME TO task_events")
    assert registered(live, upload) == (0, 0, 0)
    assert live.row(upload)["status"] == "open"
    assert patch(live, upload, LENGTH, b"").headers["upload-task"] == upload
    check_complete(live, upload)


def test_concurrent_requests_complete_an_upload_once(live: LiveServer) -> None:
    """Rule 11: twenty HEADs and replayed PATCHes at the same time: each succeeds, and there is one task."""
    upload = unfinished(live)
    asked = ["HEAD", "replayed last PATCH"] * 10
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda kind: ASKED[kind](live, upload), asked))
    for kind, answer in zip(asked, answers, strict=True):
        assert answer.status == (200 if kind == "HEAD" else 204), answer
        assert answer.headers["upload-offset"] == str(LENGTH)
        assert answer.headers["upload-task"] == upload
    check_complete(live, upload)


def test_twenty_concurrent_last_patches_add_one_byte(live: LiveServer) -> None:
    """Twenty last PATCHes at the same time: one adds the byte; the others were evicted or hear that it is there."""
    upload, data = filled(live, LENGTH, LENGTH - 1)
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: patch(live, upload, LENGTH - 1, data[-1:]), range(20)))
    statuses = Counter(answer.status for answer in answers)
    assert statuses[204] == 1
    assert statuses.keys() <= {204, 409, 423}
    for answer in answers:
        assert answer.headers.get("upload-offset") == (None if answer.status == 423 else str(LENGTH)), answer
    check_complete(live, upload)


def test_an_upload_is_complete_once_after_a_lost_answer(live: LiveServer) -> None:
    """Rule 11: the connection breaks after the last byte; the upload is complete all the same, once."""
    upload, data = filled(live, LENGTH, 10)
    connection = live.connect()
    connection.send(patch_request(upload, 10, data[10:]))
    until(lambda: live.path(upload).stat().st_size == LENGTH, seconds=5, what="all bytes are stored")
    connection.reset()
    assert head(live, upload).headers["upload-task"] == upload
    assert patch(live, upload, LENGTH, b"").status == 204
    check_complete(live, upload)


def test_a_replay_keeps_the_task_as_it_is(live: LiveServer) -> None:
    """Rule 11: a replay long after, when the task has ended, changes nothing."""
    upload, _ = filled(live, LENGTH, LENGTH)
    live.execute("UPDATE tasks SET status = 'completed', progress = 100 WHERE id = :id", id=upload)

    def state() -> object:
        return live.query("SELECT * FROM tasks WHERE id = :id", id=upload), live.row(upload)

    before = state()
    assert patch(live, upload, LENGTH, b"").headers["upload-task"] == upload
    assert head(live, upload).headers["upload-task"] == upload
    assert state() == before
    assert registered(live, upload) == (1, 1, 1)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO])
def test_a_full_disk_is_507_and_keeps_what_fits(live: LiveServer, monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    """A disk that takes no more: 507 (500 when broken) without an offset; what it took is kept, and truthful."""
    upload, data = filled(live, LENGTH, 100)
    real = os.pwrite
    room = 700

    def full(descriptor: int, view: memoryview, offset: int) -> int:
        if offset >= room:
            raise OSError(error, os.strerror(error))
        return real(descriptor, view[: room - offset], offset)

    with monkeypatch.context() as patched:
        # Only writes that long are of a body: locks and FIFOs use the same function.
        patched.setattr(
            "server.transport.body.os.pwrite", lambda d, v, o: full(d, v, o) if len(v) > 100 else real(d, v, o)
        )
        answer = patch(live, upload, 100, data[100:])
    expected = (500, "internal_error") if error == errno.EIO else (507, "storage_full")
    assert (answer.status, answer.code) == expected
    assert "upload-offset" not in answer.headers
    assert head(live, upload).headers["upload-offset"] == str(room)
    live.wait_until_received(upload, room)
    assert live.stored(upload) == data[:room]
    assert patch(live, upload, room, data[room:]).headers["upload-task"] == upload
    check_complete(live, upload)


def test_a_creation_on_a_full_disk_leaves_no_row(live: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that cannot be made leaves no row."""
    before = live.query("SELECT id FROM uploads ORDER BY id"), live.files()
    with monkeypatch.context() as patched:
        patched.setattr("server.storage.disk.os.open", _refusing(os.open, str(live.data_dir / "uploads")))
        answer = live.ask("POST", MOUNT, creation(LENGTH))
    assert (answer.status, answer.code) == (507, "storage_full")
    assert "location" not in answer.headers
    assert (live.query("SELECT id FROM uploads ORDER BY id"), live.files()) == before
    assert live.locks() == []
    create(live, LENGTH)


def _refusing(real: Callable[..., int], folder: str) -> Callable[..., int]:
    def refuse(path: Path, flags: int, *more: int) -> int:
        if str(path).startswith(folder) and flags & os.O_CREAT:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(path, flags, *more)

    return refuse


def test_an_upload_without_its_file_is_410(live: LiveServer) -> None:
    """An upload whose file is gone is 410, never an offset that is not true."""
    upload, data = filled(live, LENGTH, 100)
    live.path(upload).unlink()
    for answer in (
        head(live, upload),
        patch(live, upload, 100, data[100:]),
        live.ask("DELETE", target(upload), VERSION),
    ):
        assert answer.status == 410
        assert "upload-offset" not in answer.headers
    assert live.row(upload)["status"] == "open"
