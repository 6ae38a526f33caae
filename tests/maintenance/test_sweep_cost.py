"""A sweep costs what is due, and not what is open: judged at 100,000 open uploads."""

import os
import re
import sqlite3
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from server.bootstrap import Services
from server.errors import StorageFullError
from server.maintenance.sweep_report import SweepReport
from server.settings import Settings
from server.storage.disk import DiskStore
from server.storage.file_locks import FileLocks
from server.uploads.completion import UploadCompletion
from server.uploads.new_upload import NewUpload
from server.uploads.repository import UploadRepository
from server.worker.scheduler import scheduler_of
from tests.harness.http import LiveServer
from tests.harness.migrated import migrate
from tests.tus.client import PAST, create, patch, video

OPEN = 100_000
WAITING = 1000  # finals among them, each for one part
DATA = video(500)
NOTHING = SweepReport().numbers


class ManyOpenUploads:
    """A data folder with many open uploads, none of them due."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "test.db"
        url = f"sqlite:///{self.path}"
        migrate(url)
        self.services = Services.open(Settings(data_dir=folder / "data", database_url=url, fsync="never"))
        self.services.claim_store()

    def fill(self, count: int) -> None:
        """Rows of open uploads; their files are not made, so that whoever looks for one finds it missing."""
        later = (datetime.now(UTC) + timedelta(days=7)).strftime("%Y-%m-%d %H:%M:%S.%f")
        row = "('{}', 'default', 'open', 'tus', 1000, 100, {}, 1, '{}', ?, ?, ?, 0, 0, 0)"
        columns = "id, owner, status, protocol, length, received, concat, has_bytes, task_id"
        columns += ", created_at, updated_at, expires_at, reserved, in_quarantine, resumed"
        with sqlite3.connect(self.path) as connection:
            ids = [str(uuid.uuid4()) for _ in range(count)]
            for at, upload in enumerate(ids):
                concat = "NULL" if at >= 2 * WAITING else "'partial'" if at % 2 else "'final;x'"
                values = row.format(upload, concat, upload)
                connection.execute(f"INSERT INTO uploads ({columns}) VALUES {values}", (later,) * 3)
            parts = [(ids[at], 1, ids[at + 1]) for at in range(0, min(count, 2 * WAITING), 2)]
            connection.executemany("INSERT INTO upload_parts (final_id, position, part_id) VALUES (?, ?, ?)", parts)

    def put(self, stored: bytes, **row: object) -> str:
        """One upload as a crash has left it."""
        upload = self.services.new_id()
        named = {"protocol": "tus", "task_id": upload, "filename": "clip.mp4"}
        self.services.repository.insert(NewUpload(id=upload, owner="default", length=len(DATA), **named))  # type: ignore[arg-type]
        self.services.store.local_path(upload).write_bytes(stored)
        with sqlite3.connect(self.path) as connection:
            for column, value in row.items():
                connection.execute(f"UPDATE uploads SET {column} = ? WHERE id = ?", (value, upload))
        return upload

    def status(self, upload: str) -> str:
        with sqlite3.connect(self.path) as connection:
            return str(connection.execute("SELECT status FROM uploads WHERE id = ?", (upload,)).fetchone()[0])

    def sweep(self, *, everything: bool = False) -> Mapping[str, int]:
        """One sweep with retention, as the server does; what it did."""
        report = self.services.sweeper.sweep(everything=everything)
        return {name: number for name, number in report.numbers.items() if number}


@pytest.fixture
def crowd(tmp_path: Path) -> Iterator[ManyOpenUploads]:
    made = ManyOpenUploads(tmp_path)
    with made.services:
        yield made


@pytest.fixture
def touched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every upload that was looked at in the store, or whose lock was tried."""
    seen: list[str] = []
    looks = ((DiskStore, "size"), (DiskStore, "modified"), (DiskStore, "state"), (FileLocks, "_try"))
    for owner, name in looks:
        real = getattr(owner, name)

        def look(self: object, upload: str, *more: Any, real: Callable[..., Any] = real) -> Any:
            seen.append(upload)
            return real(self, upload, *more)

        monkeypatch.setattr(owner, name, look)
    return seen


