"""The queue's moves, on SQLite and on PostgreSQL."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import text, update
from sqlalchemy.orm import Session

from server.database import session as session_module
from server.database.models import DEFAULT_OWNER, Task
from server.database.session import AWAY, Database, changed
from server.errors import TaskEndedError, TaskNotFoundError
from server.lifecycle import TASK_MOVES, FileStatus, TaskStatus, ends
from server.tasks import file_steps, queue
from server.tasks.queue import Claim, Failure
from tests.tasks.queued_tasks import (
    LEASE,
    NOW,
    STEPS,
    claim,
    claimed,
    file_ids,
    kinds,
    let_lease_run_out,
    new_id,
    register,
    task,
    write,
)

pytestmark = pytest.mark.every_backend  # SQL is what they are about


def test_a_task_is_registered_claimed_and_finished(database: Database) -> None:
    """Registered, claimed, both files done, finished: every state, event and time is there."""
    task_id = register(database, files=2)
    assert (task(database, task_id).status, task(database, task_id).progress) == (TaskStatus.UPLOADED, 0)
    mine = claimed(database)
    assert (mine.task_id, mine.attempt, mine.file_count) == (task_id, 1, 2)
    for file_id in file_ids(database, task_id):
        assert write(database, file_steps.begin_file, mine, file_id, STEPS)
        assert write(database, file_steps.complete_file, mine, file_id, now=NOW)
    assert write(database, queue.finish, mine, now=NOW) is TaskStatus.COMPLETED
    row = task(database, task_id)
    assert (row.status, row.progress, row.partial, row.worker) == (TaskStatus.COMPLETED, 100, False, None)
    assert row.started_at == NOW == row.finished_at
    assert kinds(database, task_id) == ["uploaded", "processing", "file_completed", "file_completed", "completed"]


@pytest.mark.parametrize(
    ("failing", "status", "partial"), [(1, TaskStatus.COMPLETED, True), (2, TaskStatus.ERROR, False)]
)
def test_failed_files_decide_how_a_task_ends(
    database: Database, failing: int, status: TaskStatus, partial: bool
) -> None:
    """Some files failed: completed and partial; all failed: error, with the first one's reason."""
    task_id = register(database, files=2)
    mine = claimed(database)
    for number, file_id in enumerate(file_ids(database, task_id)):
        write(database, file_steps.begin_file, mine, file_id, STEPS)
        if number < failing:
            failure = Failure("not_playable", {"seconds": number})
            assert write(database, file_steps.fail_file, mine, file_id, failure, now=NOW)
        else:
            assert write(database, file_steps.complete_file, mine, file_id, now=NOW)
    assert write(database, queue.finish, mine, now=NOW) is status
    row = task(database, task_id)
    assert (row.status, row.partial) == (status, partial)
    assert row.error_code == ("not_playable" if status is TaskStatus.ERROR else None)
    assert row.error_params == ({"seconds": 0} if status is TaskStatus.ERROR else None)


def test_the_oldest_task_is_claimed_first_and_only_once(database: Database) -> None:
    """Two tasks, three claims: the older, the newer, nothing."""
    newer = register(database, at=NOW + timedelta(seconds=1))
    older = register(database, at=NOW)
    assert [claimed(database).task_id, claimed(database).task_id, claim(database)] == [older, newer, None]


def test_a_task_is_claimed_only_where_its_bytes_are(database: Database) -> None:
    """Two data folders on one database: a worker of one finds nothing of the other."""
    register(database, node="elsewhere")
    assert claim(database) is None
    here = register(database)
    assert claimed(database).task_id == here


def test_many_workers_claim_every_task_exactly_once(database: Database) -> None:
    """Eight workers race for forty tasks: each task is claimed once, with attempt 1."""
    tasks = {register(database) for _ in range(40)}

    def take(worker: int) -> list[Claim]:
        found = []
        misses = 0
        while misses < 5:  # a miss may be a lost race
            one = claim(database, f"node/{worker}")
            misses = misses + 1 if one is None else 0
            found += [one] if one else []
        return found

    with ThreadPoolExecutor(8) as pool:
        claims = [one for found in pool.map(take, range(8)) for one in found]
    assert sorted(one.task_id for one in claims) == sorted(tasks)
    assert {one.attempt for one in claims} == {1}


