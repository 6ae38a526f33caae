"""What the settings keep for a time only goes in that time, and not before; cut anywhere, it ends the same."""

import contextlib
import json
import tempfile
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import event, text, update

from server.bootstrap import Services, new_id
from server.cli import actions
from server.cli.main import main
from server.database.models import Task, Upload
from server.lifecycle import UploadStatus
from server.maintenance.guarded_clock import GuardedClock
from server.maintenance.retention import Retention
from server.maintenance.sweep_report import SweepKind, SweepReport
from server.settings import Settings
from server.storage.disk import DiskStore
from server.storage.results import Results
from tests.harness.installation import DATA, QUICK, Installation
from tests.harness.kill_points import KilledError, KillPoint
from tests.harness.waiting import PATIENCE

DAY = 86400
NEVER: dict[str, Any] = {
    f"{kind}_retention": 0 for kind in ("failed", "original", "result", "quarantine", "event", "row")
}


def each(seconds: int) -> dict[str, Any]:
    """Every retention, of so many seconds."""
    return dict.fromkeys(NEVER, seconds)


TABLES = ("uploads", "upload_parts", "tasks", "task_files", "task_steps", "task_events", "form_answers")


class Ground(Installation):
    """An installation in which everything was kept that can be kept."""

    def fill(self, ago: float) -> dict[str, str]:
        """Tasks of every end, so many seconds ago; their ids, by what they are."""
        made = {
            "completed": self.task("completed", ago, has_poster=True),
            "partial": self.partial(ago),
            "error": self.task("error", ago, has_poster=True),
            "cancelled": self.task("cancelled", ago, has_poster=True),
            "infected": self.task("error", ago, scan="infected"),
        }
        self.services.deletion.quarantine(made["infected"])
        made["open"] = self.open(DATA[:10])
        self.execute("UPDATE uploads SET received = 10 WHERE id = :id", id=made["open"])
        made["waiting"] = self.complete()
        return made

    def task(self, status: str, ago: float, **values: object) -> str:
        """A task of one file that ended so."""
        task = self.ended(status, **values)  # type: ignore[arg-type]
        self.end(task, status, ago)
        if values.get("has_poster"):
            self.result(task)
        return task

    def partial(self, ago: float) -> str:
        """A task of two files, the first of which failed. Both have results."""
        task, uploads = new_id(), [self.open(DATA, protocol="multipart", length=None) for _ in range(2)]
        for upload in uploads:
            self.execute("UPDATE uploads SET task_id = :task WHERE id = :id", task=task, id=upload)
        self.services.repository.complete_verified(dict.fromkeys(uploads, "mp4"), task)
        self.end(task, "completed", ago)
        files = [row["id"] for row in self.query("SELECT id FROM task_files WHERE task_id = :id ORDER BY 1", id=task)]
        self.execute("UPDATE tasks SET partial = true WHERE id = :id", id=task)
        for file, status in zip(sorted(files, key=self._position), ("error", "completed"), strict=True):
            self.execute(
                "UPDATE task_files SET status = :status, has_poster = true WHERE id = :id", status=status, id=file
            )
            place = self.settings.data_dir / "results" / task / file / "poster.jpg"
            place.parent.mkdir(parents=True)
            place.write_bytes(b"a picture")
        return task

    def _position(self, file: str) -> int:
        return int(self.query("SELECT position FROM task_files WHERE id = :id", id=file)[0]["position"])

    def with_settings(self, **settings: Any) -> Services:
        """Other services on the same folder and database."""
        place = {"data_dir": self.settings.data_dir, "database_url": self.settings.database_url, **QUICK}
        return Services.open(Settings(**{**place, **NEVER, **settings}))

    def sweep(self, *, dry_run: bool = False, **settings: Any) -> dict[str, int]:
        """One sweep of a process of its own; what is not nothing."""
        return told(self.report(dry_run=dry_run, **settings))

    def report(self, *, dry_run: bool = False, **settings: Any) -> SweepReport:
        with self.with_settings(**settings) as services:
            return services.sweep(dry_run=dry_run)

    def originals(self) -> set[str]:
        """The ids of uploads whose bytes are there; fails when a row says otherwise."""
        there = {path.name for path in (self.settings.data_dir / "uploads").rglob("[!.]*") if path.is_file()}
        assert {row["id"] for row in self.query("SELECT id FROM uploads WHERE has_bytes")} == there
        return there

    def posters(self) -> set[str]:
        """The tasks of which a row tells of results, and results are there."""
        rows = {row["task_id"] for row in self.query("SELECT task_id FROM task_files WHERE has_poster")}
        there = {path.parts[-3] for path in (self.settings.data_dir / "results").rglob("poster.jpg")}
        assert rows == there
        return there

    def aside_ids(self) -> set[str]:
        folder = self.settings.data_dir / "quarantine"
        return {path.name for path in folder.iterdir()} if folder.exists() else set()

    def state(self) -> object:
        """All rows and all files."""
        rows = {table: sorted(map(str, self.query(f"SELECT * FROM {table}"))) for table in TABLES}
        folder = self.settings.data_dir
        return rows, {
            str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
            for path in folder.rglob("*")
            if path.name not in (".held", "videodock.db", "videodock.db-wal", "videodock.db-shm")
        }

    def upload_of(self, task: str, status: str) -> str:
        """The upload of the file of a task that ended so."""
        sql = "SELECT upload_id FROM task_files WHERE task_id = :id AND status = :status"
        return str(self.query(sql, id=task, status=status)[0]["upload_id"])