@pytest.mark.parametrize("number", [OPEN // 10, pytest.param(OPEN, marks=pytest.mark.soak)])
def test_a_sweep_with_nothing_due_touches_no_file_and_no_lock(
    crowd: ManyOpenUploads, touched: list[str], number: int
) -> None:
    """Nothing is due: no file and no lock is touched, and each query goes along an index that holds what is due."""
    crowd.fill(number)
    steps, asked = [0], []

    def count() -> int:
        steps[0] += 1
        return 0

    def watch(connection: Any, _: object) -> None:
        connection.set_progress_handler(count, 1000)

    def note(*args: Any) -> None:
        asked.append((args[2], args[3]))

    engine = crowd.services.database.engine
    event.listen(engine, "connect", watch)
    engine.dispose()
    event.listen(engine, "before_cursor_execute", note)
    assert crowd.sweep() == {}
    assert touched == []
    # Finals that wait are asked about their parts, in SQL: 1,000 of them here.
    assert steps[0] < 100 + WAITING // 5, f"{steps[0]}000 instructions of SQLite"
    with sqlite3.connect(crowd.path) as connection:
        for sql, parameters in asked:
            if not sql.startswith("SELECT"):
                continue
            plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", parameters)]
            assert [step for step in plan if " uploads " in step and not _OF_DUE.search(step)] == [], (sql, plan)


# Indexes that hold nothing but what a sweep looks for, or are read for that part only.
_OF_DUE = re.compile(
    r"INDEX ix_uploads_(due|finals|leaving|in_quarantine) |"
    r"INDEX ix_uploads_parts \(concat=\? AND status=\? AND expires_at<\?\)|"
    r"INDEX ix_uploads_status_expires_at \(status=\? AND expires_at<\?\)|"
    r"INDEX \w+ \(id=\?\)"
)


def test_a_full_sweep_locks_only_uploads_whose_row_is_wrong(crowd: ManyOpenUploads, touched: list[str]) -> None:
    """The first sweep of a process looks at each size, and at nothing else of an upload whose row is right."""
    right = [crowd.put(DATA[:100], received=100) for _ in range(20)]
    lags = crowd.put(DATA[:200], received=100)
    touched.clear()
    assert crowd.sweep(everything=True) == {}
    assert {upload: touched.count(upload) for upload in right} == dict.fromkeys(right, 1)
    assert touched.count(lags) > 1
    with sqlite3.connect(crowd.path) as connection:
        assert connection.execute("SELECT received FROM uploads WHERE id = ?", (lags,)).fetchone() == (200,)


DUE: dict[str, tuple[bytes, dict[str, object], str]] = {
    "whole, and its row says so": (DATA, {"received": len(DATA)}, "complete"),
    "expired": (b"", {"expires_at": PAST}, "expired"),
    "unchecked": (DATA, {"received": 100, "checked_from": 100}, "open"),
    "of a form": (DATA, {"protocol": "multipart"}, ""),
}


@pytest.mark.parametrize("name", DUE)
def test_due_uploads_are_found_by_their_rows(crowd: ManyOpenUploads, name: str) -> None:
    """By the rows alone, among others that are not due."""
    crowd.fill(50)
    stored, row, status = DUE[name]
    upload = crowd.put(stored, **row)
    if name == "expired":
        os.utime(crowd.services.store.local_path(upload), (0, 0))
    crowd.sweep()
    if status:
        assert crowd.status(upload) == status
    else:
        assert not crowd.services.store.local_path(upload).exists()
    if name == "unchecked":
        assert crowd.services.store.size(upload) == 100


def test_a_sweep_writes_the_later_expiry_of_a_growing_upload(crowd: ManyOpenUploads) -> None:
    """Its row hears when it really expires, so that it is not looked at by each sweep until then."""
    upload = crowd.put(DATA[:100], received=100, expires_at=PAST)
    assert crowd.sweep() == {}
    with sqlite3.connect(crowd.path) as connection:
        (expires_at,) = connection.execute("SELECT expires_at FROM uploads WHERE id = ?", (upload,)).fetchone()
    assert expires_at > datetime.now(UTC).strftime("%Y-%m-%d")


def test_after_a_process_died_a_full_sweep_follows(crowd: ManyOpenUploads) -> None:
    """Bytes of which no row tells are those of a dead process; what it has left in the folder of locks says so."""
    upload = crowd.put(DATA)
    assert crowd.sweep() == {}
    assert crowd.status(upload) == "open"

    os.mkfifo(crowd.services.settings.data_dir / "locks" / f"{uuid.uuid4()}.fifo")
    assert crowd.sweep() == {"leftovers": 1, "finished": 1}
    assert crowd.status(upload) == "complete"


def test_a_new_leader_begins_with_a_full_sweep(crowd: ManyOpenUploads, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first sweep, one after a sweep that failed, and one every six hours look at every open upload."""
    looks: list[bool] = []
    fails = [False]

    def fake_sweep(_: Services, *, everything: bool) -> SweepReport:
        looks.append(everything)
        if fails[0]:
            raise OSError("the store is away")
        return SweepReport()

    monkeypatch.setattr(Services, "sweep", fake_sweep)
    leader = scheduler_of(crowd.services)
    try:
        leader._lead()
        leader._sweep()
        fails[0] = True
        leader._sweep()
        fails[0] = False
        leader._sweep()
        leader._sweep()
        leader._sweeps_all_at -= 7 * 3600
        leader._sweep()
    finally:
        leader.stop()
    assert looks == [True, False, False, True, False, True]


@pytest.mark.parametrize(
    ("of", "failing"), [(UploadCompletion, "_register_complete"), (UploadRepository, "record_offset")]
)
def test_a_row_is_updated_after_the_database_was_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of: type[object], failing: str
) -> None:
    """The database is away when the last byte has come, or a body breaks off: the row hears of it later, and then a
    sweep of what is due ends the upload."""
    away = OperationalError("it is away", {}, Exception())

    def fails(*_: object, **__: object) -> None:
        raise away

    with LiveServer(tmp_path / "data", fsync="never") as live:
        upload = create(live, len(DATA))
        with monkeypatch.context() as patched:
            patched.setattr(of, failing, fails)
            if failing == "_register_complete":
                assert patch(live, upload, 0, DATA).status == 503
            else:
                patched.setattr(DiskStore, "append", _breaking_off)
                assert patch(live, upload, 0, DATA[:100]).status == 507
        received = len(DATA) if failing == "_register_complete" else 60
        live.wait_until_received(upload, received)
        with Services.open(live.settings) as services:
            report = services.sweep(everything=False)
        assert (report.numbers["finished"], live.row(upload)["received"]) == (
            int(failing == "_register_complete"),
            received,
        )


async def _breaking_off(store: DiskStore, upload: str, *_: object) -> None:
    store.local_path(upload).write_bytes(DATA[:60])
    raise StorageFullError