def test_an_expired_lease_is_taken_over_and_the_slow_workers_writes_match_nothing(database: Database) -> None:
    """The second attempt owns the task; every write of the first matches nothing and changes nothing."""
    task_id = register(database)
    slow = claimed(database)
    assert claim(database) is None, "a task with a lease is nobody else's"
    let_lease_run_out(database, task_id)
    mine = claimed(database, "other/2")
    assert mine.attempt == 2
    file_id = file_ids(database, task_id)[0]
    late: list[Callable[[Session], object]] = [
        lambda s: queue.heartbeat(s, slow, lease=LEASE, progress=90, current_file=1, eta_seconds=None, now=NOW),
        lambda s: file_steps.begin_file(s, slow, file_id, STEPS),
        lambda s: file_steps.file_progress(s, slow, file_id, 90, {}),
        lambda s: file_steps.complete_file(s, slow, file_id, now=NOW),
        lambda s: file_steps.fail_file(s, slow, file_id, Failure("not_playable", {}), now=NOW),
        lambda s: queue.finish(s, slow, now=NOW),
        lambda s: queue.fail_exhausted(s, slow, Failure("not_playable", {}), now=NOW),
        lambda s: queue.give_back(s, slow, now=NOW),
    ]
    for move in late:
        assert not write(database, move)
    row = task(database, task_id)
    assert (row.status, row.attempt, row.worker, row.progress) == (TaskStatus.PROCESSING, 2, "other/2", 0)
    with database.read() as session:
        assert queue.files_of(session, task_id)[0].status is FileStatus.WAITING
    assert kinds(database, task_id) == ["uploaded", "processing", "processing"]


def test_failures_count_silent_workers_and_not_tasks_given_back(database: Database) -> None:
    """A worker that fell silent counts as a failure, one that gave the task back does not."""
    task_id = register(database)
    first = claimed(database)
    write(database, queue.give_back, first, now=NOW)
    second = claimed(database)
    assert write(database, queue.count_failed_attempts, second) == 0
    let_lease_run_out(database, task_id)
    third = claimed(database)
    assert (third.attempt, write(database, queue.count_failed_attempts, third)) == (3, 1)


def test_tasks_of_a_dead_node_can_be_claimed_at_once(database: Database) -> None:
    """Only the tasks of that node; the lease of another stays."""
    mine, others = register(database), register(database, at=NOW + timedelta(seconds=1))
    claimed(database, "dead%/1")
    claimed(database, "alive/1")
    assert write(database, queue.expire_leases, "dead%/", now=NOW) == 1
    again = claimed(database, "new/1")
    assert again.task_id == mine
    assert claim(database) is None
    assert task(database, others).worker == "alive/1"


def test_progress_never_falls(database: Database) -> None:
    """A later attempt starts lower and the row keeps the higher number, for the task and for its file."""
    task_id = register(database)
    mine = claimed(database)
    file_id = file_ids(database, task_id)[0]
    write(database, file_steps.begin_file, mine, file_id, STEPS)
    for progress, shown in ((40, 40), (10, 40), (60, 60)):
        assert write(
            database, queue.heartbeat, mine, lease=LEASE, progress=progress, current_file=1, eta_seconds=None, now=NOW
        )
        assert write(database, file_steps.file_progress, mine, file_id, progress, {})
        with database.read() as session:
            assert (task(database, task_id).progress, queue.files_of(session, task_id)[0].progress) == (shown, shown)


@pytest.mark.parametrize("claim_first", [False, True])
def test_a_cancel_counts_at_once_and_is_final(database: Database, claim_first: bool) -> None:
    """Waiting or processing: status and files are cancelled, its worker is out, cancelling again is the same."""
    task_id = register(database, files=2)
    mine = claimed(database) if claim_first else None
    for _ in range(2):
        write(database, queue.cancel, task_id, DEFAULT_OWNER, now=NOW)
    assert task(database, task_id).status is TaskStatus.CANCELLED
    with database.read() as session:
        assert {file.status for file in queue.files_of(session, task_id)} == {FileStatus.CANCELLED}
    if mine:
        assert not write(
            database, queue.heartbeat, mine, lease=LEASE, progress=1, current_file=1, eta_seconds=None, now=NOW
        )
        assert not write(database, queue.finish, mine, now=NOW)
    assert claim(database) is None
    assert kinds(database, task_id).count("cancelled") == 1


