"""`tasks retry`: which tasks and files wait again, and which retries are refused, on both databases."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import update

from server.bootstrap import Services
from server.cli import actions
from server.cli.actions import ActionRefusedError
from server.database.models import Task, TaskFile
from server.database.session import changed
from server.errors import StepError
from server.lifecycle import FILE_MOVES, STEP_MOVES, TASK_MOVES, TASK_RETRIES, TaskStatus, ends
from server.tasks import queue
from server.worker.runner import runner_of
from tests.cli.operator import Operator, SetSteps, failed_task, register_task, run_attempt
from tests.harness.steps import FakeStep, failing
from tests.harness.waiting import PATIENCE

CANNOT = "The task cannot be retried:"


@pytest.mark.sampled(1)
def test_a_failed_task_waits_again_as_new(operator: Operator, set_steps: SetSteps) -> None:
    """Back to uploaded, as new: failures 0, steps waiting, one event; a worker takes it, and it completes."""
    services = operator.services
    task_id = failed_task(operator, set_steps, "a.mp4")
    before = operator.json("tasks", "show", task_id)
    assert (before["status"], before["error_code"]) == ("error", "not_playable")
    done = operator.run("tasks", "retry", task_id)
    assert (done.exit_code, done.output) == (0, "Waits again: a.mp4.\n")
    record = operator.json("tasks", "show", task_id)
    expected = {
        "status": "uploaded",
        "progress": 0,
        "failures": 0,
        "error_code": None,
        "finished_at": None,
        "step": None,
    }
    assert expected.items() <= record.items()
    assert (record["attempt"], record["started_at"]) == (before["attempt"], before["started_at"])
    (file,) = record["files"]
    assert {"status": "waiting", "progress": 0, "error_code": None}.items() <= file.items()
    fresh = {"status": "waiting", "progress": 0, "failures": 0, "error_code": None, "finished_at": None}
    assert all(fresh.items() <= step.items() for step in file["steps"])
    assert run_attempt(services)
    assert operator.json("tasks", "show", task_id)["status"] == "completed"
    assert operator.kinds(task_id)[-6:] == [
        "file_error",
        "error",
        "retried",
        "processing",
        "file_completed",
        "completed",
    ]


def test_only_the_failed_files_of_a_partial_task_are_processed_again(operator: Operator, set_steps: SetSteps) -> None:
    """Only what failed is done again: not the other file, and not the failed file's step that had come to its end."""
    services = operator.services
    probe = FakeStep("probe", lambda _: {"playable": True})
    mp4 = FakeStep("mp4", failing(StepError("transcode_failed")))
    poster = FakeStep("poster")
    set_steps(probe, mp4, poster)
    task_id = register_task(services, "bad.mp4", "good.mp4")
    assert run_attempt(services)
    before = operator.json("tasks", "show", task_id)
    assert (before["status"], before["partial"], before["progress"]) == ("completed", True, 100)
    assert (len(probe.calls), len(mp4.calls), len(poster.calls)) == (2, 2, 1)
    assert "Some of its files failed" in operator.run("tasks", "list").output
    assert operator.run("tasks", "retry", task_id).output == "Waits again: bad.mp4.\n"
    record = operator.json("tasks", "show", task_id)
    assert (record["status"], record["partial"], record["progress"]) == ("uploaded", False, 50)
    bad, good = record["files"]
    assert [step["status"] for step in bad["steps"]] == ["completed", "waiting", "waiting"]
    assert good == before["files"][1]
    assert run_attempt(services)
    record = operator.json("tasks", "show", task_id)
    assert (record["status"], record["partial"], record["playable"]) == ("completed", False, True)
    assert (len(probe.calls), len(mp4.calls), len(poster.calls)) == (2, 3, 2)


def test_a_retry_resets_the_count_of_attempts(operator: Operator, set_steps: SetSteps) -> None:
    """Its workers crashed too often; after the retry the count of crashes begins at 0."""
    services = operator.services
    set_steps(FakeStep("probe"))
    task_id = register_task(services, "a.mp4")
    operator.change(update(Task).where(Task.id == task_id).values(failures=2))
    assert runner_of(services).claim_next("test/1") is None
    assert operator.json("tasks", "show", task_id)["error_code"] == "too_many_attempts"
    assert operator.run("tasks", "retry", task_id).exit_code == 0
    assert run_attempt(services)
    assert operator.json("tasks", "show", task_id)["status"] == "completed"


def test_files_without_an_original_stay_failed(operator: Operator, set_steps: SetSteps) -> None:
    """What is gone or infected is named and left; when nothing else is there the retry is refused, changing nothing."""
    services = operator.services
    task_id = failed_task(operator, set_steps, "a.mp4", "b.mp4", "c.mp4")
    files = operator.json("tasks", "show", task_id)["files"]
    services.store.local_path(files[0]["upload_id"]).unlink()
    operator.change(update(TaskFile).where(TaskFile.id == files[1]["id"]).values(scan="infected"))
    done = operator.run("tasks", "retry", task_id)
    assert done.output == "Waits again: c.mp4.\nIts original is gone, so it stays failed: a.mp4, b.mp4.\n"
    assert run_attempt(services)
    record = operator.json("tasks", "show", task_id)
    assert (record["status"], record["partial"], [file["status"] for file in record["files"]]) == (
        "completed",
        True,
        ["error", "error", "completed"],
    )
    assert operator.refused("tasks", "retry", task_id) == (
        4,
        f"{CANNOT} the original is gone: a.mp4, b.mp4.",
    )
    services.deletion.delete_bytes(files[1]["upload_id"])
    operator.change(update(TaskFile).where(TaskFile.id == files[0]["id"]).values(scan="infected"))
    sentence = f"{CANNOT} a virus was found in it, and the original is in quarantine."
    assert operator.refused("tasks", "retry", task_id) == (4, sentence)
    assert operator.json("tasks", "show", task_id)["updated_at"] == record["updated_at"]


