"""The queue: register, find and cancel tasks; claim them, send heartbeats, postpone and finish them.

Rules:

- Every move of a task is one compare-and-set `UPDATE … WHERE status IN (…)`, built from the table in
  `lifecycle.py`; the number of changed rows shows whether it happened.
- Every write of a worker has `WHERE attempt = …`: after another worker has claimed the task, or it was cancelled,
  the writes of the first worker match no row.
- Each function works in the transaction of its caller, and each change of state appends its event there.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import JSON, ColumnElement, Table, and_, case, func, insert, literal, select, update
from sqlalchemy.orm import Session

from server.database.models import Task, TaskFile, TaskStep
from server.database.prepared import Link, Prepared
from server.database.session import changed
from server.database.types import database_time
from server.errors import TaskEndedError, TaskNotFoundError
from server.lifecycle import (
    FILE_MOVES,
    STEP_MOVES,
    TASK_MOVES,
    TASK_REMOVALS,
    FileStatus,
    StepStatus,
    TaskStatus,
    ends,
    sources,
)
from server.tasks import events, fair_queue
from server.tasks.claimable import claimable, horizon, is_claimed

_INSERT_TASK = Prepared(
    insert(cast("Table", Task.__table__)),
    ("id", "owner", "node", "passthrough", "file_count", "created_at", "updated_at"),
)
_INSERT_FILE = Prepared(
    insert(cast("Table", TaskFile.__table__)),
    ("id", "task_id", "upload_id", "position", "name", "safe_name", "size", "media_type", "remarks"),
)

# The columns that are cleared when no worker has the task, nor will.
_IDLE: Mapping[str, Any] = {
    "worker": None,
    "gather_until": None,
    "lease_expires_at": None,
    "eta_seconds": None,
    "waiting_code": None,
    "waiting_params": None,
}


@dataclass(frozen=True)
class NewFile:
    """A file of a task to be registered."""

    upload_id: str
    name: str
    safe_name: str
    size: int
    media_type: str | None


@dataclass(frozen=True)
class Claim:
    """A task that a worker has claimed, under this attempt."""

    task_id: str
    owner: str
    attempt: int
    file_count: int


@dataclass(frozen=True)
class Failure:
    """Why something failed: a code of `server/messages/` and its parameters."""

    code: str
    params: dict[str, Any]


def register(
    connection: Link,
    task_id: str,
    owner: str,
    files: Sequence[NewFile],
    *,
    node: str,
    now: datetime,
    new_id: Callable[[], str],
    passthrough: str | None = None,
) -> None:
    """Add a task with its files, whose bytes are in the data folder `node`.

    An upload that is in a task already raises `IntegrityError`.
    """
    task = {"id": task_id, "owner": owner, "node": node, "passthrough": passthrough, "file_count": len(files)}
    _INSERT_TASK.change(connection, {**task, "created_at": now, "updated_at": now})
    for position, file in enumerate(files, 1):
        row = {
            "id": new_id(),
            "task_id": task_id,
            "upload_id": file.upload_id,
            "position": position,
            "name": file.name,
            "safe_name": file.safe_name,
            "size": file.size,
            "media_type": file.media_type,
            "remarks": [],
        }
        _INSERT_FILE.change(connection, row)
    events.append_plainly(connection, task_id, "uploaded", owner=owner, at=now, data={"files": len(files)})


def find(session: Session, task_id: str, owner: str | None) -> tuple[Task, Sequence[TaskFile]]:
    """A task and its files in order; of any owner where `owner` is None. Raises `TaskNotFoundError`."""
    task = session.get(Task, task_id)
    if task is None or owner not in (None, task.owner):
        raise TaskNotFoundError
    return task, files_of(session, task_id)


def files_of(session: Session, task_id: str) -> Sequence[TaskFile]:
    """The files of a task, in order."""
    return session.scalars(select(TaskFile).where(TaskFile.task_id == task_id).order_by(TaskFile.position)).all()


def cancel(session: Session, task_id: str, owner: str | None, *, now: datetime) -> None:
    """Cancel a task; a cancelled task stays so. Raises `TaskNotFoundError`, `TaskEndedError`."""
    task, _ = find(session, task_id, owner)
    moved = changed(
        session,
        update(Task)
        .where(Task.id == task_id, Task.status.in_(sources(TASK_MOVES, TaskStatus.CANCELLED)))
        .values(status=TaskStatus.CANCELLED, playable=False, **_IDLE, updated_at=now, finished_at=now),
    )
    if moved:
        _cancel_files(session, task_id, now=now)
        events.append(session, task_id, "cancelled", owner=task.owner, at=now, attempt=task.attempt)
        return
    session.expire(task)
    if task.status is not TaskStatus.CANCELLED:
        raise TaskEndedError(status=task.status)


def remove(session: Session, task_id: str, *, now: datetime) -> bool:
    """A task becomes `removed`, whether it waits, runs or has ended; False when it is already.

    When it had ended before, `finished_at` stays, so reports still show how long it took.
    """
    ended = {**_IDLE, "updated_at": now, "finished_at": func.coalesce(Task.finished_at, now)}
    may_move = (Task.id == task_id, Task.status.in_(sources(TASK_REMOVALS, TaskStatus.REMOVED)))
    return bool(
        changed(session, update(Task).where(*may_move).values(status=TaskStatus.REMOVED, playable=False, **ended))
    )


def claim(
    session: Session,
    worker: str,
    *,
    node: str,
    lease: float,
    now: datetime,
    owner_limit: int = 0,
    task_id: str | None = None,
) -> Claim | None:
    """Claim the next task of this data folder (`fair_queue.py`) for `lease` seconds; None without one.

    Never more than `owner_limit` tasks of one owner run, unless it is 0. With `task_id`, that task or none.
    """
    if owner_limit:
        fair_queue.serialize_claims(session, node)
    if task_id is None:
        row = fair_queue.next_task(session, node=node, lease=lease, owner_limit=owner_limit)
    else:
        row = fair_queue.this_task(session, task_id, node=node, lease=lease, owner_limit=owner_limit)
    if row is None:
        return None
    moved = changed(
        session,
        update(Task)
        .where(
            Task.id == row.id,
            Task.attempt == row.attempt,
            Task.status.in_(sources(TASK_MOVES, TaskStatus.PROCESSING)),
            claimable(Task, database_time(), database_time(horizon(lease))),
        )
        .values(
            status=TaskStatus.PROCESSING,
            attempt=Task.attempt + 1,
            # A worker that gave the task back on purpose has cleared its name.
            failures=Task.failures + case((Task.worker.is_not(None), 1), else_=0),
            worker=worker,
            lease_expires_at=database_time(lease),
            started_at=case((Task.started_at.is_(None), now), else_=Task.started_at),
            updated_at=now,
        ),
    )
    if not moved:
        return None
    attempt = row.attempt + 1
    events.append(session, row.id, "processing", owner=row.owner, at=now, attempt=attempt, data={"worker": worker})
    return Claim(row.id, row.owner, attempt, row.file_count)


def count_failed_attempts(session: Session, claimed: Claim) -> int:
    """How many attempts before this one ended without a result."""
    return session.scalars(select(Task.failures).where(Task.id == claimed.task_id)).one()


def heartbeat(
    session: Session,
    claimed: Claim,
    *,
    lease: float,
    progress: int,
    current_file: int,
    eta_seconds: int | None,
    now: datetime,
) -> bool:
    """Extend the lease and write the progress in percent; False when this worker no longer has the task."""
    return bool(
        changed(
            session,
            update(Task)
            .where(_is_claimed_by(claimed))
            .values(
                lease_expires_at=database_time(lease),
                progress=case((Task.progress < progress, progress), else_=Task.progress),
                current_file=current_file,
                eta_seconds=eta_seconds,
                updated_at=now,
            ),
        )
    )


def give_back(session: Session, claimed: Claim, *, now: datetime) -> None:
    """End a claim early, on purpose: the next worker may claim the task at once, and nothing counts as failed."""
    changed(
        session,
        update(Task)
        .where(_is_claimed_by(claimed))
        .values(worker=None, lease_expires_at=database_time(-1), updated_at=now),
    )


def postpone(session: Session, claimed: Claim, why: Failure, *, pause: float, now: datetime) -> bool:
    """End a claim early: the task waits for `pause` seconds, with a reason. False when this worker no longer has it."""
    values = {"worker": None, "waiting_code": why.code, "waiting_params": why.params, "eta_seconds": None}
    moved = changed(
        session,
        update(Task)
        .where(_is_claimed_by(claimed))
        .values(lease_expires_at=database_time(pause), updated_at=now, **values),
    )
    if moved:
        data = {"code": why.code, "seconds": round(pause, 1)}
        events.append_of_claim(session, claimed, "waiting", at=now, data=data)
    return bool(moved)


def expire_leases(session: Session, worker_prefix: str, *, now: datetime) -> int:
    """End the leases of workers that are known to be dead; the number of tasks that can be claimed again."""
    return changed(
        session,
        update(Task)
        .where(is_claimed(), Task.worker.startswith(worker_prefix, autoescape=True))
        .values(lease_expires_at=database_time(-1), updated_at=now),
    )


def finish(session: Session, claimed: Claim, *, now: datetime) -> TaskStatus | None:
    """End a task whose files have ended: `error` if all failed, else `completed`. None when this worker lost it.

    Files that were removed do not count.
    """
    if not update_claimed(
        session, claimed, {}
    ):  # first: a file that is removed meanwhile must not be judged by an old row
        return None
    ended = [file for file in files_of(session, claimed.task_id) if file.status is not FileStatus.REMOVED]
    failed = [file for file in ended if file.status is FileStatus.ERROR]
    values: dict[str, Any] = {"status": TaskStatus.COMPLETED, "partial": bool(failed), "progress": 100}
    values["playable"] = any(file.playable for file in ended)
    if len(failed) == len(ended):
        why = failed[0]
        values = {"status": TaskStatus.ERROR, "error_code": why.error_code, "error_params": why.error_params}
    return _end(session, claimed, values, now=now)


def fail_exhausted(session: Session, claimed: Claim, failure: Failure, *, now: datetime) -> TaskStatus | None:
    """Give up the file that was begun and cannot be completed: it becomes an error, as all do when none was begun.

    Returns the status of the task: with no file left it ends; files that were never begun still have all attempts. None
    when this worker no longer has the task. A step that had failed before keeps its reason.
    """
    if not update_claimed(session, claimed, {}):
        return None
    for file_id in _fail_files(session, claimed.task_id, failure, now=now):
        data = {"file": file_id, "code": failure.code}
        events.append_of_claim(session, claimed, "file_error", at=now, data=data)
    if any(file.status not in ends(FILE_MOVES) for file in files_of(session, claimed.task_id)):
        update_claimed(session, claimed, {"failures": 0})
        return TaskStatus.PROCESSING
    return finish(session, claimed, now=now)


def _end(session: Session, claimed: Claim, values: dict[str, Any], *, now: datetime) -> TaskStatus | None:
    status: TaskStatus = values["status"]
    common = {
        **_IDLE,
        "updated_at": now,
        "finished_at": now,
    }
    if not changed(session, update(Task).where(_is_claimed_by(claimed)).values(**values, **common)):
        return None
    data = {"code": values["error_code"]} if "error_code" in values else {"partial": values["partial"]}
    events.append_of_claim(session, claimed, status.value, at=now, data=data)
    return status


def _cancel_files(session: Session, task_id: str, *, now: datetime) -> None:
    _end_steps(session, _steps_of_open_files(task_id), StepStatus.CANCELLED, now=now)
    open_file = and_(TaskFile.task_id == task_id, TaskFile.status.in_(sources(FILE_MOVES, FileStatus.CANCELLED)))
    changed(session, update(TaskFile).where(open_file).values(status=FileStatus.CANCELLED, playable=False))


def _fail_files(session: Session, task_id: str, failure: Failure, *, now: datetime) -> Sequence[str]:
    """The files that were begun, or, when none was, the open ones."""
    open_file = and_(TaskFile.task_id == task_id, TaskFile.status.in_(sources(FILE_MOVES, FileStatus.ERROR)))
    begun = and_(open_file, TaskFile.status == FileStatus.PROCESSING)
    ids = session.scalars(select(TaskFile.id).where(begun).order_by(TaskFile.position)).all()
    if not ids:
        ids = session.scalars(select(TaskFile.id).where(open_file).order_by(TaskFile.position)).all()
    of = TaskStep.file_id.in_(ids)
    # The failure of the step before, if there was one, explains more than a worker that stopped responding.
    blamed = {
        "error_params": case(
            (TaskStep.error_code.is_(None), literal(failure.params, JSON())), else_=TaskStep.error_params
        ),
        "error_code": func.coalesce(TaskStep.error_code, failure.code),
    }
    _end_steps(session, and_(of, TaskStep.status == StepStatus.PROCESSING), StepStatus.ERROR, now=now, **blamed)
    _end_steps(session, of, StepStatus.SKIPPED, now=now)
    values = {"status": FileStatus.ERROR, "error_code": failure.code, "error_params": failure.params}
    changed(session, update(TaskFile).where(TaskFile.id.in_(ids)).values(**values))
    return ids


def _steps_of_open_files(task_id: str) -> ColumnElement[bool]:
    open_files = select(TaskFile.id).where(TaskFile.task_id == task_id, TaskFile.status.not_in(ends(FILE_MOVES)))
    return TaskStep.file_id.in_(open_files)


def cancel_steps(session: Session, file_ids: Sequence[str], *, now: datetime) -> None:
    """Cancel the steps of these files, unless they have ended."""
    _end_steps(session, TaskStep.file_id.in_(file_ids), StepStatus.CANCELLED, now=now)


def skip_steps(session: Session, file_id: str, *, now: datetime) -> None:
    """The steps of a file that has ended, which no worker will run."""
    _end_steps(session, TaskStep.file_id == file_id, StepStatus.SKIPPED, now=now)


def _end_steps(session: Session, of: ColumnElement[bool], status: StepStatus, *, now: datetime, **values: Any) -> None:
    open_step = and_(of, TaskStep.status.in_(sources(STEP_MOVES, status)))
    changed(session, update(TaskStep).where(open_step).values(status=status, finished_at=now, **values))


def update_claimed(session: Session, claimed: Claim, values: Mapping[str, Any]) -> bool:
    """Write into a claimed task's row, and lock it for this transaction; False when this worker no longer has it."""
    # The task's row is locked first: a cancel or a takeover waits for this transaction, or this one for it.
    return bool(changed(session, update(Task).where(_is_claimed_by(claimed)).values(attempt=Task.attempt, **values)))


def _is_claimed_by(claimed: Claim) -> ColumnElement[bool]:
    # A worker that gave the task back, or postponed it, may no longer write.
    return and_(Task.id == claimed.task_id, Task.attempt == claimed.attempt, is_claimed())
