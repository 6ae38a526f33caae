"""The embedded scheduler against real rows, real videos and real child processes."""

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from server.bootstrap import Services
from server.database import session as database_session
from server.database.models import DEFAULT_OWNER, Task
from server.database.session import changed
from server.lifecycle import TaskStatus
from server.settings import Settings
from server.tasks import queue
from server.uploads.new_upload import NewUpload
from server.worker import attempt as attempt_module
from server.worker.scheduler import Scheduler, scheduler_of
from tests.harness.gate import Gate
from tests.harness.migrated import migrate
from tests.harness.rows import query
from tests.harness.waiting import PATIENCE, until, within
from tests.samples import make

pytestmark = pytest.mark.turns(3)  # moments of a scheduler's end


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    migrate(database_url)
    return Settings(
        data_dir=tmp_path / "data",
        database_url=database_url,
        task_lease=3,
        sweep_interval=1,
        transcode="none",
        storyboard="off",
    )


@pytest.fixture
def services(settings: Settings) -> Iterator[Services]:
    with Services.open(settings) as opened:
        opened.claim_store()
        yield opened


@pytest.fixture
def run(services: Services) -> Iterator[Callable[..., Scheduler]]:
    """Start schedulers that end with the test."""
    running: list[Scheduler] = []

    def start(over: Services = services) -> Scheduler:
        scheduler = scheduler_of(over)
        running.append(scheduler)
        scheduler.start()
        return scheduler

    yield start
    for scheduler in running:
        scheduler.stop()
    names = [thread.name for thread in threading.enumerate() if thread.name.startswith(("task", "wake", "heartbeat"))]
    assert not names, "a scheduler that was stopped leaves no thread"


def upload(services: Services, video: Path, media_type: str | None = "mp4") -> str:
    """A complete upload, as the tus route would have left it; its task waits."""
    upload_id = services.new_id()
    size = video.stat().st_size
    services.repository.insert(
        NewUpload(
            id=upload_id, owner=DEFAULT_OWNER, protocol="tus", task_id=upload_id, length=size, filename=video.name
        )
    )
    services.store.local_path(upload_id).write_bytes(video.read_bytes())
    services.store.finish(upload_id)
    services.completion.complete_verified({upload_id: media_type}, upload_id)
    return upload_id


def status(services: Services, task_id: str) -> TaskStatus:
    with services.database.read() as session:
        return session.get_one(Task, task_id).status


def ended(services: Services, task_id: str, expected: TaskStatus = TaskStatus.COMPLETED) -> None:
    until(lambda: status(services, task_id) is expected, seconds=30, what=f"task {expected}")


def _has_grown(looks: list[bool], beyond: int) -> bool:
    return len(looks) > beyond


def events(services: Services, task_id: str) -> list[str]:
    sql = "SELECT type FROM task_events WHERE task_id = :id AND upload_id IS NULL ORDER BY id"
    return [row["type"] for row in query(services.settings.sqlalchemy_url, sql, id=task_id)]


@pytest.mark.sampled(1)
@pytest.mark.turns(1)
def test_waiting_and_new_tasks_are_processed(services: Services, run: Callable[..., Scheduler], tmp_path: Path) -> None:
    """One waited before the start, one came by a wake; both get posters, and nothing is left in the making."""
    video = make(tmp_path, "a.mp4")
    before = upload(services, video)
    scheduler = run()
    ended(services, before)
    after = upload(services, video)
    ended(services, after)
    assert scheduler.status() == "running"
    for task_id in (before, after):
        with services.database.read() as session:
            file = queue.files_of(session, task_id)[0]
        assert (file.width, file.height, file.container, file.has_poster) == (320, 240, "mp4", True)
        assert services.results.local_path(task_id, file.id, "poster.jpg")
        assert events(services, task_id) == ["uploaded", "processing", "file_completed", "completed"]
    until(lambda: not services.results.attempts(), seconds=5, what="work folders removed")


@pytest.mark.sampled(1)
def test_anything_accepted_completes_without_steps(
    services: Services, run: Callable[..., Scheduler], tmp_path: Path
) -> None:
    """A file of no known type, which `accept=any` lets in, completes with its facts unknown."""
    other = tmp_path / "paper.pdf"
    other.write_bytes(b"%PDF-1.7 whatever")
    task_id = upload(services, other, media_type=None)
    run()
    ended(services, task_id)
    with services.database.read() as session:
        file = queue.files_of(session, task_id)[0]
    assert (file.duration, file.container, file.has_poster, file.error_code) == (None, None, False, None)


