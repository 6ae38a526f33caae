"""Deleting a file of a task, or a task, as rows: what the task is then, and what its worker may still write."""

import pytest
from sqlalchemy import update

from server.database.models import DEFAULT_OWNER, Task, TaskFile, Upload
from server.database.session import Database, changed
from server.errors import TaskEndedError, TaskGoneError, TaskNotFoundError, TaskRunningError
from server.lifecycle import FileStatus, StepStatus, TaskStatus, UploadStatus
from server.tasks import file_steps, queue, removal
from server.tasks.queue import Failure
from server.tasks.retry import retry
from tests.tasks.queued_tasks import (
    NOW,
    STEPS,
    claim,
    claimed,
    end_file,
    file_ids,
    kinds,
    new_id,
    register,
    task,
    write,
)


def uploads_of(database: Database, task_id: str) -> list[str]:
    """The uploads of a task, in the order of its files."""
    with database.read() as session:
        return [file.upload_id for file in queue.files_of(session, task_id)]


def rows(database: Database, task_id: str) -> list[tuple[str, bool, bool]]:
    """What is told of each file: its status, whether it is being removed, whether it can be played."""
    with database.read() as session:
        return [(file.status.value, file.removing, file.playable) for file in queue.files_of(session, task_id)]


def test_removing_one_file_leaves_the_task_with_the_others(database: Database) -> None:
    """The task waits on with the others; with its last file it is removed, and no worker gets it."""
    task_id = register(database, files=2)
    first, second = uploads_of(database, task_id)
    assert write(database, removal.remove_file, first, now=NOW)
    assert rows(database, task_id) == [("removed", True, False), ("waiting", False, False)]
    assert task(database, task_id).status is TaskStatus.UPLOADED
    assert write(database, removal.remove_file, first, now=NOW), "again"
    assert write(database, removal.remove_file, second, now=NOW)
    assert (task(database, task_id).status, task(database, task_id).finished_at) == (TaskStatus.REMOVED, NOW)
    assert kinds(database, task_id) == ["uploaded", "file_removed", "file_removed", "removed"]
    assert claim(database) is None
    assert not write(database, removal.remove_file, new_id(), now=NOW)


def test_removing_the_running_file_stops_writes_for_it(database: Database) -> None:
    """Nothing that its worker writes of it matches any more; the worker is told so, and ends the others."""
    task_id = register(database, files=2)
    first, second = file_ids(database, task_id)
    mine = claimed(database)
    write(database, file_steps.begin_file, mine, first, STEPS)
    assert write(database, file_steps.begin_step, mine, first, "probe", now=NOW)
    assert not write(database, file_steps.is_removed, mine, first)
    write(database, removal.remove_file, uploads_of(database, task_id)[0], now=NOW)
    assert write(database, file_steps.is_removed, mine, first)
    assert not write(database, file_steps.complete_step, mine, first, "probe", {"has_poster": True}, now=NOW)
    assert not write(database, file_steps.fail_step, mine, first, "probe", Failure("not_playable", {}), now=NOW)
    assert not write(database, file_steps.retry_step, mine, first, "probe", Failure("x", {}), counts=True)
    assert not write(database, file_steps.complete_file, mine, first, now=NOW)
    assert not write(database, file_steps.fail_file, mine, first, Failure("not_playable", {}), now=NOW)
    assert write(database, file_steps.begin_file, mine, first, STEPS) is None
    with database.read() as session:
        steps = {step.name: step.status for step in file_steps.steps_of(session, first)}
    assert steps == {"probe": StepStatus.CANCELLED, "poster": StepStatus.CANCELLED, "mp4": StepStatus.SKIPPED}
    end_file(database, mine, second)
    assert write(database, queue.finish, mine, now=NOW) is TaskStatus.COMPLETED
    assert (task(database, task_id).partial, task(database, task_id).playable) == (False, True)
    assert rows(database, task_id) == [("removed", True, False), ("completed", False, True)]


def test_a_removed_file_does_not_make_a_task_completed(database: Database) -> None:
    """A file that was removed does not make a task completed: what is left of it has failed."""
    task_id = register(database, files=2)
    first, _ = file_ids(database, task_id)
    mine = claimed(database)
    end_file(database, mine, first, works=False)
    write(database, removal.remove_file, uploads_of(database, task_id)[1], now=NOW)
    assert write(database, queue.finish, mine, now=NOW) is TaskStatus.ERROR
    assert task(database, task_id).error_code == "not_playable"


def test_removing_a_file_updates_playable(database: Database) -> None:
    """A running task can be played once the file goes that was on its way there; an ended one no more with its only
    playable file."""
    task_id = register(database, files=3)
    first, _, third = file_ids(database, task_id)
    uploads = uploads_of(database, task_id)
    mine = claimed(database)
    end_file(database, mine, first)
    end_file(database, mine, third, works=False)
    assert not task(database, task_id).playable
    write(database, removal.remove_file, uploads[1], now=NOW)
    assert task(database, task_id).playable
    assert write(database, queue.finish, mine, now=NOW) is TaskStatus.COMPLETED
    write(database, removal.remove_file, uploads[0], now=NOW)
    ended = task(database, task_id)
    assert (ended.status, ended.partial, ended.playable) == (TaskStatus.COMPLETED, True, False)


