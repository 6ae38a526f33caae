"""Delete, retry, change and a worker at once: whoever comes first, nothing that was removed comes back."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from server.database.models import DEFAULT_OWNER, Task
from server.database.session import Database
from server.errors import TaskGoneError, TaskNotEndedError, TaskNotFoundError, TaskNotRetriedError, VideodockError
from server.lifecycle import TaskStatus
from server.tasks import changes, queue, removal
from server.tasks.retry import retry
from tests.harness.waiting import PATIENCE
from tests.tasks.queued_tasks import NOW, claim, claimed, end_file, file_ids, kinds, register, task, write

ROUNDS = 5
Work = Callable[[Database, str], object]


def delete(database: Database, task_id: str) -> object:
    return write(database, removal.remove_task, task_id, DEFAULT_OWNER, even_running=True, now=NOW)


def delete_unless_running(database: Database, task_id: str) -> object:
    return write(database, removal.remove_task, task_id, DEFAULT_OWNER, even_running=False, now=NOW)


def again(database: Database, task_id: str) -> object:
    return write(database, retry, task_id, DEFAULT_OWNER, node="node", has_bytes=lambda _: True, now=NOW)


def rename(database: Database, task_id: str) -> object:
    return write(database, changes.change, task_id, DEFAULT_OWNER, {"title": "new"}, now=NOW)


def work(database: Database, _: str) -> object:
    return claim(database)


def failed(database: Database) -> str:
    """A task that has failed."""
    task_id = register(database)
    mine = claimed(database)
    for file_id in file_ids(database, task_id):
        end_file(database, mine, file_id, works=False)
    assert write(database, queue.finish, mine, now=NOW) is TaskStatus.ERROR
    return task_id


def at_once(database: Database, task_id: str, works: Sequence[Work]) -> list[object]:
    """What each of them returns or raises."""
    together = threading.Barrier(len(works))

    def one(work: Work) -> object:
        together.wait(PATIENCE)
        try:
            return work(database, task_id)
        except VideodockError as error:
            return error

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(one, works))


@pytest.mark.parametrize("round_", range(ROUNDS))
def test_two_deletions_are_one(database: Database, round_: int) -> None:
    """Both succeed, and there is one event."""
    task_id = register(database)
    assert at_once(database, task_id, [delete, delete_unless_running, delete]) == [None] * 3
    assert kinds(database, task_id).count("removed") == 1


@pytest.mark.parametrize("round_", range(ROUNDS))
def test_a_deleted_task_does_not_come_back(database: Database, round_: int) -> None:
    """Beside two retries, a change and a worker: it is removed, was retried once at most, and nobody has it."""
    task_id = failed(database)
    _, first, second, renamed, got = at_once(database, task_id, [delete, again, again, rename, work])
    assert task(database, task_id).status is TaskStatus.REMOVED
    assert kinds(database, task_id).count("removed") == 1
    retried = [one for one in (first, second) if not isinstance(one, VideodockError)]
    assert kinds(database, task_id).count("retried") == len(retried) <= 1
    refusals = [one for one in (first, second) if one not in retried]
    assert all(isinstance(one, TaskGoneError | TaskNotEndedError) for one in refusals), refusals
    assert renamed is None or isinstance(renamed, TaskGoneError)
    assert task(database, task_id).title == ("new" if renamed is None else None)
    assert claim(database) is None
    if isinstance(got, queue.Claim):
        assert not write(database, queue.update_claimed, got, {"progress": 99})


@pytest.mark.parametrize("round_", range(ROUNDS))
def test_a_worker_or_a_careful_deletion_wins(database: Database, round_: int) -> None:
    """Either the worker has the task, and the deletion is refused; or it is gone, and no worker gets it."""
    task_id = register(database)
    refused, got = at_once(database, task_id, [delete_unless_running, work])
    status = task(database, task_id).status
    assert (refused is None) == (status is TaskStatus.REMOVED)
    assert (got is None) == (status is TaskStatus.REMOVED)


def test_what_is_foreign_is_not_found(database: Database) -> None:
    """By a change and by a retry as by everything else; nothing changes."""
    task_id = register(database, owner="bob")
    for work_ in (rename, again, delete):
        with pytest.raises(TaskNotFoundError):
            work_(database, task_id)
    unchanged: Task = task(database, task_id)
    assert (unchanged.title, unchanged.status) == (None, TaskStatus.UPLOADED)


def test_a_retry_needs_something_that_failed(database: Database) -> None:
    """A task of completed files, or of another data folder, is refused with a reason."""
    task_id = register(database)
    mine = claimed(database)
    for file_id in file_ids(database, task_id):
        end_file(database, mine, file_id, works=True)
    write(database, queue.finish, mine, now=NOW)
    with pytest.raises(TaskNotRetriedError) as refused:
        again(database, task_id)
    assert refused.value.params == {"reason": "retry_nothing"}
    other = failed(database)
    with pytest.raises(TaskNotRetriedError) as refused:
        write(database, retry, other, None, node="another", has_bytes=lambda _: True, now=NOW)
    assert refused.value.params == {"reason": "retry_folder"}