def told(report: SweepReport) -> dict[str, int]:
    return {name: number for name, number in report.numbers.items() if number}


@pytest.fixture
def ground(tmp_path: Path, database_url: str) -> Iterator[Ground]:
    made = Ground(tmp_path / "data", database_url, **NEVER)
    with made.services:
        yield made


@pytest.fixture
def memory() -> Iterator[Ground]:
    """On SQLite, in memory."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        made = Ground(Path(folder) / "data", "", **NEVER)
        with made.services:
            yield made


def test_never(ground: Ground) -> None:
    """With 0 everything is kept for ever, but for what nobody can see any more: results of cancelled tasks."""
    made = ground.fill(1000 * DAY)
    assert ground.sweep() == {"hidden_results": 1}
    assert ground.originals() >= {made["completed"], made["error"], made["cancelled"], made["open"], made["waiting"]}
    assert ground.posters() == {made["completed"], made["partial"], made["error"]}
    assert ground.aside_ids() == {made["infected"]}
    assert ground.sweep() == {}
    assert ground.services.checker.find_mismatches() == []


def test_each_setting(ground: Ground) -> None:
    """Each takes what it names, older than it says, and nothing else; a second sweep finds nothing to do."""
    old, new = ground.fill(10 * DAY), ground.fill(8 * DAY)
    ground.sweep()  # the results of cancelled tasks
    before = ground.originals()
    week = 9 * DAY

    failed = {old["error"], old["cancelled"], ground.upload_of(old["partial"], "error")}
    assert ground.sweep(failed_retention=week) == {"failed_originals": 3, "hidden_results": 2}
    assert before - ground.originals() == failed
    assert ground.posters() == {old["completed"], old["partial"], new["completed"], new["partial"], new["error"]}

    before = ground.originals()
    completed = {old["completed"], ground.upload_of(old["partial"], "completed")}
    assert ground.sweep(original_retention=week) == {"old_originals": 2}
    assert before - ground.originals() == completed

    assert ground.sweep(result_retention=week) == {"old_results": 2}
    assert ground.posters() == {new["completed"], new["partial"], new["error"]}
    (row,) = ground.query("SELECT has_results, playable FROM tasks WHERE id = :id", id=old["completed"])
    assert (bool(row["has_results"]), bool(row["playable"])) == (False, False)

    assert ground.sweep(quarantine_retention=week) == {"old_quarantine": 1}
    assert ground.aside_ids() == {new["infected"]}

    events = {row["task_id"] for row in ground.query("SELECT task_id FROM task_events")}
    assert ground.sweep(event_retention=week)["old_events"] >= 5
    gone = {old[name] for name in ("completed", "partial", "error", "cancelled", "infected")}
    assert events - {row["task_id"] for row in ground.query("SELECT task_id FROM task_events")} == gone

    assert ground.sweep(row_retention=week) == {"old_tasks": 5}
    left = {row["id"] for row in ground.query("SELECT id FROM tasks")}
    assert left == {task for name, task in new.items() if name != "open"} | {old["waiting"]}
    assert len(ground.query("SELECT id FROM uploads")) == 6 + 2 + 2
    everything = each(week)
    assert ground.sweep(**everything) == {}
    assert ground.services.checker.find_mismatches() == []


def test_rows_wait_for_what_lies_on_the_disk(ground: Ground) -> None:
    """A row goes when its original, results and file in quarantine are gone, and not before."""
    made = ground.fill(10 * DAY)
    assert ground.sweep(row_retention=DAY) == {"hidden_results": 1}
    everything = each(DAY)
    assert "old_tasks" not in ground.sweep(**everything)
    assert ground.sweep(**everything) == {"old_tasks": 5}
    assert {row["id"] for row in ground.query("SELECT id FROM tasks")} == {made["waiting"]}
    assert ground.originals() == {made["waiting"], made["open"]}
    assert not list((ground.settings.data_dir / "results").iterdir())
    assert ground.services.checker.find_mismatches() == []


def test_rows_of_uploads_without_a_task(ground: Ground) -> None:
    """Expired, terminated and refused ones go with the age of their end; a partial one after its final."""
    old = [ground.open(DATA[:10]) for _ in range(3)]
    for upload, status in zip(old, ("EXPIRED", "TERMINATED", "REJECTED"), strict=True):
        ground.services.deletion.remove(upload, UploadStatus[status])
    part, final, young = ground.open(), ground.open(), ground.open()
    for upload in (part, final, young):
        ground.services.deletion.remove(upload, UploadStatus.TERMINATED)
    ground.execute("UPDATE uploads SET concat = 'partial' WHERE id = :id", id=part)
    ground.execute("UPDATE uploads SET concat = 'final;x' WHERE id = :id", id=final)
    ground.execute("INSERT INTO upload_parts (final_id, position, part_id) VALUES (:f, 1, :p)", f=final, p=part)
    ago = datetime.now(UTC) - timedelta(days=2)
    with ground.services.database.write() as session:
        session.execute(update(Upload).where(Upload.id != young).values(updated_at=ago))
    assert ground.sweep(row_retention=DAY) == {"old_uploads": 4}
    assert ground.sweep(row_retention=DAY) == {"old_uploads": 1}
    assert [row["id"] for row in ground.query("SELECT id FROM uploads")] == [young]


def test_another_folder_s_tasks(ground: Ground) -> None:
    """What lies in another data folder is swept there."""
    ground.fill(10 * DAY)
    ground.execute("UPDATE tasks SET node = 'another'")
    before = ground.state()
    assert ground.sweep(**each(DAY)) == {}
    assert ground.state() == before


def test_a_dry_run_tells_and_changes_nothing(ground: Ground) -> None:
    """It says of every kind what the sweep right after it does, in numbers and bytes; nothing changes."""
    ground.fill(10 * DAY)
    ground.fill(2 * DAY)
    expired, unborn, removed = ground.open(DATA[:10]), ground.open(), ground.open(DATA[:7])
    ground.execute("UPDATE uploads SET expires_at = '2020-01-01 00:00:00.000000' WHERE id = :id", id=expired)
    ground.path(unborn).unlink()
    ground.execute("UPDATE uploads SET status = 'terminated' WHERE id = :id", id=removed)
    ground.open(DATA)
    ground.open(DATA, protocol="multipart", length=None)
    (ground.settings.data_dir / "work" / "left.1").mkdir()
    settings: dict[str, Any] = each(5 * DAY) | {"original_retention": DAY}
    with ground.with_settings(**settings):
        before = ground.state()
    reports = [ground.report(dry_run=True, **settings) for _ in range(2)]
    assert ground.state() == before
    done = ground.report(**settings)
    for report in reports:
        assert told(report) == told(done)
        assert report.sizes == done.sizes
    assert done.numbers["failed_originals"]
    assert done.freed > 5 * len(DATA)


STEPS: list[tuple[type, str]] = [
    (DiskStore, "delete"),
    (DiskStore, "delete_from_quarantine"),
    (Results, "hide"),
    (Results, "remove"),
    (Results, "remove_empty"),
]


@pytest.mark.parametrize("after", [False, True], ids=["before", "behind"])
def test_killed_anywhere(memory: Ground, monkeypatch: pytest.MonkeyPatch, after: bool) -> None:
    """A sweep that dies at any step, or within any transaction, leaves nothing that the next ones do not end."""
    with memory.with_settings(**each(DAY)) as services:
        _kill_everywhere(memory, services, monkeypatch, after=after)


def fresh(services: Services, clock: Callable[[], datetime] | None = None) -> Retention:
    """Retention of a process that has just started: it remembers no look."""
    return Retention(
        settings=services.settings,
        database=services.database,
        store=services.store,
        results=services.results,
        deletion=services.deletion,
        node=services.node,
        clock=clock or services.clock,
    )


def _kill_everywhere(memory: Ground, services: Services, monkeypatch: pytest.MonkeyPatch, *, after: bool) -> None:
    def sweep() -> None:
        object.__setattr__(services.sweeper, "retention", fresh(services))
        services.sweep()

    for at in range(1, 300):
        made = memory.fill(10 * DAY)
        with monkeypatch.context() as patched:
            point = KillPoint(at, after=after)
            for owner, name in STEPS:
                patched.setattr(owner, name, point.step(getattr(owner, name)))
            database = type(memory.services.database)
            patched.setattr(database, "write", point.transaction(database.write))
            try:
                sweep()
                killed = False
            except KilledError:
                killed = True
        sweep()
        assert memory.services.checker.find_mismatches() == []
        sweep()
        assert memory.originals() == {made["waiting"], made["open"]}
        assert [row["id"] for row in memory.query("SELECT id FROM tasks")] == [made["waiting"]]
        assert memory.aside_ids() == memory.posters() == set()
        assert not list((memory.settings.data_dir / "results").iterdir())
        if not killed:
            break
        for name in ("waiting", "open"):
            memory.services.store.delete(made[name])
        for table in ("tasks", "uploads"):
            memory.execute(f"DELETE FROM {table}")
    assert not killed
    assert at > 20


def test_two_sweeps_at_once(ground: Ground) -> None:
    """Of two processes: each thing is removed once, and nothing fails."""
    for _ in range(3):
        ground.fill(10 * DAY)
    everything = each(DAY)
    with ground.with_settings(**everything) as one, ground.with_settings(**everything) as other:
        reports: list[SweepReport] = []
        threads = [threading.Thread(target=lambda of=of: reports.append(of.sweep())) for of in (one, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
    assert [report.numbers["failed"] for report in reports] == [0, 0]
    ground.sweep(**everything)
    ground.sweep(**everything)
    assert len(ground.query("SELECT id FROM tasks")) == 3
    assert len(ground.originals()) == 6
    assert ground.services.checker.find_mismatches() == []


def test_a_retry_against_a_sweep(ground: Ground) -> None:
    """Whoever comes first: a task that waits again has its original, and one without cannot be tried again."""
    tasks = [ground.task("error", 10 * DAY, has_poster=True) for _ in range(12)]
    outcomes: dict[str, bool] = {}
    refusals: set[str] = set()

    def retry() -> None:
        for task in reversed(tasks):
            try:
                actions.retry(ground.services, task)
                outcomes[task] = True
            except actions.ActionRefusedError as refused:
                refusals.add(str(refused))
                outcomes[task] = False

    with ground.with_settings(failed_retention=DAY) as services:
        thread = threading.Thread(target=retry)
        thread.start()
        assert services.sweep().numbers["failed"] == 0
        thread.join(PATIENCE)
    assert refusals <= {"The original is gone: clip.mp4."}
    there = ground.originals()
    assert {task for task, waits in outcomes.items() if waits} == there
    waiting = {row["id"] for row in ground.query("SELECT id FROM tasks WHERE status = 'uploaded' AND has_results")}
    assert waiting == there == ground.posters()
    assert ground.services.checker.find_mismatches() == []


def test_an_end_that_came_after_the_look(memory: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that was brought back, and runs, between the look and the removal keeps everything."""
    task = memory.task("error", 10 * DAY, has_poster=True)
    real = Retention._remove_original

    def late(self: Retention, row: Upload, until: datetime) -> bool:
        actions.retry(memory.services, task)
        return real(self, row, until)

    monkeypatch.setattr(Retention, "_remove_original", late)
    assert memory.sweep(failed_retention=DAY) == {}
    assert memory.originals() == memory.posters() == {task}


