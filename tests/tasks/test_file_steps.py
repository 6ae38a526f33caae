"""The rows of steps: what they say when their file, or its task, has ended in whatever way."""

from collections.abc import Callable

import pytest
from sqlalchemy.orm import Session

from server.database.models import DEFAULT_OWNER
from server.database.session import Database
from server.lifecycle import TaskStatus
from server.tasks import file_steps, queue
from server.tasks.queue import Claim, Failure
from tests.tasks.queued_tasks import NOW, claimed, file_ids, let_lease_run_out, register, task, write

STEPS = {"scan": False, "probe": True, "poster": True, "mp4": True}
POISON = Failure("too_many_attempts", {})


def steps(database: Database, file_id: str) -> dict[str, tuple[str, str | None]]:
    """Status and error of each."""
    with database.read() as session:
        found = file_steps.steps_of(session, file_id)
        return {step.name: (step.status.value, step.error_code) for step in found}


def begun(database: Database) -> tuple[Claim, list[str]]:
    """A task of two files; of the first, probe is done, poster runs and mp4 waits."""
    task_id = register(database, files=2)
    mine, ids = claimed(database), file_ids(database, task_id)
    assert write(database, file_steps.begin_file, mine, ids[0], STEPS)
    for step in ("probe", "poster"):
        assert write(database, file_steps.begin_step, mine, ids[0], step, now=NOW)
        if step == "probe":
            assert write(database, file_steps.complete_step, mine, ids[0], step, {"width": 320}, now=NOW)
    return mine, ids


End = Callable[[Session, Claim, str], object]
ENDS: dict[str, tuple[End, str, str | None, str]] = {
    "cancelled": (
        lambda s, mine, _: queue.cancel(s, mine.task_id, DEFAULT_OWNER, now=NOW),
        "cancelled", None, "cancelled",
    ),
    "given up": (
        lambda s, mine, _: queue.fail_exhausted(s, mine, POISON, now=NOW), "error", "too_many_attempts", "skipped",
    ),
    "file failed": (
        lambda s, mine, file: file_steps.fail_file(s, mine, file, Failure("not_playable", {}), now=NOW),
        "skipped", None, "skipped",
    ),
    "file completed": (
        lambda s, mine, file: file_steps.complete_file(s, mine, file, now=NOW), "skipped", None, "skipped",
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", ENDS)
def test_no_step_runs_or_waits_when_its_file_has_ended(database: Database, how: str) -> None:
    """What was done stays done; the running and the waiting one say how it ended."""
    mine, (first, _) = begun(database)
    end, running, code, waiting = ENDS[how]
    write(database, end, mine, first)
    assert steps(database, first) == {
        "scan": ("skipped", None),
        "probe": ("completed", None),
        "poster": (running, code),
        "mp4": (waiting, None),
    }


def test_the_last_error_of_a_step_is_kept_when_its_task_is_given_up(database: Database) -> None:
    """The step had said why it was tried again: that outlives the workers that fell silent."""
    mine, (first, second) = begun(database)
    why = Failure("storage_full", {"room": 3})
    assert write(database, file_steps.retry_step, mine, first, "poster", why, counts=True)
    write(database, queue.fail_exhausted, mine, POISON, now=NOW)
    assert steps(database, first)["poster"] == ("error", "storage_full")
    with database.read() as session:
        found = {step.name: step for step in file_steps.steps_of(session, first)}
        states = [(file.status.value, file.error_code) for file in queue.files_of(session, mine.task_id)]
    assert (found["poster"].error_params, found["poster"].failures) == ({"room": 3}, 1)
    assert found["poster"].finished_at == found["mp4"].finished_at == NOW
    assert states == [("error", "too_many_attempts"), ("waiting", None)], "the second was never begun"
    assert steps(database, second) == {}
    assert write(database, queue.fail_exhausted, mine, POISON, now=NOW) is TaskStatus.ERROR, "nor can it be"
    with database.read() as session:
        states = [(file.status.value, file.error_code) for file in queue.files_of(session, mine.task_id)]
    assert states == [("error", "too_many_attempts")] * 2


def test_a_cancel_leaves_steps_of_completed_files(database: Database) -> None:
    """Cancelled in the second file: the first one's steps stay as they were."""
    mine, (first, second) = begun(database)
    write(database, file_steps.complete_file, mine, first, now=NOW)
    before = steps(database, first)
    write(database, file_steps.begin_file, mine, second, STEPS)
    write(database, queue.cancel, mine.task_id, DEFAULT_OWNER, now=NOW)
    assert steps(database, first) == before
    assert {status for status, _ in steps(database, second).values()} == {"skipped", "cancelled"}


def test_a_new_attempt_keeps_completed_steps_and_first_starts(database: Database) -> None:
    """Another attempt: what was completed is not begun again, what ran is, and its first begin stays."""
    mine, (first, _) = begun(database)
    let_lease_run_out(database, mine.task_id)
    again = claimed(database)
    known = write(database, file_steps.begin_file, again, first, STEPS)
    assert {name: step.status.value for name, step in known.items()} == {
        "scan": "skipped",
        "probe": "completed",
        "poster": "processing",
        "mp4": "waiting",
    }
    assert not write(database, file_steps.begin_step, again, first, "probe", now=NOW)
    assert write(database, file_steps.begin_step, again, first, "poster", now=NOW)
    assert not write(database, file_steps.begin_step, mine, first, "poster", now=NOW), "it is another attempt's"
    assert task(database, mine.task_id).step == "poster"


def test_remarks_of_several_steps_are_all_kept(database: Database) -> None:
    """A later step adds to the remarks of an earlier one; each is kept once, and a step without any takes none away."""
    mine, (first, _) = begun(database)
    for step, found in (("poster", {"remarks": ["truncated"]}), ("mp4", {"remarks": ["audio_missing", "truncated"]})):
        assert write(database, file_steps.begin_step, mine, first, step, now=NOW)
        assert write(database, file_steps.complete_step, mine, first, step, {"has_poster": True} | found, now=NOW)
    with database.read() as session:
        remarks = [file.remarks for file in queue.files_of(session, mine.task_id)]
    assert remarks == [["truncated", "audio_missing"], []]


def test_a_task_is_playable_when_every_file_that_has_not_failed_is(database: Database) -> None:
    """One of two files can be played: the task not yet. The other has failed: now the task can be."""
    mine, (first, second) = begun(database)
    write(database, file_steps.complete_step, mine, first, "poster", {"playable": True}, now=NOW)
    assert not task(database, mine.task_id).playable
    write(database, file_steps.begin_file, mine, second, STEPS)
    write(database, file_steps.fail_file, mine, second, Failure("not_playable", {}), now=NOW)
    assert task(database, mine.task_id).playable
