"""Deleting on request, as rows: a file of a task, or a whole task, is `removed`.

Rules:

- It locks the task's row first, as a worker does that publishes a result: the worker comes either before, and its
  result is removed with the rest, or after, and its write matches no row.
- Each function works in the transaction of its caller. `removing` means that files are still to leave the disk, which
  happens afterwards (`server/maintenance/removal.py`).
"""

from datetime import datetime
from typing import Any, cast

from sqlalchemy import ColumnElement, Row, Table, select, update
from sqlalchemy.orm import Session

from server.database.models import Task, TaskFile, Upload
from server.database.session import changed
from server.database.types import database_time
from server.errors import TaskNotFoundError, TaskRunningError
from server.lifecycle import (
    FILE_MOVES,
    FILE_REMOVALS,
    UPLOAD_MOVES,
    FileStatus,
    TaskStatus,
    UploadStatus,
    ends,
    sources,
)
from server.storage.result_store import MAIN
from server.tasks import events, queue

_tasks = cast("Table", Task.__table__)


def remove_file(session: Session, upload_id: str, *, now: datetime) -> bool:
    """The file of this upload becomes `removed`; with its last file, the task does too. Other files of the task go on.

    False when the upload is in no task. A group that waits for other uploads is left for `uploads/groups.py`.
    """
    task_id = session.scalar(select(TaskFile.task_id).where(TaskFile.upload_id == upload_id))
    task = None if task_id is None else _hold(session, task_id)
    if task is None:
        return False
    before = session.scalar(select(TaskFile.status).where(TaskFile.upload_id == upload_id))
    for file_id in _remove_files(session, TaskFile.upload_id == upload_id, now):
        data = {"file": file_id}
        events.append(session, task.id, "file_removed", owner=task.owner, at=now, attempt=task.attempt, data=data)
        if task.gather_until is None:
            _settle(session, task, before, now)
    return True


def remove_task(session: Session, task_id: str, owner: str | None, *, even_running: bool, now: datetime) -> None:
    """A task becomes `removed` with all its files, and its uploads `terminated`. A removed task stays as it is.

    `owner` None is an operator, who may remove any task. Raises `TaskNotFoundError`, and `TaskRunningError` for a task
    that is being processed, unless it may be `even_running`.
    """
    task = _hold(session, task_id)
    if task is None or owner not in (None, task.owner):
        raise TaskNotFoundError
    if task.status is TaskStatus.PROCESSING and not even_running:
        raise TaskRunningError
    _remove_files(session, TaskFile.task_id == task_id, now)
    may_move = (Upload.task_id == task_id, Upload.status.in_(sources(UPLOAD_MOVES, UploadStatus.TERMINATED)))
    # In the order of their ids, as in every transaction that changes several uploads.
    query = select(Upload.id, Upload.task_id, Upload.owner, Upload.concat).where(*may_move)
    rows = session.execute(query.order_by(Upload.id).with_for_update()).all()
    ended = {"status": UploadStatus.TERMINATED, "updated_at": now}
    changed(session, update(Upload).where(Upload.id.in_([row.id for row in rows])).values(**ended))
    for row in rows:
        events.append_of_upload(session.connection(), row, events.of_end(UploadStatus.TERMINATED), at=now)
    _end(session, task, now)


def _hold(session: Session, task_id: str) -> Row[Any] | None:
    return session.execute(select(_tasks).where(_tasks.c.id == task_id).with_for_update()).one_or_none()


def _remove_files(session: Session, of: ColumnElement[bool], now: datetime) -> list[str]:
    """The files that were not removed before, by id."""
    may_move = (of, TaskFile.status.in_(sources(FILE_REMOVALS, FileStatus.REMOVED)))
    ids = list(session.scalars(select(TaskFile.id).where(*may_move).order_by(TaskFile.position)))
    hidden = {"playable": False, **dict.fromkeys(MAIN, False)}
    values = {"status": FileStatus.REMOVED, "removing": True, **hidden}
    changed(session, update(TaskFile).where(TaskFile.id.in_(ids)).values(**values))
    queue.cancel_steps(session, ids, now=now)
    return ids


def _settle(session: Session, task: Row[Any], before: FileStatus | None, now: datetime) -> None:
    """What the loss of one file means for its task. `before` is the file's earlier status."""
    files = session.execute(select(TaskFile.status, TaskFile.playable).where(TaskFile.task_id == task.id)).all()
    left = [file for file in files if file.status is not FileStatus.REMOVED]
    if not left:
        _end(session, task, now)
        return
    waits = any(not file.playable and file.status not in ends(FILE_MOVES) for file in left)
    can_play = any(file.playable for file in left) and (not waits if task.finished_at is None else task.playable)
    values: dict[str, Any] = {"playable": can_play, "updated_at": now}
    if task.status is TaskStatus.PROCESSING and task.worker is None and before is FileStatus.PROCESSING:
        # It was postponed because of this file: the others need not wait any longer.
        values |= {"lease_expires_at": database_time(-1), "waiting_code": None, "waiting_params": None}
    changed(session, update(Task).where(Task.id == task.id).values(**values))


def _end(session: Session, task: Row[Any], now: datetime) -> None:
    if queue.remove(session, task.id, now=now):
        events.append(session, task.id, TaskStatus.REMOVED.value, owner=task.owner, at=now, attempt=task.attempt)
