"""A worker that dies, or whose commit is not acknowledged: what it has done counts once, and attempts are bounded."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from server.bootstrap import Services
from server.database.session import Database
from server.lifecycle import FileStatus
from server.pipeline.step import StepContext
from server.settings import Settings
from server.tasks import file_steps, queue
from server.tasks.queue import Failure
from server.worker import attempt as attempt_module
from server.worker import claimed_writes
from server.worker.claimed_writes import ClaimedWrites
from server.worker.runner import runner_of
from tests.harness.rows import query
from tests.harness.server_process import ROOT
from tests.harness.steps import FakeStep
from tests.harness.waiting import PATIENCE
from tests.worker.attempts import (
    ATTEMPTS,
    SetSteps,
    end_pauses,
    events,
    register_task,
    run_attempt,
    statuses,
    step,
    task,
)


def test_a_failure_that_an_earlier_attempt_recorded_still_holds(services: Services, set_steps: SetSteps) -> None:
    """It died between the failure of a step and that of its file: the file fails, and no later step runs."""
    set_steps(scan := FakeStep("scan"), later := FakeStep("probe"))
    register_task(services)
    claimed = runner_of(services).claim_next("dead/1")
    assert claimed
    with services.database.write() as session:
        file_id = queue.files_of(session, claimed.task_id)[0].id
        now = services.clock()
        assert file_steps.begin_file(session, claimed, file_id, {"scan": True, "probe": True})
        assert file_steps.begin_step(session, claimed, file_id, "scan", now=now)
        assert file_steps.fail_step(session, claimed, file_id, "scan", Failure("not_playable", {}), now=now)
    end_pauses(services)
    assert run_attempt(services)
    assert (task(services)["status"], task(services)["error_code"]) == ("error", "not_playable")
    assert (scan.calls, later.calls) == ([], [])


def test_a_found_virus_counts_after_the_scanner_is_switched_off(
    services: Services, set_steps: SetSteps, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was found, the worker died before it told so of the file, and the next attempt has no scanner: it is infected
    all the same, goes into quarantine, and no step runs."""
    set_steps(scan := FakeStep("scan"), later := FakeStep("probe"))
    register_task(services)
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
    assert run_attempt(services)
    assert (task(services)["status"], task(services)["error_code"]) == ("error", "infected")
    assert (scan.calls, later.calls) == ([], [])
    assert query(services.settings.sqlalchemy_url, "SELECT scan FROM task_files") == [{"scan": "infected"}]
    assert not services.store.local_path(upload_id).exists(), "it is in quarantine"


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


@pytest.mark.sampled(1)
def test_a_task_that_kills_its_workers_is_given_up_with_the_last_error(
    settings: Settings, services: Services, set_steps: SetSteps
) -> None:
    """One attempt fails, three die by -9 in the step: then no worker claims it, and the step keeps its last error."""
    set_steps()
    register_task(services)
    arguments = [sys.executable, "-c", POISON, str(settings.data_dir), settings.sqlalchemy_url, str(1 + ATTEMPTS)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(arguments, check=False, capture_output=True, text=True, env=environment, timeout=PATIENCE)
    codes = [line.split()[-1] for line in done.stdout.splitlines() if line.startswith("ended with")]
    assert codes == ["0", "-9", "-9", "-9"], done.stderr
    assert (task(services)["status"], task(services)["failures"]) == ("processing", ATTEMPTS - 1)
    end_pauses(services)
    assert not run_attempt(services)
    row = task(services)
    assert (row["status"], row["error_code"], row["failures"]) == ("error", "too_many_attempts", ATTEMPTS)
    assert (row["worker"], row["lease_expires_at"]) == (None, None)
    assert (step(services, "poison")["status"], step(services, "poison")["error_code"]) == ("error", "storage_full")
    assert step(services, "first")["status"] == "completed"


def test_a_file_that_kills_its_workers_spares_the_others(services: Services, set_steps: SetSteps) -> None:
    """The first of three ended, the second is given up after its attempts, and the third has as many of its own."""
    set_steps(one := FakeStep("probe"))
    register_task(services, 3)
    for _ in range(ATTEMPTS):
        crash(services, 2)
    for _ in range(ATTEMPTS - 1):
        crash(services, 3)
    assert statuses(services) == ["completed", "error", "processing"]
    assert run_attempt(services)
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


class LostAcknowledgements:
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
def test_a_commit_without_an_acknowledgement_counts_once(
    services: Services, set_steps: SetSteps, monkeypatch: pytest.MonkeyPatch, lost: int
) -> None:
    """Whichever move it was: the attempt goes on, each step has run once, and each event is there once."""
    monkeypatch.setattr(claimed_writes, "_RETRY_SECONDS", 0.01)
    database = LostAcknowledgements(services.database)
    object.__setattr__(services, "database", database)

    def make(context: StepContext) -> dict[str, object]:
        (context.output / "poster.jpg").write_bytes(b"poster")
        return {"has_poster": True}

    set_steps(one := FakeStep("poster", make))
    task_id = register_task(services)
    claimed = runner_of(services).claim_next("test/1")
    assert claimed
    real, moves = ClaimedWrites.transact, iter(range(99))

    def transact(self: ClaimedWrites, work: Callable[[Session], Any]) -> Any:
        database.left = int(next(moves) == lost)
        return real(self, work)

    monkeypatch.setattr(ClaimedWrites, "transact", transact)
    monkeypatch.setattr(attempt_module, "HEARTBEAT_SECONDS", 60.0)
    runner_of(services).attempt(claimed, "").run()
    assert next(moves) == 6, "every move has had its turn"
    assert (task(services)["status"], task(services)["attempt"], len(one.calls)) == ("completed", 1, 1)
    kinds = [kind for kind, _ in events(services, "processing", "file_completed", "completed", "error")]
    assert kinds == ["processing", "file_completed", "completed"]
    file_id = query(services.settings.sqlalchemy_url, "SELECT id FROM task_files")[0]["id"]
    found = services.results.local_path(task_id, file_id, "poster.jpg")
    assert found
    assert found.read_bytes() == b"poster"
