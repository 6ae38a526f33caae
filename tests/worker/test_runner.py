"""One task at a time, step by step: what fails and comes again, what is given up, and what is never done twice."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from server.bootstrap import Services
from server.database.models import DEFAULT_OWNER, Task, TaskEvent
from server.database.session import Database, changed
from server.database.types import database_time
from server.errors import StepError
from server.lifecycle import FileStatus
from server.pipeline.step import StepContext, TryLaterError
from server.settings import Settings
from server.storage.results import Results
from server.tasks import file_steps, queue
from server.tasks.queue import Failure
from server.uploads.new_upload import NewUpload
from server.worker import attempt as attempt_module
from server.worker.attempt import Attempt
from server.worker.progress import StepProgress
from server.worker.runner import runner_of
from tests.harness.migrated import migrate
from tests.harness.rows import query
from tests.harness.server_process import ROOT
from tests.harness.steps import FakeStep, failing, held
from tests.harness.waiting import PATIENCE, until

Put = Callable[..., None]
ATTEMPTS = 3


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    migrate(database_url)
    return Settings(data_dir=tmp_path / "data", database_url=database_url, task_max_attempts=ATTEMPTS, fsync="never")


@pytest.fixture
def services(settings: Settings) -> Iterator[Services]:
    with Services.open(settings) as opened:
        opened.claim_store()
        yield opened


@pytest.fixture
def put(monkeypatch: pytest.MonkeyPatch) -> Put:
    """The steps of this test, in place of the real ones."""
    return lambda *steps: monkeypatch.setattr(attempt_module, "STEPS", steps)


def registered(services: Services, count: int = 1) -> str:
    """A task of so many files that waits."""
    task_id = services.new_id()
    ids = [services.new_id() for _ in range(count)]
    told: dict[str, Any] = {"protocol": "multipart", "task_id": task_id, "length": 5}
    for upload_id in ids:
        services.repository.insert(NewUpload(id=upload_id, owner=DEFAULT_OWNER, filename="a.mp4", **told))
        services.store.local_path(upload_id).write_bytes(b"12345")
        services.store.finish(upload_id)
    services.repository.complete_verified(dict.fromkeys(ids, "mp4"), task_id)
    return task_id


def attempt(services: Services) -> bool:
    """One attempt at whatever can be claimed; whether there was something."""
    claimed = runner_of(services).claim_next("test/1")
    if claimed:
        runner_of(services).attempt(claimed, "").run()
    return claimed is not None


def end_pauses(services: Services) -> None:
    """All pauses and leases are over."""
    with services.database.write() as session:
        waits = update(Task).where(Task.lease_expires_at.is_not(None))
        changed(session, waits.values(lease_expires_at=database_time(-1)))


def task(services: Services) -> dict[str, Any]:
    """The row of the only task."""
    return query(services.settings.sqlalchemy_url, "SELECT * FROM tasks")[0]


def step(services: Services, name: str) -> dict[str, Any]:
    """The row of a step of the only file."""
    return query(services.settings.sqlalchemy_url, "SELECT * FROM task_steps WHERE name = :name", name=name)[0]


def events(services: Services, *kinds: str) -> list[tuple[str, dict[str, Any]]]:
    """The events of these kinds, in order, and what they say."""
    with services.database.read() as session:
        found = session.scalars(select(TaskEvent).where(TaskEvent.type.in_(kinds)).order_by(TaskEvent.id))
        return [(event.type, event.data or {}) for event in found]


@contextmanager
def running(services: Services) -> Iterator[threading.Thread]:
    """An attempt beside the test; it has ended at the end."""
    thread = threading.Thread(target=attempt, args=(services,))
    thread.start()
    try:
        yield thread
    finally:
        thread.join(PATIENCE)
        assert not thread.is_alive()


@pytest.mark.parametrize("error", [TryLaterError("storage_full"), RuntimeError("a bug of ours")])
def test_what_is_not_the_files_fault_is_tried_again_and_then_given_up(
    services: Services, put: Put, error: Exception
) -> None:
    """The pauses grow, what waits says why, and after three failures the step, its file and the task are an error."""
    code = error.code if isinstance(error, TryLaterError) else "step_interrupted"
    last = error.code if isinstance(error, TryLaterError) else "step_failed"
    first, flaky, never = FakeStep("first"), FakeStep("flaky", failing(*[error] * 9)), FakeStep("never")
    put(first, flaky, never)
    registered(services)
    for failures in (1, 2):
        assert attempt(services)
        row = task(services)
        assert (row["status"], row["waiting_code"], row["worker"], row["eta_seconds"]) == (
            "processing",
            code,
            None,
            None,
        )
        assert (step(services, "flaky")["failures"], step(services, "flaky")["error_code"]) == (failures, code)
        assert not attempt(services), "it has a pause"
        end_pauses(services)
    assert attempt(services)
    assert not attempt(services)
    row = task(services)
    assert (row["status"], row["error_code"], row["waiting_code"], row["lease_expires_at"]) == (
        "error",
        last,
        None,
        None,
    )
    assert [step(services, name)["status"] for name in ("first", "flaky", "never")] == ["completed", "error", "skipped"]
    assert (len(first.calls), len(flaky.calls), len(never.calls)) == (1, 3, 0)
    assert [data["seconds"] for _, data in events(services, "waiting")] == [5, 10]
    assert [kind for kind, _ in events(services, "file_error", "error", "completed")] == ["file_error", "error"]
    assert row["failures"] == 0, "no worker has crashed"
    assert services.results.attempts() == []


def test_the_pauses_have_a_bound(settings: Settings, put: Put) -> None:
    """With many attempts, five minutes is the longest pause."""
    put(FakeStep("flaky", failing(*[TryLaterError("storage_full")] * 99)))
    with Services.open(settings.model_copy(update={"task_max_attempts": 12})) as services:
        services.claim_store()
        registered(services)
        while task(services)["status"] != "error":
            assert attempt(services)
            end_pauses(services)
        told = [data["seconds"] for _, data in events(services, "waiting")]
    assert told == [5, 10, 20, 40, 80, 160, 300, 300, 300, 300, 300]


def test_what_is_away_is_waited_for_as_long_as_it_takes(services: Services, put: Put) -> None:
    """Far more often than failures are forgiven; then it is there, and nothing is left of the waiting."""
    times = 4 * ATTEMPTS
    waiting = FakeStep("scan", failing(*[TryLaterError("storage_full", counts=False)] * times))
    put(waiting, FakeStep("next"))
    registered(services)
    for _ in range(times):
        assert attempt(services)
        assert (task(services)["status"], task(services)["waiting_code"]) == ("processing", "storage_full")
        end_pauses(services)
    assert step(services, "scan")["failures"] == 0
    assert all(1 <= data["seconds"] <= 60 for _, data in events(services, "waiting"))
    assert attempt(services)
    assert (task(services)["status"], task(services)["waiting_code"]) == ("completed", None)
    assert (step(services, "scan")["status"], step(services, "scan")["error_code"]) == ("completed", None)
    assert len(waiting.calls) == times + 1


def test_a_step_that_ended_is_not_run_again_and_later_ones_know_what_it_found(services: Services, put: Put) -> None:
    """The second attempt begins where the first one failed, with the facts of the first."""
    probe = FakeStep("probe", lambda _: {"width": 320, "scan": "clean"})
    flaky = FakeStep("poster", failing(OSError("a disk of ours"), then=lambda _: {"has_poster": True}))
    last = FakeStep("mp4")
    put(probe, flaky, last)
    registered(services)
    assert attempt(services)
    end_pauses(services)
    assert attempt(services)
    assert task(services)["status"] == "completed"
    assert (len(probe.calls), len(flaky.calls), len(last.calls)) == (1, 2, 1)
    assert [(facts["width"], facts["scan"]) for facts in (*flaky.calls, *last.calls)] == [(320, "clean")] * 3
    assert (flaky.calls[1]["has_poster"], last.calls[0]["has_poster"]) == (False, True)


def test_what_the_attempt_before_found_out_about_a_file_still_holds(services: Services, put: Put) -> None:
    """It died between the failure of a step and that of its file: the file fails, and no later step runs."""
    put(scan := FakeStep("scan"), later := FakeStep("probe"))
    registered(services)
    claimed = runner_of(services).claim_next("dead/1")
    assert claimed
    with services.database.write() as session:
        file_id = queue.files_of(session, claimed.task_id)[0].id
        now = services.clock()
        assert file_steps.begin_file(session, claimed, file_id, {"scan": True, "probe": True})
        assert file_steps.begin_step(session, claimed, file_id, "scan", now=now)
        assert file_steps.fail_step(session, claimed, file_id, "scan", Failure("not_playable", {}), now=now)
    end_pauses(services)
    assert attempt(services)
    assert (task(services)["status"], task(services)["error_code"]) == ("error", "not_playable")
    assert (scan.calls, later.calls) == ([], [])


def test_a_virus_stays_one_when_the_scanner_is_switched_off(
    services: Services, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was found, the worker died before it told so of the file, and the next attempt has no scanner: it is infected
    all the same, goes into quarantine, and no step runs."""
    put(scan := FakeStep("scan"), later := FakeStep("probe"))
    registered(services)
    claimed = runner_of(services).claim_next("dead/1")
    assert claimed
    with services.database.write() as session:
        file = queue.files_of(session, claimed.task_id)[0]
        now, upload_id = services.clock(), file.upload_id
        assert file_steps.begin_file(session, claimed, file.id, {"scan": True, "probe": True})
        assert file_steps.begin_step(session, claimed, file.id, "scan", now=now)
        found = Failure(file_steps.INFECTED, {"signature": "Some.Virus"})
        assert file_steps.fail_step(session, claimed, file.id, "scan", found, now=now)
    monkeypatch.setattr(FakeStep, "is_wanted", lambda self, _: self.name != "scan")
    end_pauses(services)
    assert attempt(services)
    assert (task(services)["status"], task(services)["error_code"]) == ("error", "infected")
    assert (scan.calls, later.calls) == ([], [])
    assert query(services.settings.sqlalchemy_url, "SELECT scan FROM task_files") == [{"scan": "infected"}]
    assert not services.store.local_path(upload_id).exists(), "it is in quarantine"


