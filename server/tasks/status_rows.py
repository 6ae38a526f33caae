"""The rows that a status is made of, by prepared statements.

Rule: no objects of the ORM and no session: polls are the most frequent request, and each reads three tables.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Connection, Table, bindparam, func, select

from server.database.models import Task, TaskFile, TaskStep, Upload
from server.database.prepared import Prepared, Row
from server.errors import TaskNotFoundError
from server.lifecycle import UploadStatus

_tasks = cast("Table", Task.__table__)
_files = cast("Table", TaskFile.__table__)
_steps = cast("Table", TaskStep.__table__)
_uploads = cast("Table", Upload.__table__)

# What no status shows.
_LEFT_OUT = {"node", "failures", "has_results", "worker", "lease_expires_at", "started_at"}
_LEFT_OUT_OF_FILES = {"safe_name", "media_type", "removing"}
_OF_STEPS = ("file_id", "name", "status", "progress", "error_code", "error_params", "started_at", "finished_at")

_TASK = Prepared(
    select(*(column for column in _tasks.c if column.key not in _LEFT_OUT)).where(_tasks.c.id == bindparam("task"))
)
_FILES = Prepared(
    select(*(column for column in _files.c if column.key not in _LEFT_OUT_OF_FILES))
    .where(_files.c.task_id == bindparam("task"))
    .order_by(_files.c.position)
)
_STEPS = Prepared(
    select(*(_steps.c[name] for name in _OF_STEPS))
    .select_from(_files.join(_steps, _steps.c.file_id == _files.c.id))
    .where(_files.c.task_id == bindparam("task"))
    .order_by(_steps.c.position)
)
_ARRIVED = Prepared(
    select(func.count().label("number"))
    .select_from(_uploads)
    .where(_uploads.c.task_id == bindparam("task"), _uploads.c.status == UploadStatus.COMPLETE)
)


@dataclass(frozen=True)
class TaskRows:
    """What a status is made of: the task, its files in order, their steps by file, and how many uploads are whole.

    The rows have the columns of `Task`, `TaskFile` and `TaskStep` that a status shows.
    """

    task: Any
    files: Sequence[Any]
    steps: Mapping[str, Sequence[Any]]
    arrived: int


def look(connection: Connection | sqlite3.Connection, task_id: str) -> TaskRows | None:
    """The rows of a task of any owner, or None. Blocking."""
    of = {"task": task_id}
    task = _TASK.first(connection, of)
    if task is None:
        return None
    files = _FILES.all(connection, of)
    steps: dict[str, list[Row]] = {}
    for step in _STEPS.all(connection, of):
        steps.setdefault(step.file_id, []).append(step)
    arrived = _ARRIVED.all(connection, of)[0].number if task.gather_until else len(files)
    return TaskRows(task, files, steps, arrived)


def check(found: TaskRows | None, owner: str | None) -> TaskRows:
    """These rows, if they are there and belong to the owner; None is any. Raises `TaskNotFoundError`."""
    if found is None or owner not in (None, found.task.owner):
        raise TaskNotFoundError
    return found


def pack(found: TaskRows) -> dict[str, Any]:
    """The same as values that JSON has, for `unpack`."""
    return {
        "task": _TASK.pack(found.task),
        "files": [_FILES.pack(file) for file in found.files],
        "steps": [_STEPS.pack(step) for steps in found.steps.values() for step in steps],
        "arrived": found.arrived,
    }


def unpack(packed: Mapping[str, Any]) -> TaskRows:
    """The rows of `pack`. Raises `TypeError`, `ValueError`, `LookupError` for what another version has packed."""
    steps: dict[str, list[Row]] = {}
    for step in map(_STEPS.unpack, packed["steps"]):
        steps.setdefault(step.file_id, []).append(step)
    files = [_FILES.unpack(file) for file in packed["files"]]
    return TaskRows(_TASK.unpack(packed["task"]), files, steps, int(packed["arrived"]))
