"""The queue: register, look up, cancel; claim, keep, end.

Rules:

- Every move of a task is one compare-and-set `UPDATE … WHERE status IN (…)`, built from the table in
  `lifecycle.py`; the number of rows it changed tells whether it happened.
- Whatever a worker writes bears `WHERE attempt = …`: once another has claimed the task, or it was cancelled, the
  first one's writes match nothing.
- Each function works in the transaction of its caller, and each change of state appends its event there.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, case, insert, or_, select, update
from sqlalchemy.orm import Session

from server.database.models import Task, TaskFile
from server.database.session import changed
from server.database.types import database_time
from server.errors import TaskEndedError, TaskNotFoundError
from server.lifecycle import FILE_MOVES, TASK_MOVES, FileStatus, TaskStatus, sources
from server.tasks import events


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
    """A task that a worker holds, under this attempt."""

    task_id: str
    owner: str
    attempt: int
    file_count: int


@dataclass(frozen=True)
class Failure:
    """Why something failed: a code of `messages.py` and its parameters."""

    code: str
    params: dict[str, Any]


def register(
    session: Session,
    task_id: str,
    owner: str,
    files: Sequence[NewFile],
    *,
    node: str,
    now: datetime,
    new_id: Callable[[], str],
) -> None:
    """Add a task with its files, whose bytes lie in the data folder `node`.

    An upload that is in a task already raises `IntegrityError`.
    """
    session.execute(
        insert(Task).values(
            id=task_id,
            owner=owner,
            node=node,
            status=TaskStatus.UPLOADED,
            partial=False,
            progress=0,
            current_file=0,
            file_count=len(files),
            attempt=0,
            failures=0,
            created_at=now,
            updated_at=now,
        )
    )
    session.execute(
        insert(TaskFile),
        [
            {
                "id": new_id(),
                "task_id": task_id,
                "upload_id": file.upload_id,
                "position": position,
                "name": file.name,
                "safe_name": file.safe_name,
                "size": file.size,
                "media_type": file.media_type,
                "status": FileStatus.WAITING,
                "progress": 0,
                "has_poster": False,
            }
            for position, file in enumerate(files, 1)
        ],
    )
    events.append(session, task_id, "uploaded", at=now, data={"files": len(files)})


def find(session: Session, task_id: str, owner: str) -> tuple[Task, Sequence[TaskFile]]:
    """A task and its files in order. Raises `TaskNotFoundError`."""
    task = session.get(Task, task_id)
    if task is None or task.owner != owner:
        raise TaskNotFoundError
    return task, files_of(session, task_id)


def files_of(session: Session, task_id: str) -> Sequence[TaskFile]:
    """The files of a task, in order."""
    return session.scalars(select(TaskFile).where(TaskFile.task_id == task_id).order_by(TaskFile.position)).all()


def cancel(session: Session, task_id: str, owner: str, *, now: datetime) -> None:
    """Cancel a task; one that is cancelled already stays so. Raises `TaskNotFoundError`, `TaskEndedError`."""
    task, _ = find(session, task_id, owner)
    moved = changed(
        session,
        update(Task)
        .where(Task.id == task_id, Task.status.in_(sources(TASK_MOVES, TaskStatus.CANCELLED)))
        .values(status=TaskStatus.CANCELLED, worker=None, lease_expires_at=None, updated_at=now, finished_at=now),
    )
    if moved:
        _end_files(session, task_id, FileStatus.CANCELLED, None)
        events.append(session, task_id, "cancelled", at=now, attempt=task.attempt)
        return
    session.expire(task)
    if task.status is not TaskStatus.CANCELLED:
        raise TaskEndedError(status=task.status)


def claim(session: Session, worker: str, *, node: str, lease: float, now: datetime) -> Claim | None:
    """Take the oldest task of this data folder that nobody works on, for `lease` seconds; None without one."""
    row = session.execute(
        select(Task.id, Task.owner, Task.attempt, Task.file_count)
        .where(Task.node == node, _claimable())
        .order_by(Task.created_at, Task.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    ).first()
    if row is None:
        return None
    moved = changed(
        session,
        update(Task)
        .where(Task.id == row.id, Task.attempt == row.attempt, _claimable())
        .values(
            status=TaskStatus.PROCESSING,
            attempt=Task.attempt + 1,
            # A worker that gave the task back on purpose has taken its name off.
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
    events.append(session, row.id, "processing", at=now, attempt=attempt, data={"worker": worker})
    return Claim(row.id, row.owner, attempt, row.file_count)


def failures(session: Session, claimed: Claim) -> int:
    """How many attempts before this one ended without a word."""
    return session.scalars(select(Task.failures).where(Task.id == claimed.task_id)).one()


def keep(session: Session, claimed: Claim, *, lease: float, progress: int, current_file: int, now: datetime) -> bool:
    """Extend the claim and tell the progress in percent; False when the task is no longer this worker's."""
    return bool(
        changed(
            session,
            update(Task)
            .where(_mine(claimed))
            .values(
                lease_expires_at=database_time(lease),
                progress=case((Task.progress < progress, progress), else_=Task.progress),
                current_file=current_file,
                updated_at=now,
            ),
        )
    )


