"""One sweep ends whatever a crash left: no row without its file, no file without its row, one task an upload."""

import contextlib
import errno
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from server.bootstrap import Services
from server.database.session import Database
from server.maintenance.sweep_report import SweepReport
from server.settings import Settings
from server.storage.disk import DiskStore
from server.uploads.new_upload import NewUpload
from tests.harness import seed
from tests.harness.kill_points import NEVER, KilledError, KillPoint, sample
from tests.harness.migrated import migrate
from tests.harness.waiting import PATIENCE
from tests.tus.client import PAST, video

LENGTH = 500
DATA = video(LENGTH)
TEXT = b"text, and no video at all" * 20


@dataclass(frozen=True)
class State:
    """Where a crash may leave an upload, and what must become of it."""

    then: str | None  # the status afterwards; None: the row is gone
    report: Mapping[str, int]
    stored: bytes | None = None  # what the store has before; None: no file
    kept: bool = False  # whether the bytes are still there afterwards
    row: Mapping[str, object] = field(default_factory=dict)
    task: bool = False
    protocol: str = "tus"


EXPIRED = {"expires_at": PAST}
STATES: dict[str, State] = {
    "row without file": State("terminated", {"abandoned": 1}),
    "row without file, expired": State("expired", {"expired": 1}, row=EXPIRED),
    "no bytes yet": State("open", {}, b"", kept=True),
    "some bytes": State("open", {}, DATA[:100], kept=True, row={"received": 100}),
    "some bytes, the row knows of none": State("open", {}, DATA[:100], kept=True),
    "some bytes, expired": State("expired", {"expired": 1}, DATA[:100], row=EXPIRED),
    "all bytes": State("complete", {"finished": 1}, DATA, kept=True, task=True),
    "all bytes, type known": State("complete", {"finished": 1}, DATA, kept=True, row={"media_type": "mp4"}, task=True),
    "all bytes, no video": State("rejected", {}, TEXT),
    "terminated, file there": State("terminated", {"removed": 1}, DATA[:9], row={"status": "terminated"}),
    "terminated, file gone": State("terminated", {"removed": 1}, row={"status": "terminated"}),
    "expired, file there": State("expired", {"removed": 1}, DATA[:9], row={"status": "expired"}),
    "rejected, file there": State("rejected", {"removed": 1}, TEXT[:9], row={"status": "rejected"}),
    "form, file there": State(None, {"abandoned": 1}, DATA, protocol="multipart"),
    "form, no file": State(None, {"abandoned": 1}, protocol="multipart"),
    "form, an empty file": State(None, {"abandoned": 1}, b"", protocol="multipart"),
}