@pytest.mark.parametrize("error", [StepError("poster_failed"), TryLaterError("storage_full")])
def test_a_step_that_is_not_required_leaves_its_file_completed(services: Services, put: Put, error: Exception) -> None:
    """By the file's fault at once, by ours after three tries: only its own result is missing, and its row says why."""
    put(FakeStep("poster", failing(*[error] * 9), is_required=False), last := FakeStep("mp4"))
    registered(services)
    while task(services)["status"] != "completed":
        assert attempt(services)
        end_pauses(services)
    assert not task(services)["partial"]
    assert (step(services, "poster")["status"], step(services, "poster")["error_code"]) == (
        "error",
        error.code,  # type: ignore[attr-defined]
    )
    assert len(last.calls) == 1
    assert len(events(services, "waiting")) == (0 if isinstance(error, StepError) else ATTEMPTS - 1)


def test_playable_is_told_while_the_rest_is_made(services: Services, put: Put) -> None:
    """The MP4 is there, the next step lasts: the task says `playable`, and which step runs."""
    gate = threading.Event()
    put(FakeStep("mp4", lambda _: {"has_mp4": True, "playable": True}), FakeStep("hls", held(gate)))
    registered(services)
    with running(services):
        until(lambda: task(services)["step"] == "hls", seconds=20, what="the slow step runs")
        row = task(services)
        assert (row["status"], bool(row["playable"])) == ("processing", True)
        gate.set()
    assert (task(services)["status"], bool(task(services)["playable"])) == ("completed", True)