def test_a_retry_that_is_refused_changes_nothing(operator: Operator, set_steps: SetSteps) -> None:
    """A task that waits, runs, has nothing failed or belongs elsewhere is left as it is."""
    services = operator.services
    set_steps(FakeStep("probe"))
    task_id = register_task(services, "a.mp4")
    sentence = "The task has not ended (its status is {}); only a task that has ended can be retried."
    assert operator.refused("tasks", "retry", task_id) == (4, sentence.format("uploaded"))
    claimed = runner_of(services).claim_next("test/1")
    assert claimed is not None
    assert operator.refused("tasks", "retry", task_id) == (4, sentence.format("processing"))
    runner_of(services).attempt(claimed, "").run()
    assert operator.refused("tasks", "retry", task_id) == (
        4,
        f"{CANNOT} none of its files has failed or been cancelled.",
    )
    elsewhere = failed_task(operator, set_steps, "a.mp4")
    operator.change(update(Task).where(Task.id == elsewhere).values(node="another"))
    code, sentence = operator.refused("tasks", "retry", elsewhere)
    assert (code, "another data folder" in sentence) == (4, True)
    assert [operator.kinds(one).count("retried") for one in (task_id, elsewhere)] == [0, 0]


@pytest.mark.parametrize("started", [False, True])
def test_a_cancelled_task_is_tried_again(operator: Operator, set_steps: SetSteps, started: bool) -> None:
    """What was cancelled, before or after a worker took it, waits again, and comes to its end."""
    services = operator.services
    set_steps(FakeStep("probe"))
    task_id = register_task(services, "a.mp4")
    claimed = runner_of(services).claim_next("test/1") if started else None
    assert operator.run("tasks", "cancel", task_id).exit_code == 0
    assert operator.json("tasks", "show", task_id)["status"] == "cancelled"
    assert operator.run("tasks", "retry", task_id).output == "Waits again: a.mp4.\n"
    if claimed is not None:
        runner_of(services).attempt(claimed, "").run()  # the worker from before the cancel writes nothing
    record = operator.json("tasks", "show", task_id)
    assert (record["status"], [file["status"] for file in record["files"]]) == ("uploaded", ["waiting"])
    assert run_attempt(services)
    assert operator.json("tasks", "show", task_id)["status"] == "completed"
    assert operator.kinds(task_id).count("retried") == 1


def test_a_worker_from_before_the_retry_writes_nothing(operator: Operator, set_steps: SetSteps) -> None:
    """The claim of the earlier worker matches no row, before and after the task is claimed again."""
    services = operator.services
    set_steps(FakeStep("probe"))
    task_id = register_task(services, "a.mp4")
    slow = runner_of(services).claim_next("test/slow")
    assert slow is not None
    now = services.clock()
    with services.database.write() as session:
        queue.expire_leases(session, "test/slow", now=now)
        changed(session, update(Task).values(failures=2))
    assert runner_of(services).claim_next("test/2") is None  # given up
    actions.retry(services, task_id)
    with services.database.write() as session:
        assert queue.finish(session, slow, now=now) is None
    assert runner_of(services).claim_next("test/3") is not None
    with services.database.write() as session:
        assert not queue.update_claimed(session, slow, {"progress": 77})
    assert operator.json("tasks", "show", task_id)["status"] == "processing"


def test_only_an_operators_retry_leaves_an_end_state() -> None:
    """For workers, clients and sweeps the ends are the ends they were, for tasks, files and steps."""
    assert set(TASK_RETRIES) == set(ends(TASK_MOVES)) - {TaskStatus.REMOVED}  # of which nothing is left
    assert TaskStatus.CANCELLED in TASK_RETRIES
    assert len(ends(TASK_MOVES)) == len(ends(FILE_MOVES)) == len(ends(STEP_MOVES)) + 1 == 4


@pytest.mark.sampled(1)
def test_a_removal_wins_against_a_retry_at_the_same_time(operator: Operator, set_steps: SetSteps) -> None:
    """Whichever comes first: original and task are gone, and no worker gets the task."""
    services = operator.services

    def both(task_id: str) -> None:
        barrier = threading.Barrier(2)

        def attempted(move: Callable[[Services, str], object]) -> bool:
            barrier.wait(PATIENCE)
            try:
                move(services, task_id)
            except ActionRefusedError:
                return False
            return True

        with ThreadPoolExecutor(2) as pool:
            won = list(pool.map(attempted, (actions.retry, actions.terminate)))
        task, upload = operator.json("tasks", "show", task_id), operator.json("uploads", "show", task_id)
        assert won[1]
        assert (task["status"], upload["status"]) == ("removed", "terminated")
        assert services.store.size(task_id) is None
        assert operator.kinds(task_id).count("retried") == won[0]
        assert runner_of(services).claim_next("test/1") is None

    for task_id in [failed_task(operator, set_steps, "a.mp4") for _ in range(6)]:
        both(task_id)