class SweepScenario:
    """Services on a database of their own, and uploads in the states of the table."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.settings = Settings(data_dir=folder, database_url=database_url)
        migrate(database_url)
        self.services = Services.open(self.settings)
        self.services.claim_store()

    def query(self, sql: str, **parameters: object) -> list[dict[str, Any]]:
        """Rows, over the connections that are open already: this is done some thousand times."""
        with self.services.database.read() as session:
            return [dict(row) for row in session.execute(text(sql), parameters).mappings()]

    def execute(self, sql: str, **parameters: object) -> None:
        with self.services.database.write() as session:
            session.execute(text(sql), parameters)

    def put(self, state: State) -> str:
        """An upload in that state; its id."""
        upload = self.services.new_id()
        self.services.repository.insert(
            NewUpload(
                id=upload,
                owner="default",
                protocol=state.protocol,
                task_id=upload if state.protocol == "tus" else self.services.new_id(),
                length=LENGTH if state.protocol == "tus" else None,
                filename="clip.mp4",
            )
        )
        if state.stored is None:
            self.services.store.delete(upload)
        else:
            path = self.services.store.local_path(upload)
            path.write_bytes(state.stored)
            if state.row.get("expires_at") == PAST:
                os.utime(path, (0, 0))  # its last byte is of long ago too
        for column, value in state.row.items():
            self.execute(f"UPDATE uploads SET {column} = :value WHERE id = :id", value=value, id=upload)
        return upload

    def sweep(self) -> SweepReport:
        return self.services.sweeper.sweep()

    def row(self, upload: str) -> dict[str, Any] | None:
        rows = self.query("SELECT * FROM uploads WHERE id = :id", id=upload)
        return rows[0] if rows else None

    def stored(self, upload: str) -> bytes | None:
        path = self.services.store.local_path(upload)
        return path.read_bytes() if path.exists() else None

    def state(self) -> tuple[object, ...]:
        """All rows and all files."""
        tables = ("uploads", "tasks", "task_files", "task_events")
        rows = [self.query(f"SELECT * FROM {table} ORDER BY id") for table in tables]
        return *rows, {path: path.read_bytes() for path in self.files()}

    def files(self) -> list[Path]:
        return sorted(path for path in (self.settings.data_dir / "uploads").rglob("[!.]*") if path.is_file())

    def check(self, upload: str, state: State) -> None:
        """The upload became what the table says."""
        row = self.row(upload)
        assert (row and row["status"]) == state.then
        assert self.stored(upload) == (state.stored if state.kept else None)
        if row is not None:
            assert bool(row["has_bytes"]) == state.kept
        tasks = self.query("SELECT status FROM tasks WHERE id = :id", id=upload)
        files = self.query("SELECT name, size, media_type FROM task_files WHERE upload_id = :id", id=upload)
        events = self.query("SELECT type FROM task_events WHERE task_id = :id AND upload_id IS NULL", id=upload)
        assert tasks == ([{"status": "uploaded"}] if state.task else [])
        assert files == ([{"name": "clip.mp4", "size": LENGTH, "media_type": "mp4"}] if state.task else [])
        assert events == ([{"type": "uploaded"}] if state.task else [])

    def check_whole(self) -> None:
        """No row that promises bytes is without its file, and no file without such a row."""
        rows = self.query("SELECT id FROM uploads WHERE has_bytes")
        assert {path.name for path in self.files()} == {row["id"] for row in rows}
        ended = self.query("SELECT id FROM uploads WHERE has_bytes AND status NOT IN ('open', 'complete')")
        assert ended == []


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory: what commits thousands of times would wait for the disk, and no power is cut here."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as made:
        yield Path(made)


@pytest.fixture
def scenario(memory: Path) -> Iterator[SweepScenario]:
    made = SweepScenario(memory / "data", f"sqlite:///{memory / 'test.db'}")
    with made.services:
        yield made


@pytest.fixture
def both(tmp_path: Path, database_url: str) -> Iterator[SweepScenario]:
    made = SweepScenario(tmp_path / "data", database_url)
    with made.services:
        yield made


def test_one_sweep_ends_every_state_and_a_second_does_nothing(both: SweepScenario) -> None:
    """One sweep over all states at once brings each to its end; a second one finds nothing to do."""
    uploads = {name: both.put(state) for name, state in STATES.items()}
    report = both.sweep()
    for name, upload in uploads.items():
        try:
            both.check(upload, STATES[name])
        except AssertionError as error:
            error.add_note(name)
            raise
    both.check_whole()
    expected = {key: sum(state.report.get(key, 0) for state in STATES.values()) for key in SweepReport().numbers}
    assert report.numbers == expected
    before = both.state()
    assert both.sweep().numbers == SweepReport().numbers
    assert both.state() == before


@pytest.mark.parametrize("name", STATES)
def test_a_sweep_ends_each_state_and_frees_its_lock(scenario: SweepScenario, name: str) -> None:
    """The same one by one, so that a failure has a name; and the lock of the upload is free afterwards."""
    upload = scenario.put(STATES[name])
    report = scenario.sweep()
    scenario.check(upload, STATES[name])
    scenario.check_whole()
    assert {key: value for key, value in report.numbers.items() if value} == STATES[name].report
    assert [path.name for path in (scenario.settings.data_dir / "locks").iterdir()] == [".held"]


def test_a_dry_run_reports_what_the_sweep_does(both: SweepScenario) -> None:
    """Each upload once, though an upload may be due for two reasons; and nothing is changed."""
    for state in STATES.values():
        both.put(state)
    before = both.state()
    planned = both.services.sweeper.sweep(dry_run=True).numbers
    assert both.state() == before
    assert planned == both.sweep().numbers


def test_locked_uploads_are_skipped(scenario: SweepScenario) -> None:
    """Uploads whose lock somebody has (a form's is that of its task) are passed over, at once, and nobody evicted."""
    uploads = [scenario.put(state) for state in STATES.values()]
    before = scenario.state()
    with contextlib.ExitStack() as stack, Services.open(scenario.settings) as others:
        for upload, state in zip(uploads, STATES.values(), strict=True):
            row = scenario.row(upload)
            assert row is not None
            name = upload if state.protocol == "tus" else row["task_id"]
            assert stack.enter_context(others.locks.try_hold(name))
        assert scenario.sweep().numbers == SweepReport().numbers
        assert scenario.state() == before
    scenario.sweep()
    assert scenario.state() != before


def test_complete_uploads_with_a_task_are_kept(both: SweepScenario) -> None:
    """What has its task is nobody's leftover, however old it is, by tus or by form."""
    upload = both.put(STATES["all bytes"])
    both.sweep()
    both.execute("UPDATE uploads SET expires_at = :past", past=PAST)
    form = both.put(STATES["form, file there"])
    row = both.row(form)
    assert row is not None
    both.services.completion.complete_verified({form: "mp4"}, row["task_id"])
    before = both.state()
    assert both.sweep().numbers == SweepReport().numbers
    assert both.state() == before
    assert both.stored(upload) == both.stored(form) == DATA


def test_an_expired_upload_with_all_bytes_is_completed(scenario: SweepScenario) -> None:
    """A crash behind the last byte costs nothing, also when nobody looked until the expiry: it is not unfinished."""
    state = State("complete", {"finished": 1}, DATA, kept=True, row=EXPIRED, task=True)
    upload = scenario.put(state)
    scenario.sweep()
    scenario.check(upload, state)


def test_an_upload_without_its_file_is_reported_and_kept(scenario: SweepScenario) -> None:
    """An upload that had bytes and has no file is reported, and not touched: the store may only be away."""
    upload = scenario.put(State("open", {"missing": 1}, row={"received": 100}))
    before = scenario.state()
    with capture_logs() as logs:
        assert scenario.sweep().numbers["missing"] == 1
    assert scenario.state() == before
    assert [(line["event"], line["upload"]) for line in logs] == [("upload_bytes_missing", upload)]


def test_without_the_upload_folder_the_sweep_fails_and_changes_nothing(scenario: SweepScenario) -> None:
    """Without the folder of uploads nothing is concluded: the sweep fails, and no row changes."""
    for state in STATES.values():
        scenario.put(state)
    before = scenario.state()
    folder = scenario.settings.data_dir / "uploads"
    folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(OSError):
        scenario.sweep()
    folder.with_name("elsewhere").rename(folder)
    assert scenario.state() == before


def test_expired_uploads_are_removed_from_a_full_disk(scenario: SweepScenario, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule 16: just when the disk is full, expired uploads must go."""
    state = STATES["some bytes, expired"]
    upload = scenario.put(state)
    real = os.statvfs

    def full(path: str) -> os.statvfs_result:
        found = list(real(path))
        found[4] = 0  # f_bavail
        return os.statvfs_result(found)

    monkeypatch.setattr("server.storage.disk.os.statvfs", full)
    scenario.sweep()
    scenario.check(upload, state)


def test_an_upload_that_fails_does_not_stop_the_sweep(scenario: SweepScenario, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that cannot be finished keeps its upload open; every other upload is swept all the same."""
    uploads = sorted(scenario.put(STATES["all bytes"]) for _ in range(5))
    broken = uploads[1]
    real = DiskStore.finish

    def finish(store: DiskStore, upload: str) -> None:
        if upload == broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(store, upload)

    with monkeypatch.context() as patched, contextlib.suppress(OSError), capture_logs():
        patched.setattr(DiskStore, "finish", finish)
        scenario.sweep()
    assert [upload for upload in uploads if (scenario.row(upload) or {})["status"] != "complete"] == [broken]
    scenario.sweep()
    for upload in uploads:
        scenario.check(upload, STATES["all bytes"])


def test_two_sweeps_at_once_end_each_upload_once(both: SweepScenario) -> None:
    """Sweeps of two processes over the same uploads: each upload is ended once."""
    uploads = [(both.put(state), state) for _ in range(3) for state in STATES.values()]
    errors: list[BaseException] = []
    with Services.open(both.settings) as others:

        def run(services: Services) -> None:
            try:
                services.sweeper.sweep()
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=run, args=(each,)) for each in (both.services, others)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
    assert errors == []
    # What one passed over while the other had it may be left for the next time.
    both.sweep()
    for upload, state in uploads:
        both.check(upload, state)
    both.check_whole()


@pytest.mark.sampled(1)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("most", [10, pytest.param(NEVER, marks=pytest.mark.soak)], ids=["sample", "all"])
def test_a_sweep_killed_at_any_step_is_completed_by_the_next(
    memory: Path, monkeypatch: pytest.MonkeyPatch, after: bool, most: int
) -> None:
    """A sweep that dies before or behind any of its steps leaves nothing that the next one cannot end."""
    scenario = SweepScenario(memory / "data", f"sqlite:///{memory / 'test.db'}")
    with scenario.services:
        killed, reached = _kill(scenario, monkeypatch, NEVER, after=after)
        assert not killed
        assert reached > 20
        for at in sample(reached, most, seed.dice("sweep", after)):
            killed, _ = _kill(scenario, monkeypatch, at, after=after)
            assert killed == (at <= reached), "the sweep has more steps than were tried"


def _kill(scenario: SweepScenario, monkeypatch: pytest.MonkeyPatch, at: int, *, after: bool) -> tuple[bool, int]:
    """Whether a sweep was killed at this step, and how many it reached; the next leaves everything as it must be."""
    uploads = [(scenario.put(state), state) for state in STATES.values()]
    point = KillPoint(at, after=after)
    with monkeypatch.context() as patched:
        for name in ("delete", "finish", "size", "head"):
            patched.setattr(DiskStore, name, point.step(getattr(DiskStore, name)))
        patched.setattr(Database, "write", point.step(Database.write, after=False))
        killed = False
        try:
            scenario.sweep()
        except KilledError:
            killed = True
    scenario.sweep()
    for upload, state in uploads:
        scenario.check(upload, state)
    scenario.check_whole()
    for table in ("task_events", "task_files", "tasks", "uploads"):
        scenario.execute(f"DELETE FROM {table}")
    for path in scenario.files():
        path.unlink()
    return killed, point.reached


def test_the_expiry_counts_from_the_last_byte_of_the_file(both: SweepScenario) -> None:
    """A body that was cut off by a crash never told its row: the expiry counts from the file's last byte."""
    upload = both.put(STATES["some bytes"])
    both.execute("UPDATE uploads SET expires_at = :past", past=PAST)
    assert both.sweep().numbers == SweepReport().numbers
    assert both.stored(upload) == DATA[:100]
    assert both.services.facts.of(upload, "default").expires_at > both.services.clock()