def test_progress_and_time_left_are_told_while_a_step_runs(services: Services, put: Put) -> None:
    """The percent that a step reports is in its row, its file's and the task's, and the seconds that are left."""
    gate = threading.Event()

    def half(context: StepContext) -> dict[str, object]:
        context.report(50)
        return dict(held(gate)(context))

    put(FakeStep("probe"), FakeStep("mp4", half, weight=9))
    registered(services)
    with running(services):
        until(lambda: task(services)["eta_seconds"] is not None, seconds=20, what="the time left is told")
        assert 0 < task(services)["eta_seconds"] < 30
        assert (task(services)["progress"], step(services, "mp4")["progress"]) == (55, 50)
        gate.set()
    assert (task(services)["progress"], task(services)["eta_seconds"]) == (100, None)


@pytest.mark.parametrize(
    ("seconds", "begun_at", "percent", "expected"),
    [(10, 0, 50, 10), (10, 40, 50, 50), (1, 0, 50, None), (10, 40, 41, None), (10, 0, 99, 0)],
)
def test_the_time_left_is_that_of_this_attempt(
    seconds: float, begun_at: int, percent: int, expected: int | None
) -> None:
    """At its own speed, not that of the attempt before; nothing is told while there is too little to go by."""
    progress = StepProgress(1, begun=(time.monotonic() - seconds, begun_at))
    progress.share({"mp4": 1}, ended=set()).report("mp4", percent)
    assert progress.eta_seconds == expected


