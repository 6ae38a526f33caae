"""Rows of uploads, tasks and the audit log as an operator reads them: dictionaries of the documented columns.

Rule: it only looks; keys are the names of columns (docs/database.md), and the newest comes first.
"""

from collections.abc import Sequence
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import Select, or_, select
from sqlalchemy.orm import Session

from server.database import keyset
from server.database.access_models import AuditEntry
from server.database.keyset import Span
from server.database.models import Task, TaskEvent, TaskFile, TaskStep, Upload, UploadPart
from server.lifecycle import TaskStatus, UploadStatus

_MOST_BY_KEY = 1000  # rows; more are sorted

Record = dict[str, Any]


def tasks(session: Session, statuses: Sequence[str], owner: str | None, limit: int) -> list[Record]:
    """Tasks in one of these states (in any, if none is named); at most `limit`, 0 for all. In a snapshot."""
    return _newest(session, Task, TaskStatus, statuses, owner, limit)


def uploads(session: Session, statuses: Sequence[str], owner: str | None, limit: int) -> list[Record]:
    """Uploads, likewise."""
    return _newest(session, Upload, UploadStatus, statuses, owner, limit)


def task(session: Session, task_id: str) -> Record | None:
    """A task with its `files`, each with its `steps`, and its `events`; None for an unknown id."""
    found = _read(session, select(Task.__table__).where(Task.id == task_id))
    if not found:
        return None
    of_task = TaskFile.task_id == task_id
    files = _read(session, select(TaskFile.__table__).where(of_task).order_by(TaskFile.position))
    of_file = select(TaskStep.__table__).join(TaskFile, TaskFile.id == TaskStep.file_id).where(of_task)
    steps = _read(session, of_file.order_by(TaskStep.position))
    for file in files:
        file["steps"] = [step for step in steps if step["file_id"] == file["id"]]
    events = select(TaskEvent.__table__).where(TaskEvent.task_id == task_id).order_by(TaskEvent.id)
    return {**found[0], "files": files, "events": _read(session, events)}


def upload(session: Session, upload_id: str) -> Record | None:
    """An upload, with the ids of its `parts` if it is made of some; None for an unknown id."""
    found = _read(session, select(Upload.__table__).where(Upload.id == upload_id))
    if not found:
        return None
    parts = select(UploadPart.part_id).where(UploadPart.final_id == upload_id).order_by(UploadPart.position)
    return {**found[0], "parts": list(session.scalars(parts))}


def audit_entries(
    session: Session, owner: str | None, actions: Sequence[str], since: datetime | None, limit: int
) -> list[Record]:
    """Entries of the audit log: by this owner or on what is this owner's, of these actions (of any, if none is named),
    since a time; at most `limit`, 0 for all."""
    query = select(AuditEntry.__table__).order_by(AuditEntry.id.desc())
    if owner is not None:
        query = query.where(or_(AuditEntry.owner == owner, AuditEntry.object_owner == owner))
    if actions:
        query = query.where(AuditEntry.action.in_(actions))
    if since is not None:
        query = query.where(AuditEntry.at >= since)
    return _read(session, query.limit(limit) if limit else query)


def _newest(
    session: Session,
    of: type[Task] | type[Upload],
    states: type[TaskStatus] | type[UploadStatus],
    statuses: Sequence[str],
    owner: str | None,
    limit: int,
) -> list[Record]:
    query = select(of.__table__).order_by(of.created_at.desc(), of.id.desc())
    span = Span(owner=owner, statuses=frozenset(states(word) for word in statuses) or frozenset(states))
    if 0 < limit <= _MOST_BY_KEY:
        keys = islice(keyset.newest(session, of, span, None, limit), limit)
        return _read(session, query.where(of.id.in_(keyset.ids(keys))))
    query = query.where(of.status.in_(span.statuses))
    if owner is not None:
        query = query.where(of.owner == owner)
    return _read(session, query.limit(limit) if limit else query)


def _read(session: Session, query: Select[Any]) -> list[Record]:
    return [dict(row) for row in session.execute(query).mappings()]