def give_back(session: Session, claimed: Claim, *, now: datetime) -> None:
    """End a claim early, on purpose: the next worker may take the task at once, and nothing counts as failed."""
    changed(
        session,
        update(Task).where(_mine(claimed)).values(worker=None, lease_expires_at=database_time(-1), updated_at=now),
    )


def orphan(session: Session, worker_prefix: str, *, now: datetime) -> int:
    """End the leases of workers that are known to be dead; the number of tasks that can be claimed again."""
    return changed(
        session,
        update(Task)
        .where(Task.status == TaskStatus.PROCESSING, Task.worker.startswith(worker_prefix, autoescape=True))
        .values(lease_expires_at=database_time(-1), updated_at=now),
    )


def begin_file(session: Session, claimed: Claim, file_id: str) -> bool:
    """A file is being worked on; False when the task is no longer this worker's."""
    return _move_file(session, claimed, file_id, FileStatus.PROCESSING, {})


def file_progress(session: Session, claimed: Claim, file_id: str, progress: int) -> bool:
    """How far a file is, in percent; False when the task is no longer this worker's."""
    raised = case((TaskFile.progress < progress, progress), else_=TaskFile.progress)
    return _move_file(session, claimed, file_id, FileStatus.PROCESSING, {"progress": raised})


def complete_file(session: Session, claimed: Claim, file_id: str, found: Mapping[str, Any], *, now: datetime) -> bool:
    """A file is done; `found` are columns of its row. False when the task is no longer this worker's."""
    moved = _move_file(session, claimed, file_id, FileStatus.COMPLETED, {**found, "progress": 100})
    if moved:
        data = {"file": file_id}
        events.append(session, claimed.task_id, "file_completed", at=now, attempt=claimed.attempt, data=data)
    return moved


def fail_file(
    session: Session,
    claimed: Claim,
    file_id: str,
    failure: Failure,
    found: Mapping[str, Any],
    *,
    now: datetime,
) -> bool:
    """A file cannot be processed; what was found out before stays. False when no longer this worker's."""
    values = {**found, "error_code": failure.code, "error_params": failure.params}
    moved = _move_file(session, claimed, file_id, FileStatus.ERROR, values)
    if moved:
        data = {"file": file_id, "code": failure.code}
        events.append(session, claimed.task_id, "file_error", at=now, attempt=claimed.attempt, data=data)
    return moved


def finish(session: Session, claimed: Claim, *, now: datetime) -> TaskStatus | None:
    """End a task whose files have ended: `error` if all failed, else `completed`. None when not this worker's."""
    ended = [(file.status, file.error_code, file.error_params) for file in files_of(session, claimed.task_id)]
    failed = [item for item in ended if item[0] is FileStatus.ERROR]
    values: dict[str, Any] = {"status": TaskStatus.COMPLETED, "partial": bool(failed), "progress": 100}
    if len(failed) == len(ended):
        values = {"status": TaskStatus.ERROR, "error_code": failed[0][1], "error_params": failed[0][2]}
    return _end(session, claimed, values, now=now)


def give_up(session: Session, claimed: Claim, failure: Failure, *, now: datetime) -> TaskStatus | None:
    """End a task that cannot be brought to an end: `error`, with its open files. None when not this worker's."""
    values = {"status": TaskStatus.ERROR, "error_code": failure.code, "error_params": failure.params}
    status = _end(session, claimed, values, now=now)
    if status is not None:
        _end_files(session, claimed.task_id, FileStatus.ERROR, failure)
    return status


def _end(session: Session, claimed: Claim, values: dict[str, Any], *, now: datetime) -> TaskStatus | None:
    status: TaskStatus = values["status"]
    common = {"worker": None, "lease_expires_at": None, "updated_at": now, "finished_at": now}
    if not changed(session, update(Task).where(_mine(claimed)).values(**values, **common)):
        return None
    data = {"code": values["error_code"]} if "error_code" in values else {"partial": values["partial"]}
    events.append(session, claimed.task_id, status.value, at=now, attempt=claimed.attempt, data=data)
    return status


def _end_files(session: Session, task_id: str, status: FileStatus, failure: Failure | None) -> None:
    values: dict[str, Any] = {"status": status}
    if failure is not None:
        values |= {"error_code": failure.code, "error_params": failure.params}
    open_file = and_(TaskFile.task_id == task_id, TaskFile.status.in_(sources(FILE_MOVES, status)))
    changed(session, update(TaskFile).where(open_file).values(**values))


def _move_file(session: Session, claimed: Claim, file_id: str, status: FileStatus, values: Mapping[str, Any]) -> bool:
    # The task's row is locked first: whoever cancels or takes over waits for this transaction, or this one for him.
    if not changed(session, update(Task).where(_mine(claimed)).values(attempt=Task.attempt)):
        return False
    allowed = and_(TaskFile.id == file_id, TaskFile.status.in_(sources(FILE_MOVES, status)))
    return bool(changed(session, update(TaskFile).where(allowed).values(status=status, **values)))


def _mine(claimed: Claim) -> ColumnElement[bool]:
    return and_(
        Task.id == claimed.task_id,
        Task.attempt == claimed.attempt,
        Task.status == TaskStatus.PROCESSING,
    )


def _claimable() -> ColumnElement[bool]:
    return or_(
        Task.status == TaskStatus.UPLOADED,
        and_(Task.status == TaskStatus.PROCESSING, Task.lease_expires_at < database_time()),
    )
