"""A retry on request: a task that has ended, and in which something failed, waits again.

Rule: only an owner or an operator may make this move (`lifecycle.py` has separate tables for it). It locks the task's
row first, so it happens before or after every other change of the task, and nothing that has ended successfully runs
again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, false, func, or_, select, true, update
from sqlalchemy.orm import Session

from server.database.models import Task, TaskFile, TaskStep, Upload
from server.database.session import changed
from server.errors import TaskGoneError, TaskNotEndedError, TaskNotFoundError, TaskNotRetriedError
from server.lifecycle import (
    FILE_MOVES,
    FILE_RETRIES,
    STEP_RETRIES,
    TASK_RETRIES,
    FileStatus,
    StepStatus,
    TaskStatus,
    UploadStatus,
    ends,
    sources,
)
from server.tasks import events

_NAMES = 500  # characters of the names in a refusal


@dataclass(frozen=True)
class Retried:
    """Names of the files that wait again, and of those that cannot."""

    waiting: Sequence[str]
    left: Sequence[str]


def retry(
    session: Session,
    task_id: str,
    owner: str | None,
    *,
    node: str,
    has_bytes: Callable[[str], bool],
    now: datetime,
) -> Retried:
    """Put a task whose files failed, all or some of them, back to `uploaded`; what failed in them waits again.

    `has_bytes` takes an upload's id and returns whether its original lies in the data folder `node`. A file whose
    original is gone, or in quarantine, stays as it is. `owner` None is an operator, who may retry any task. Raises
    `TaskNotFoundError`, `TaskNotEndedError`, `TaskGoneError`, and `TaskNotRetriedError` when nothing would be tried
    again.
    """
    # Locked until the end: a worker, a cancel and a removal of the original come before it or after it.
    if not changed(session, update(Task).where(Task.id == task_id).values(attempt=Task.attempt)):
        raise TaskNotFoundError
    task = session.get_one(Task, task_id)
    if owner not in (None, task.owner):
        raise TaskNotFoundError
    _check(task, node)
    # A sweep removes the results of a cancelled task, also of completed files: all of them are made again.
    anew = task.status is TaskStatus.CANCELLED
    failed = _failed_files(session, task_id, anew)
    ready = [file for file, upload in failed if _can_be_read(file, upload, has_bytes)]
    left = [file for file, _ in failed if file not in ready]
    if not ready:
        raise _why_not(left)
    file_ids = [file.id for file in ready]
    _wait_again(session, file_ids, anew)
    changed(
        session,
        update(Task)
        .where(Task.id == task_id, Task.status.in_(sources(TASK_RETRIES, TaskStatus.UPLOADED)))
        .values(
            status=TaskStatus.UPLOADED,
            partial=False,
            playable=_is_playable(session, task_id),
            progress=100 * (task.file_count - len(ready)) // task.file_count,
            current_file=0,
            failures=0,
            step=None,
            error_code=None,
            error_params=None,
            finished_at=None,
            has_results=True,
            updated_at=now,
        ),
    )
    events.append(session, task_id, "retried", owner=task.owner, at=now, attempt=task.attempt, data={"files": file_ids})
    return Retried([file.name for file in ready], [file.name for file in left])


def _check(task: Task, node: str) -> None:
    if task.status not in sources(TASK_RETRIES, TaskStatus.UPLOADED):
        if task.finished_at is None:
            raise TaskNotEndedError(status=task.status.value)
        raise TaskGoneError
    if task.node != node:
        raise TaskNotRetriedError(reason="retry_folder")


def _failed_files(session: Session, task_id: str, anew: bool) -> Sequence[tuple[TaskFile, Upload]]:
    query = (
        select(TaskFile, Upload)
        .join(Upload, Upload.id == TaskFile.upload_id)
        .where(
            TaskFile.task_id == task_id,
            or_(true() if anew else false(), TaskFile.status.in_(sources(FILE_RETRIES, FileStatus.WAITING))),
        )
        .order_by(TaskFile.position)
    )
    found = [(file, upload) for file, upload in session.execute(query)]
    if not found:
        raise TaskNotRetriedError(reason="retry_nothing")
    return found


def _can_be_read(file: TaskFile, upload: Upload, has_bytes: Callable[[str], bool]) -> bool:
    # An infected one may still be in the store for a moment, until it is quarantined.
    is_there = upload.status is UploadStatus.COMPLETE and upload.has_bytes and has_bytes(upload.id)
    return is_there and file.scan != "infected"


def _why_not(left: Sequence[TaskFile]) -> TaskNotRetriedError:
    if all(file.scan == "infected" for file in left):
        return TaskNotRetriedError(reason="retry_infected")
    return TaskNotRetriedError(reason="retry_gone", names=", ".join(file.name for file in left)[:_NAMES])


def _wait_again(session: Session, file_ids: Sequence[str], anew: bool) -> None:
    fresh: dict[str, object] = {"progress": 0, "error_code": None, "error_params": None}
    if anew:
        gone = dict.fromkeys(("has_poster", "has_mp4", "has_hls", "has_storyboard", "playable"), False)
        waits = {"status": FileStatus.WAITING, **fresh, **gone}
        changed(session, update(TaskFile).where(TaskFile.id.in_(file_ids)).values(**waits))
        changed(session, delete(TaskStep).where(TaskStep.file_id.in_(file_ids)))
        return
    may_move = TaskFile.status.in_(sources(FILE_RETRIES, FileStatus.WAITING))
    changed(
        session, update(TaskFile).where(TaskFile.id.in_(file_ids), may_move).values(status=FileStatus.WAITING, **fresh)
    )
    may_move = TaskStep.status.in_(sources(STEP_RETRIES, StepStatus.WAITING))
    changed(
        session,
        update(TaskStep)
        .where(TaskStep.file_id.in_(file_ids), may_move)
        .values(status=StepStatus.WAITING, failures=0, started_at=None, finished_at=None, **fresh),
    )


def _is_playable(session: Session, task_id: str) -> bool:
    """Whether one file can be played, and every other one either can or has ended: the workers' condition."""
    of = select(func.count()).select_from(TaskFile).where(TaskFile.task_id == task_id)
    waits = session.scalar(of.where(TaskFile.playable.is_(False), TaskFile.status.not_in(ends(FILE_MOVES))))
    return bool(session.scalar(of.where(TaskFile.playable))) and not waits