def test_an_ended_task_cannot_be_cancelled_and_other_owners_find_none(database: Database) -> None:
    """Completed is 409's error, another owner's or an unknown task 404's."""
    task_id = register(database)
    mine = claimed(database)
    file_id = file_ids(database, task_id)[0]
    write(database, file_steps.begin_file, mine, file_id, STEPS)
    write(database, file_steps.complete_file, mine, file_id, now=NOW)
    write(database, queue.finish, mine, now=NOW)
    with pytest.raises(TaskEndedError):
        write(database, queue.cancel, task_id, DEFAULT_OWNER, now=NOW)
    for wrong in ((task_id, "somebody"), (new_id(), DEFAULT_OWNER)):
        with pytest.raises(TaskNotFoundError):
            write(database, queue.cancel, *wrong, now=NOW)
    assert task(database, task_id).status is TaskStatus.COMPLETED


def test_giving_up_a_task_ends_open_files_only(database: Database) -> None:
    """A poison task: what was not done is an error with its reason; the file that was done stays done."""
    task_id = register(database, files=2)
    mine = claimed(database)
    first = file_ids(database, task_id)[0]
    write(database, file_steps.begin_file, mine, first, STEPS)
    write(database, file_steps.complete_file, mine, first, now=NOW)
    assert write(database, queue.fail_exhausted, mine, Failure("too_many_attempts", {}), now=NOW)
    with database.read() as session:
        states = [(file.status, file.error_code) for file in queue.files_of(session, task_id)]
    assert states == [(FileStatus.COMPLETED, None), (FileStatus.ERROR, "too_many_attempts")]
    row = task(database, task_id)
    assert (row.status, row.partial, row.error_code) == (TaskStatus.COMPLETED, True, None)
    assert kinds(database, task_id)[2:] == ["file_completed", "file_error", "completed"]


def test_leases_are_set_by_the_databases_clock(database: Database) -> None:
    """The lease ends about 30 s from the database's now, whatever the worker's clock says."""
    task_id = register(database)
    claimed(database)  # its `now` is a fixed day
    with database.read() as session:
        sqlite = session.connection().dialect.name == "sqlite"
        now = session.scalar(text("SELECT strftime('%s', 'now')" if sqlite else "SELECT extract(epoch FROM now())"))
    lease = task(database, task_id).lease_expires_at
    assert lease is not None
    assert abs(lease.timestamp() - float(now or 0) - LEASE) < 5


def test_no_transition_leaves_an_end_state(database: Database) -> None:
    """The table itself: ended states have no way out, and a claim finds none of them."""
    over = {TaskStatus.COMPLETED, TaskStatus.ERROR, TaskStatus.CANCELLED, TaskStatus.REMOVED}
    assert set(ends(TASK_MOVES)) == over
    task_id = register(database)
    for end in ends(TASK_MOVES):
        write(database, lambda s, e=end: changed(s, update(Task).where(Task.id == task_id).values(status=e)))
        assert claim(database) is None


def test_a_worker_cut_off_in_a_transaction_loses_its_locks(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL: a worker holds its task's row and is heard of no more; after a while the task can be cancelled."""
    if database.engine.dialect.name != "postgresql":
        return  # the kernel ends a dead process's locks, and SQLite's processes are on one machine
    monkeypatch.setattr(session_module, "_IDLE_SECONDS", 1)
    task_id = register(database)
    mine = claimed(database)
    silent = Database(database.engine.url.render_as_string(hide_password=False), 1)

    def hold_and_be_silent(session: Session) -> None:
        assert queue.update_claimed(session, mine, {})
        write(database, queue.cancel, task_id, DEFAULT_OWNER, now=NOW)
        queue.update_claimed(session, mine, {})

    try:
        with pytest.raises(AWAY):
            write(silent, hold_and_be_silent)
        assert not write(silent, queue.update_claimed, mine, {}), (
            "it is connected again, and the task is not its any more"
        )
        assert task(database, task_id).status is TaskStatus.CANCELLED
    finally:
        silent.close()