@pytest.mark.sampled(1)
def test_one_of_two_schedulers_leads_and_the_other_takes_over(
    services: Services, settings: Settings, run: Callable[..., Scheduler], tmp_path: Path
) -> None:
    """The second stands by, and its log says so; when the first ends, it leads and works."""
    # Not from standard output: where a log goes is a matter of the whole process, and of tests before this one.
    with capture_logs() as lines, Services.open(settings) as others:
        first = run()
        assert "scheduler_stands_by" not in {line["event"] for line in lines}
        second = scheduler_of(others)
        second.start()
        try:
            assert (first.status(), second.status()) == ("running", "standby")
            assert "scheduler_stands_by" in {line["event"] for line in lines}
            first.stop()
            until(lambda: second.status() == "running", seconds=5, what="the second leads")
            ended(others, upload(others, make(tmp_path, "a.mp4")))
        finally:
            second.stop()


@pytest.mark.sampled(1)
def test_a_lead_that_fails_is_tried_again(
    services: Services, run: Callable[..., Scheduler], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database is away when the lead is taken: nothing of it is half done, and the next try works."""
    real, calls = queue.expire_leases, []

    def orphan(*args: Any, **named: Any) -> int:
        calls.append(args)
        if len(calls) == 1:
            raise OperationalError("UPDATE", {}, Exception("the database is away"))
        return real(*args, **named)

    monkeypatch.setattr(queue, "expire_leases", orphan)
    scheduler = run()
    assert scheduler.status() == "standby"
    ended(services, upload(services, make(tmp_path, "a.mp4")))
    assert (scheduler.status(), len(calls)) == ("running", 2)


@pytest.mark.sampled(1)
def test_a_full_disk_is_no_trouble_of_the_scheduler(
    services: Services, run: Callable[..., Scheduler], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server stays ready on a full disk, and is not ready when its database is away."""
    scheduler, away, looks = run(), sqlite3.OperationalError("no"), []
    until(lambda: scheduler.status() == "running", seconds=5, what="the scheduler leads")

    def look() -> None:
        looks.append(True)
        raise OperationalError("SELECT", {}, away)

    monkeypatch.setattr(scheduler, "_take_tasks", look)
    for code, told in (
        (sqlite3.SQLITE_FULL, "running"),
        (sqlite3.SQLITE_CANTOPEN, "the database cannot be reached"),
        (sqlite3.SQLITE_FULL, "running"),
    ):
        away.sqlite_errorcode = code
        seen = len(looks)
        until(partial(_has_grown, looks, seen + 1), seconds=15, what="it has looked once more, and to its end")
        assert scheduler.status() == told


@pytest.mark.sampled(1)
def test_a_stopped_scheduler_gives_its_task_back(
    settings: Settings, services: Services, gate: Gate, tmp_path: Path
) -> None:
    """Stopped in the middle of a step: no process left, the task claimable at once, and nothing counted as failed."""
    held = settings.model_copy(update={"ffmpeg": str(gate.path)})
    with Services.open(held) as slow:
        task_id = upload(slow, make(tmp_path, "a.mp4"))
        scheduler = scheduler_of(slow)
        scheduler.start()
        until(gate.waiting, seconds=20, what="the step waits at the gate")
        scheduler.stop()
        assert not gate.waiting()
        assert status(slow, task_id) is TaskStatus.PROCESSING
    again = scheduler_of(services)
    again.start()
    try:
        ended(services, task_id)
    finally:
        again.stop()
    row = query(settings.sqlalchemy_url, "SELECT attempt, failures FROM tasks")[0]
    assert (row["attempt"], row["failures"]) == (2, 0)
    assert events(services, task_id).count("completed") == 1


@pytest.mark.sampled(1)
def test_a_scheduler_does_not_take_over_its_own_task(
    settings: Settings, gate: Gate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The lease of a task runs out while its step runs, since no heartbeat came through: nobody has crashed."""
    monkeypatch.setattr(attempt_module, "HEARTBEAT_SECONDS", 600.0)
    with Services.open(settings.model_copy(update={"ffmpeg": str(gate.path), "encode_limit": 2})) as services:
        task_id = upload(services, make(tmp_path, "a.mp4"))
        scheduler = scheduler_of(services)
        scheduler.start()
        try:
            until(gate.waiting, what="the step waits at the gate")
            before = scheduler._looked
            until(lambda: scheduler._looked > before + 2 * settings.task_lease, what="it has looked for two leases")
            gate.open()
            ended(services, task_id)
        finally:
            scheduler.stop()
    assert attempts(settings) == [(1, 0)]


def test_a_locked_database_does_not_count_as_a_crash(
    tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite, held for longer than a lease: the step is stopped, and afterwards the task goes on with no failure."""
    monkeypatch.setattr(database_session, "_BUSY_SECONDS", 0.2)
    settings = Settings(data_dir=tmp_path / "data", task_lease=3, ffmpeg=str(gate.path), transcode="none")
    settings.data_dir.mkdir()
    migrate(settings.sqlalchemy_url)
    with Services.open(settings) as services:
        services.claim_store()
        task_id = upload(services, make(tmp_path, "a.mp4"))
        scheduler = scheduler_of(services)
        scheduler.start()
        try:
            until(gate.waiting, what="the step waits at the gate")
            with closing(sqlite3.connect(settings.data_dir / "videodock.db", timeout=PATIENCE)) as other:
                other.execute("BEGIN IMMEDIATE")
                until(lambda: not gate.waiting(), what="the step is stopped")
                until(lambda: not scheduler._attempts, what="the attempt has ended")
            gate.open()
            ended(services, task_id)
        finally:
            scheduler.stop()
    assert attempts(settings) == [(2, 0)]


def attempts(settings: Settings) -> list[tuple[int, int]]:
    """How often each task was begun, and how often its worker is said to have crashed."""
    rows = query(settings.sqlalchemy_url, "SELECT attempt, failures FROM tasks")
    return [(row["attempt"], row["failures"]) for row in rows]


@pytest.mark.sampled(1)
def test_a_task_whose_worker_always_dies_is_given_up(
    services: Services, run: Callable[..., Scheduler], tmp_path: Path
) -> None:
    """After three silent attempts the task is an error that says so, and is tried no more."""
    task_id = upload(services, make(tmp_path, "a.mp4"))
    for _ in range(3):
        with services.database.write() as session:
            assert queue.claim(session, "dead/1", node=services.node, lease=0.0, now=services.clock())
            changed(session, update(Task).values(lease_expires_at=services.clock().replace(year=2000)))
    run()
    ended(services, task_id, TaskStatus.ERROR)
    row = query(services.settings.sqlalchemy_url, "SELECT error_code, failures FROM tasks")[0]
    assert (row["error_code"], row["failures"]) == ("too_many_attempts", 3)


@pytest.mark.sampled(1)
def test_a_cancelled_step_ends_within_two_seconds(settings: Settings, gate: Gate, tmp_path: Path) -> None:
    """Cancelled while FFmpeg runs: its processes are gone within 2 s and nothing of the attempt is left."""
    with Services.open(settings.model_copy(update={"ffmpeg": str(gate.path)})) as services:
        task_id = upload(services, make(tmp_path, "a.mp4"))
        scheduler = scheduler_of(services)
        scheduler.start()
        try:
            until(gate.waiting, seconds=20, what="the step waits at the gate")
            with services.database.write() as session:
                queue.cancel(session, task_id, DEFAULT_OWNER, now=services.clock())
            within(lambda: not gate.waiting(), seconds=2, what="the step's processes are gone")
            within(lambda: not services.results.attempts(), seconds=2, what="the partial output is gone")
            assert status(services, task_id) is TaskStatus.CANCELLED
        finally:
            scheduler.stop()


@pytest.mark.sampled(1)
def test_a_dead_leader_is_replaced_at_once(settings: Settings, services: Services, tmp_path: Path) -> None:
    """Whoever claimed a task is killed with -9: the next scheduler takes it over without waiting for the lease."""
    long = settings.model_copy(update={"task_lease": 3600.0})
    task_id = upload(services, make(tmp_path, "a.mp4"))
    code = (
        "import os, sys\n"
        "from server.bootstrap import Services\nfrom server.settings import Settings\n"
        "from server.worker.runner import runner_of\n"
        "s = Services.open(Settings(data_dir=sys.argv[1], database_url=sys.argv[2], task_lease=3600))\n"
        "assert runner_of(s).claim_next(f'{s.node}/{os.getpid()}')\n"
        "os.kill(os.getpid(), 9)\n"
    )
    arguments = [sys.executable, "-c", code, str(settings.data_dir), settings.sqlalchemy_url]
    done = subprocess.run(arguments, check=False, capture_output=True, env={**os.environ, "PYTHONPATH": "."})
    assert done.returncode == -9, done.stderr
    assert status(services, task_id) is TaskStatus.PROCESSING
    with Services.open(long) as opened:
        scheduler = scheduler_of(opened)
        scheduler.start()
        try:
            ended(opened, task_id)
        finally:
            scheduler.stop()
    assert events(services, task_id).count("completed") == 1
