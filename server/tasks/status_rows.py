"""The rows that a status is made of, by prepared statements.

Rule: no objects of the ORM and no session: polls are the most frequent request, and each reads three tables.
"""

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import ARRAY, Connection, Select, String, Table, any_, bindparam, func, select

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

_TASKS = select(*(column for column in _tasks.c if column.key not in _LEFT_OUT))
_FILES_OF = select(*(column for column in _files.c if column.key not in _LEFT_OUT_OF_FILES)).order_by(_files.c.position)
_STEPS_OF = (
    select(*(_steps.c[name] for name in _OF_STEPS))
    .select_from(_files.join(_steps, _steps.c.file_id == _files.c.id))
    .order_by(_steps.c.position)
)
_IS_WHOLE = _uploads.c.status == UploadStatus.COMPLETE

_TASK = Prepared(_TASKS.where(_tasks.c.id == bindparam("task")))
_FILES = Prepared(_FILES_OF.where(_files.c.task_id == bindparam("task")))
_STEPS = Prepared(_STEPS_OF.where(_files.c.task_id == bindparam("task")))
_ARRIVED = Prepared(
    select(func.count().label("number")).select_from(_uploads).where(_uploads.c.task_id == bindparam("task"), _IS_WHOLE)
)

# The same of several tasks, for a database that is reached over a network.
_any = any_(bindparam("tasks", type_=ARRAY(String)))
_OF_TASKS: Mapping[str, Select[Any]] = {
    "tasks": _TASKS.where(_tasks.c.id == _any),
    "files": _FILES_OF.where(_files.c.task_id == _any),
    "steps": _STEPS_OF.where(_files.c.task_id == _any),
    "arrived": select(_uploads.c.task_id, func.count().label("number"))
    .where(_uploads.c.task_id == _any, _IS_WHOLE)
    .group_by(_uploads.c.task_id),
}


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


def look_all(connection: Connection, task_ids: Collection[str]) -> Mapping[str, TaskRows]:
    """The rows of those of these tasks that are there, as `look`. Blocking."""
    if connection.dialect.name == "sqlite":
        looked = {task_id: look(connection, task_id) for task_id in task_ids}
        return {task_id: found for task_id, found in looked.items() if found is not None}

    def rows(name: str, ids: Collection[str]) -> Sequence[Row]:
        return connection.execute(_OF_TASKS[name], {"tasks": list(ids)}).all() if ids else ()

    tasks = rows("tasks", task_ids)
    files: dict[str, list[Row]] = {task.id: [] for task in tasks}
    for file in rows("files", files):
        files[file.task_id].append(file)
    steps: dict[str, list[Row]] = {}
    for step in rows("steps", files):
        steps.setdefault(step.file_id, []).append(step)
    arrived = {row.task_id: row.number for row in rows("arrived", [task.id for task in tasks if task.gather_until])}
    found = {}
    for task in tasks:
        own = files[task.id]
        number = arrived.get(task.id, 0) if task.gather_until else len(own)
        found[task.id] = TaskRows(task, own, {file.id: steps[file.id] for file in own if file.id in steps}, number)
    return found


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