def test_removing_the_file_that_waits_ends_the_pause_of_its_task(database: Database) -> None:
    """The others need not wait for the end of its pause."""
    task_id = register(database, files=2)
    first, _ = file_ids(database, task_id)
    mine = claimed(database)
    write(database, file_steps.begin_file, mine, first, STEPS)
    assert write(database, queue.postpone, mine, Failure("scanner_away", {}), pause=300, now=NOW)
    assert claim(database) is None
    write(database, removal.remove_file, uploads_of(database, task_id)[0], now=NOW)
    assert task(database, task_id).waiting_code is None
    assert claimed(database).task_id == task_id


@pytest.mark.parametrize("end", [None, TaskStatus.PROCESSING, *(TaskStatus.COMPLETED, TaskStatus.ERROR)])
def test_a_task_is_removed_once_with_all_its_files(database: Database, end: TaskStatus | None) -> None:
    """Waiting, running or over, it is removed with all its files and uploads, once; nobody may work on it or retry it.

    When it had ended before is kept."""
    task_id = register(database, files=2)
    mine = None if end is None else claimed(database)
    if mine is not None and end is not TaskStatus.PROCESSING:
        for file_id in file_ids(database, task_id):
            end_file(database, mine, file_id, works=end is TaskStatus.COMPLETED)
        assert write(database, queue.finish, mine, now=NOW) is end
    later = NOW.replace(hour=12)
    for _ in range(2):
        write(database, removal.remove_task, task_id, DEFAULT_OWNER, even_running=True, now=later)
    removed = task(database, task_id)
    assert (removed.status, removed.playable, removed.worker) == (TaskStatus.REMOVED, False, None)
    assert removed.finished_at == (NOW if end in (TaskStatus.COMPLETED, TaskStatus.ERROR) else later)
    assert rows(database, task_id) == [("removed", True, False)] * 2
    assert kinds(database, task_id)[-1] == "removed"
    assert kinds(database, task_id).count("removed") == 1
    with database.read() as session:
        for upload_id in uploads_of(database, task_id):
            assert session.get_one(Upload, upload_id).status is UploadStatus.TERMINATED
    assert claim(database) is None
    if mine is not None:
        assert not write(database, queue.update_claimed, mine, {})
        assert write(database, queue.finish, mine, now=NOW) is None
    with pytest.raises(TaskEndedError):
        write(database, queue.cancel, task_id, DEFAULT_OWNER, now=NOW)
    with pytest.raises(TaskGoneError):
        write(database, retry, task_id, None, node="node", has_bytes=lambda _: True, now=NOW)


def test_a_running_task_is_removed_only_if_that_is_asked_for(database: Database) -> None:
    """Refused while a worker has it, changing nothing; waiting and ended ones are removed."""
    task_id = register(database)
    claimed(database)
    with pytest.raises(TaskRunningError):
        write(database, removal.remove_task, task_id, DEFAULT_OWNER, even_running=False, now=NOW)
    assert task(database, task_id).status is TaskStatus.PROCESSING
    assert "removed" not in kinds(database, task_id)
    write(database, removal.remove_task, task_id, DEFAULT_OWNER, even_running=True, now=NOW)
    write(database, removal.remove_task, task_id, DEFAULT_OWNER, even_running=False, now=NOW)
    assert task(database, task_id).status is TaskStatus.REMOVED
    waiting = register(database)
    write(database, removal.remove_task, waiting, DEFAULT_OWNER, even_running=False, now=NOW)
    assert task(database, waiting).status is TaskStatus.REMOVED


def test_only_the_owner_or_an_operator_removes_a_task(database: Database) -> None:
    """Another owner's task is not found; an operator (no owner) may remove any."""
    task_id = register(database, owner="somebody")
    with pytest.raises(TaskNotFoundError):
        write(database, removal.remove_task, task_id, DEFAULT_OWNER, even_running=True, now=NOW)
    with pytest.raises(TaskNotFoundError):
        write(database, removal.remove_task, new_id(), None, even_running=True, now=NOW)
    write(database, removal.remove_task, task_id, None, even_running=False, now=NOW)
    assert task(database, task_id).status is TaskStatus.REMOVED


def test_a_removed_file_has_no_result_in_its_columns(database: Database) -> None:
    """Nothing of a removed file has an address: no column says that there is a result."""
    task_id = register(database)
    (file_id,) = file_ids(database, task_id)
    flags = {"has_poster": True, "has_mp4": True, "has_hls": True, "has_storyboard": True, "playable": True}
    write(database, lambda s: changed(s, update(TaskFile).where(TaskFile.id == file_id).values(flags)))
    write(database, lambda s: changed(s, update(Task).where(Task.id == task_id).values(playable=True)))
    write(database, removal.remove_file, uploads_of(database, task_id)[0], now=NOW)
    with database.read() as session:
        file = session.get_one(TaskFile, file_id)
        assert not any(getattr(file, name) for name in flags)
        assert file.status is FileStatus.REMOVED
    assert not task(database, task_id).playable