def test_what_is_held_waits(memory: Ground) -> None:
    """Whoever has an upload, or looks at a task, is not disturbed; the next whole look takes it."""
    made = memory.fill(10 * DAY)
    everything = each(DAY)
    with contextlib.ExitStack() as stack:
        for name in ("completed", "partial", "error", "cancelled", "infected"):
            assert stack.enter_context(memory.services.locks.try_hold(made[name]))
        memory.execute("DELETE FROM task_events")
        before = memory.state()
        assert memory.sweep(**everything) == {}
        assert memory.state() == before
    assert memory.sweep(**everything)["failed_originals"] == 3


def test_a_look_goes_on_where_the_last_one_came_to(memory: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has ended long ago is read by the first look and every six hours, not each minute; batches lose nothing."""
    monkeypatch.setattr("server.maintenance.retention._BATCH", 2)
    monkeypatch.setattr("server.maintenance.retention._ROWS", 1)
    tasks = [memory.task("cancelled", 10 * DAY + at // 2, has_poster=True) for at in range(7)]
    read: list[str] = []
    real = Retention._hidden_results

    def counted(self: Retention, this: Any, until: datetime, batch: Any) -> None:
        read.extend(task.id for task in batch)
        real(self, this, until, batch)

    monkeypatch.setattr(Retention, "_hidden_results", counted)
    with memory.with_settings(failed_retention=20 * DAY) as services:
        assert services.sweep().numbers["hidden_results"] == len(tasks)
        assert sorted(read) == sorted(tasks)
        read.clear()
        young = memory.task("cancelled", 0, has_poster=True)
        assert services.sweep().numbers["hidden_results"] == 1
        assert read == [young]
        clock = [10.0 * 3600]
        monkeypatch.setattr("server.maintenance.retention.time.monotonic", lambda: 1e9 + clock[0])
        read.clear()
        services.sweep()
        assert sorted(read) == sorted([*tasks, young])


def test_a_clock_that_leaps() -> None:
    """An hour ahead of the time that has passed is believed; more is, after a day; backwards always."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    wall, passed = [start], [1000.0]
    steady = GuardedClock(lambda: wall[0], lambda: passed[0])

    def at(days: float, leap: float = 0) -> float:
        """What it says so many days later, in days, when the wall clock is wrong by `leap` days."""
        passed[0] = 1000 + days * DAY
        wall[0] = start + timedelta(days=days + leap)
        return (steady.now() - start) / timedelta(days=1)

    hour = 1 / 24
    assert at(0) == 0
    assert at(30) == 30
    assert at(31, 0.04) == pytest.approx(31.04)
    assert at(32, 400) == pytest.approx(32 + hour)
    assert at(32.5, 400) == pytest.approx(32.5 + hour)
    assert at(33, 0) == 33  # it was set right again
    assert at(34, 400) == pytest.approx(34 + hour)
    assert at(35.1, 400) == pytest.approx(435.1)
    assert at(36, 0) == 36


def test_a_leap_removes_nothing(memory: Ground) -> None:
    """A server whose clock leaps by a year keeps what it would remove in a year."""
    memory.fill(0)
    memory.sweep()
    before = memory.originals()
    now = [datetime.now(UTC)]
    with memory.with_settings(failed_retention=DAY, original_retention=DAY) as services:
        object.__setattr__(services.sweeper, "retention", fresh(services, lambda: now[0]))
        now[0] += timedelta(days=365)
        assert told(services.sweep()) == {}
        assert memory.originals() == before


def _reads_all(line: str, *, is_sqlite: bool) -> bool:
    """Whether a line of a plan says that all rows of a table are read; an index of some rows only is none of that."""
    if not any(table in line for table in ("tasks", "uploads", "task_files")):
        return False
    if not is_sqlite:
        return "Seq Scan" in line
    return ("(id>?)" in line and "autoindex" in line) or (line.startswith("SCAN") and "USING INDEX ix_" not in line)


def test_nothing_is_read_whole(ground: Ground) -> None:
    """Each query of a sweep enters a table with ten thousand rows by an index."""
    ground.execute(
        "INSERT INTO tasks (id, owner, node, status, partial, progress, current_file, file_count, attempt, failures,"
        " created_at, updated_at, finished_at) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE"
        " i < 10000) SELECT 't' || i, 'o', :node, 'completed', false, 100, 1, 1, 1, 0, :at, :at, :at FROM n",
        node=ground.services.node,
        at=(datetime.now(UTC) - timedelta(days=10)).replace(tzinfo=None).isoformat(" "),
    )
    ground.execute(
        "INSERT INTO uploads (id, owner, status, protocol, length, received, has_bytes, task_id, created_at,"
        " updated_at, expires_at) SELECT 'u' || id, 'o', 'complete', 'tus', 10, 10, true, id, created_at, created_at,"
        " created_at FROM tasks"
    )
    ground.execute(
        "INSERT INTO task_files (id, task_id, upload_id, position, name, safe_name, size, status, progress, has_poster)"
        " SELECT 'f' || id, id, 'u' || id, 1, 'n', 'n', 10, 'completed', 100, false FROM tasks"
    )
    ground.execute("ANALYZE")
    seen: list[tuple[str, Any]] = []
    with ground.with_settings(**each(30 * DAY)) as services:
        services.sweep()  # the first look is a whole one
        ground.fill(0)
        engine = services.database.engine

        def remember(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
            if statement.startswith(("SELECT", "DELETE", "UPDATE", "WITH")):
                seen.append((statement, parameters))

        event.listen(engine, "before_cursor_execute", remember)
        services.sweep()
        event.remove(engine, "before_cursor_execute", remember)
        assert len(seen) > 10
        is_sqlite = engine.dialect.name == "sqlite"
        explain = "EXPLAIN QUERY PLAN " if is_sqlite else "EXPLAIN "
        bad = []
        with engine.connect() as connection:
            for statement, parameters in seen:
                plan = [str(row[-1]) for row in connection.exec_driver_sql(explain + statement, parameters)]
                if any(_reads_all(line.strip(), is_sqlite=is_sqlite) for line in plan):
                    bad.append((statement, plan))
        assert not bad, "\n\n".join(f"{statement[-400:]}\n{plan}" for statement, plan in bad)


def test_status_after_results_are_gone(memory: Ground) -> None:
    """The row tells of nothing any more: flags are false, so that no answer has a URL."""
    task = memory.task("completed", 10 * DAY, has_poster=True, playable=True)
    memory.execute("UPDATE tasks SET playable = true")
    assert memory.sweep(result_retention=DAY) == {"old_results": 1}
    (file,) = memory.query("SELECT has_poster, has_mp4, has_hls, has_storyboard, playable FROM task_files")
    assert not any(file.values())
    with memory.services.database.read() as session:
        row = session.get_one(Task, task)
        assert (row.playable, row.has_results, row.status.value) == (False, False, "completed")
        assert session.execute(text("SELECT count(*) FROM task_events")).scalar() == 1


def test_the_command(memory: Ground) -> None:
    """`--dry-run` prints what would go, by settings tried beside it, and `--json` every number with its bytes."""
    memory.task("completed", 10 * DAY, has_poster=True)
    place = ["--data-dir", str(memory.settings.data_dir)]
    before = memory.state()
    nothing = CliRunner().invoke(main, ["sweep", "--dry-run", *place])
    assert (nothing.exit_code, nothing.stdout) == (0, "Nothing would go. Nothing was changed.\n")
    tried = [*place, "--original-retention", str(DAY), "--result-retention", str(DAY)]
    table = CliRunner().invoke(main, ["sweep", "--dry-run", *tried]).stdout
    assert "old originals       1  500 B  other originals (`original_retention`)" in table
    assert table.endswith("\n509 B would be freed. Nothing was changed.\n")
    assert memory.state() == before
    as_json = json.loads(CliRunner().invoke(main, ["sweep", "--dry-run", "--json", *tried]).stdout)
    assert as_json["old_originals"] == {"number": 1, "bytes": 500}
    assert as_json["old_results"] == {"number": 1, "bytes": 9}
    assert set(as_json) == set(SweepKind)
    done = CliRunner().invoke(main, ["sweep", *tried]).stdout.splitlines()
    assert {"old originals: 1", "old results: 1", "failed: 0", "bytes freed: 509"} <= set(done)
    nowhere = CliRunner().invoke(main, ["sweep", "--dry-run", "--data-dir", str(memory.settings.data_dir / "x")])
    assert nowhere.exit_code == 1
    assert not (memory.settings.data_dir / "x").exists()