POISON = """
import os, sys
from sqlalchemy import text
from server.errors import StepError
from server.pipeline.step import TryLaterError
from server.bootstrap import Services
from server.settings import Settings
from server.worker import attempt as attempt_module
from server.worker.runner import runner_of
from tests.harness.steps import FakeStep, failing

def die(context):
    if context.output.parent.name.endswith(".1"):
        raise TryLaterError("storage_full")
    (context.output / "half").write_bytes(b"x")
    os.kill(os.getpid(), 9)

for _ in range(int(sys.argv[3])):
    child = os.fork()
    if not child:
        attempt_module.STEPS = (FakeStep("first"), FakeStep("poison", die))
        services = Services.open(Settings(data_dir=sys.argv[1], database_url=sys.argv[2], task_max_attempts=3))
        with services.database.change() as connection:
            connection.execute(text("UPDATE tasks SET lease_expires_at = '2000-01-01 00:00:00.000000' "
                                    "WHERE lease_expires_at IS NOT NULL"))
        claimed = runner_of(services).claim_next(f"{services.node}/{os.getpid()}")
        runner_of(services).attempt(claimed, "").run()
        os._exit(0)
    print("ended with", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def test_a_task_that_kills_its_workers_is_parked_with_the_last_error(
    settings: Settings, services: Services, put: Put
) -> None:
    """One attempt fails, three die by -9 in the step: then nobody tries again, and the step says what it said last."""
    put()
    registered(services)
    arguments = [sys.executable, "-c", POISON, str(settings.data_dir), settings.sqlalchemy_url, str(1 + ATTEMPTS)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(arguments, check=False, capture_output=True, text=True, env=environment, timeout=PATIENCE)
    codes = [line.split()[-1] for line in done.stdout.splitlines() if line.startswith("ended with")]
    assert codes == ["0", "-9", "-9", "-9"], done.stderr
    assert (task(services)["status"], task(services)["failures"]) == ("processing", ATTEMPTS - 1)
    end_pauses(services)
    assert not attempt(services)
    row = task(services)
    assert (row["status"], row["error_code"], row["failures"]) == ("error", "too_many_attempts", ATTEMPTS)
    assert (row["worker"], row["lease_expires_at"]) == (None, None)
    assert (step(services, "poison")["status"], step(services, "poison")["error_code"]) == ("error", "storage_full")
    assert step(services, "first")["status"] == "completed"


def test_a_file_that_kills_its_workers_spares_the_others(services: Services, put: Put) -> None:
    """The first of three ended, the second is given up after its attempts, and the third has as many of its own."""
    put(one := FakeStep("probe"))
    registered(services, 3)
    for _ in range(ATTEMPTS):
        crash(services, 2)
    for _ in range(ATTEMPTS - 1):
        crash(services, 3)
    assert statuses(services) == ["completed", "error", "processing"]
    assert attempt(services)
    assert statuses(services) == ["completed", "error", "completed"]
    row = task(services)
    assert (row["status"], bool(row["partial"]), row["worker"]) == ("completed", True, None)
    assert len(one.calls) == 1
    kinds = [kind for kind, _ in events(services, "file_error", "file_completed", "completed", "error")]
    assert kinds == ["file_completed", "file_error", "file_completed", "completed"]


def crash(services: Services, at: int) -> None:
    """A worker that dies at this file of its task; those before it are completed."""
    claimed = runner_of(services).claim_next("dead/1")
    assert claimed
    with services.database.write() as session:
        found, now = queue.files_of(session, claimed.task_id), services.clock()
        for file in found[: at - 1]:
            if file.status is FileStatus.WAITING:
                assert file_steps.begin_file(session, claimed, file.id, {"probe": True})
                assert file_steps.complete_file(session, claimed, file.id, now=now)
        assert file_steps.begin_file(session, claimed, found[at - 1].id, {"probe": True})
        assert file_steps.begin_step(session, claimed, found[at - 1].id, "probe", now=now)
    end_pauses(services)


def statuses(services: Services) -> list[str]:
    """Those of the files of the only task, in order."""
    rows = query(services.settings.sqlalchemy_url, "SELECT status FROM task_files ORDER BY position")
    return [row["status"] for row in rows]


def test_a_task_that_was_set_aside_can_be_cancelled(services: Services, put: Put) -> None:
    """It waits, is cancelled, and is tried no more; its steps are cancelled with it."""
    put(FakeStep("scan", failing(TryLaterError("storage_full"))), FakeStep("probe"))
    task_id = registered(services)
    assert attempt(services)
    with services.database.write() as session:
        queue.cancel(session, task_id, DEFAULT_OWNER, now=services.clock())
    end_pauses(services)
    assert not attempt(services)
    row = task(services)
    assert (row["status"], row["waiting_code"], row["lease_expires_at"]) == ("cancelled", None, None)
    assert [step(services, name)["status"] for name in ("scan", "probe")] == ["cancelled"] * 2


class Forgetful:
    """A database whose answer to some commits gets lost: they are committed, and the worker hears of an error."""

    def __init__(self, real: Database) -> None:
        self._real = real
        self.left = 0

    @contextmanager
    def write(self, *, lazy: bool = False) -> Iterator[Session]:
        with self._real.write(lazy=lazy) as session:
            yield session
        if self.left:
            self.left -= 1
            raise OperationalError("COMMIT", {}, Exception("the server closed the connection"))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


@pytest.mark.parametrize("lost", range(6))
def test_a_commit_that_was_not_heard_of_counts_once(
    services: Services, put: Put, monkeypatch: pytest.MonkeyPatch, lost: int
) -> None:
    """Whichever move it was: the attempt goes on, each step has run once, and each event is there once."""
    monkeypatch.setattr(attempt_module, "_RETRY_SECONDS", 0.01)
    forgetful = Forgetful(services.database)
    object.__setattr__(services, "database", forgetful)

    def make(context: StepContext) -> dict[str, object]:
        (context.output / "poster.jpg").write_bytes(b"poster")
        return {"has_poster": True}

    put(one := FakeStep("poster", make))
    task_id = registered(services)
    claimed = runner_of(services).claim_next("test/1")
    assert claimed
    real, moves = Attempt._transact, iter(range(99))

    def transact(self: Attempt, work: Callable[[Session], Any]) -> Any:
        forgetful.left = int(next(moves) == lost)
        return real(self, work)

    monkeypatch.setattr(Attempt, "_transact", transact)
    monkeypatch.setattr(attempt_module, "HEARTBEAT_SECONDS", 60.0)
    runner_of(services).attempt(claimed, "").run()
    assert next(moves) == 6, "every move has had its turn"
    assert (task(services)["status"], task(services)["attempt"], len(one.calls)) == ("completed", 1, 1)
    kinds = [kind for kind, _ in events(services, "processing", "file_completed", "completed", "error")]
    assert kinds == ["processing", "file_completed", "completed"]
    file_id = query(services.settings.sqlalchemy_url, "SELECT id FROM task_files")[0]["id"]
    found = services.results.find(task_id, file_id, "poster.jpg")
    assert found
    assert found.read_bytes() == b"poster"


def test_a_result_that_cannot_be_put_into_its_place_is_tried_again(
    services: Services, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full when a result is published: nothing is told of it, and the step is tried again."""
    real, calls = Results.publish, []

    def publish(*args: Any) -> None:
        calls.append(args)
        if len(calls) == 1:
            raise OSError(28, "No space left on device")
        real(*args)

    monkeypatch.setattr(Results, "publish", publish)
    put(FakeStep("poster", lambda _: {"has_poster": True}))
    registered(services)
    assert attempt(services)
    assert (task(services)["waiting_code"], step(services, "poster")["status"]) == ("disk_full", "processing")
    assert not query(services.settings.sqlalchemy_url, "SELECT has_poster FROM task_files")[0]["has_poster"]
    end_pauses(services)
    assert attempt(services)
    assert (task(services)["status"], len(calls)) == ("completed", 2)


def test_a_task_whose_settings_changed_meanwhile_leaves_no_step_open(
    services: Services, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that waited is not wanted any more, another is gone from the pipeline: both are skipped at the end."""
    hls = FakeStep("hls")
    put(FakeStep("scan", failing(TryLaterError("storage_full"))), hls, FakeStep("gone"))
    registered(services)
    assert attempt(services)
    monkeypatch.setattr(FakeStep, "is_wanted", lambda self, _: self.name != "hls")
    put(FakeStep("scan"), hls)
    end_pauses(services)
    assert attempt(services)
    assert task(services)["status"] == "completed"
    found = [step(services, name)["status"] for name in ("scan", "hls", "gone")]
    assert found == ["completed", "skipped", "skipped"]
