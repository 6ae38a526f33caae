"""The rows that a status is made of, by prepared statements.

Rule: no objects of the ORM and no session: polls are the most frequent request, and each reads three tables. On
PostgreSQL one statement reads them all: a round trip costs as much as the rows.
"""

import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    FromClause,
    String,
    Table,
    bindparam,
    case,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by, psycopg

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


def _arrays(rows: Prepared, of: FromClause, position: Column[Any]) -> ColumnElement[Any]:
    """The rows of a task in one value: an array of `Prepared.as_json`."""
    every = func.json_agg(aggregate_order_by(rows.as_json(), position))
    return select(every).select_from(of).where(_files.c.task_id == _tasks.c.id).scalar_subquery()


_complete: ColumnElement[str] = literal_column(f"'{UploadStatus.COMPLETE.value}'")
_whole = select(func.count()).where(_uploads.c.task_id == _tasks.c.id, _uploads.c.status == _complete).scalar_subquery()
_IN_ONE = (
    select(
        _TASK.as_json(),
        _arrays(_FILES, _files, _files.c.position),
        _arrays(_STEPS, _files.join(_steps, _steps.c.file_id == _files.c.id), _steps.c.position),
        case((_tasks.c.gather_until.is_not(None), _whole)),
    )
    .select_from(_tasks)
    .where(_tasks.c.id == func.any(bindparam("tasks", type_=ARRAY(String))))
)


@cache
def _sql_in_one() -> str:
    return str(_IN_ONE.compile(dialect=psycopg.dialect()))  # type: ignore[no-untyped-call]


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
    if isinstance(connection, Connection) and connection.dialect.name == "postgresql":
        return _look_in_one(connection, [task_id]).get(task_id)
    of = {"task": task_id}
    task = _TASK.first(connection, of)
    if task is None:
        return None
    files = _FILES.all(connection, of)
    arrived = _ARRIVED.all(connection, of)[0].number if task.gather_until else len(files)
    return TaskRows(task, files, _by_file(_STEPS.all(connection, of)), arrived)


def look_all(connection: Connection | sqlite3.Connection, task_ids: Collection[str]) -> dict[str, TaskRows]:
    """The rows of several tasks, by their ids; of those that are there. Blocking."""
    if isinstance(connection, Connection) and connection.dialect.name == "postgresql":
        return _look_in_one(connection, task_ids)
    found = ((task_id, look(connection, task_id)) for task_id in task_ids)
    return {task_id: rows for task_id, rows in found if rows is not None}


def _look_in_one(connection: Connection, task_ids: Collection[str]) -> dict[str, TaskRows]:
    found = {}
    for task, files, steps, arrived in connection.exec_driver_sql(_sql_in_one(), {"tasks": list(task_ids)}):
        rows = [_FILES.of_json(file) for file in files or ()]
        by_file = _by_file(_STEPS.of_json(step) for step in steps or ())
        of_task = TaskRows(_TASK.of_json(task), rows, by_file, len(rows) if arrived is None else arrived)
        found[of_task.task.id] = of_task
    return found


def _by_file(steps: Iterable[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for step in steps:
        found.setdefault(step.file_id, []).append(step)
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
    files = [_FILES.unpack(file) for file in packed["files"]]
    steps = _by_file(map(_STEPS.unpack, packed["steps"]))
    return TaskRows(_TASK.unpack(packed["task"]), files, steps, int(packed["arrived"]))
