"""What an owner has: bytes and numbers of uploads and tasks, added up from the rows.

Rules:

- It only looks. The rows are the truth, so nothing has to be given back when an upload ends.
- An open upload counts with its reservation, or with its bytes where it has more; a complete one with its length. An
  open final upload has the bytes of its parts, which count already: it adds only what several finals share, because
  each of them will have a copy of its own. A form counts as one open upload.
- What is being removed does not count.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Table,
    and_,
    bindparam,
    case,
    exists,
    func,
    select,
    text,
)

from server.database.models import TUS, Task, Upload, UploadPart
from server.database.prepared import Link, Prepared, Row
from server.lifecycle import UploadStatus

_uploads = cast("Table", Upload.__table__)
_parts = cast("Table", UploadPart.__table__)
_tasks = cast("Table", Task.__table__)
_final = _uploads.alias("final")


# Conditions as the indexes of some rows only have them: with a parameter in it, SQLite would not use such an index.
_HAS_BYTES = text("uploads.has_bytes")
_IS_WHOLE_PART = text("uploads.concat = 'partial' AND uploads.status = 'complete'")
_IS_READY = text("tasks.finished_at IS NULL AND tasks.gather_until IS NULL")
_GATHERS = text("tasks.gather_until IS NOT NULL")

_is_partial = func.coalesce(_uploads.c.concat, "") == "partial"
_is_final = func.coalesce(_uploads.c.concat, "partial") != "partial"
_lock = case((_uploads.c.protocol == TUS, _uploads.c.id), else_=_uploads.c.task_id)
_of_others = _lock != bindparam("lock")
# The task of a group has a row already.
_becomes_task = and_(~_is_partial, (_uploads.c.protocol != TUS) | (_uploads.c.task_id == _uploads.c.id))
_arriving = case((_uploads.c.received > _uploads.c.reserved, _uploads.c.received), else_=_uploads.c.reserved)
_open_bytes = case((_is_final, 0), else_=_arriving)
_created = case(
    (_is_final, 0),
    (_uploads.c.status == UploadStatus.OPEN, _arriving),
    (_uploads.c.status == UploadStatus.COMPLETE, _uploads.c.length),
    else_=_uploads.c.received,
)
_size_of_part = func.coalesce(_uploads.c.length, _arriving)


def _sum(of: ColumnElement[Any]) -> ColumnElement[int]:
    return func.coalesce(func.sum(of), 0)


_this = _uploads.c.owner == bindparam("owner")
_SELECT_OPEN = select(
    _sum(_open_bytes).label("size"),
    func.count(case((_of_others, _lock)).distinct()).label("uploads"),
    func.count(case((and_(_becomes_task, _of_others), _lock)).distinct()).label("coming"),
    _sum(case((_is_final, 1), else_=0)).label("finals"),
).where(_uploads.c.status == UploadStatus.OPEN, _HAS_BYTES)
_SELECT_COMPLETE = select(_sum(_uploads.c.length).label("size")).where(
    _uploads.c.status == UploadStatus.COMPLETE, _HAS_BYTES
)
_SELECT_PARTS = select(_sum(_uploads.c.length).label("size")).where(_IS_WHOLE_PART)
_SELECT_CREATED = select(_sum(_created).label("size")).where(_uploads.c.created_at >= bindparam("since"))
_wanted = (
    select(_parts.c.part_id, func.count().label("finals"))
    .join(_final, _final.c.id == _parts.c.final_id)
    .where(_final.c.owner == bindparam("owner"), _final.c.status == UploadStatus.OPEN, text("final.has_bytes"))
    .group_by(_parts.c.part_id)
    .having(func.count() > 1)
    .subquery("wanted")
)

_OPEN = Prepared(cast("Select[Any]", _SELECT_OPEN.where(_this)))
_COMPLETE = Prepared(_SELECT_COMPLETE.where(_this))
# Not `owner = …`: SQLite would prefer the index of the owner, and read each complete upload and each ended task.
_PARTS = Prepared(_SELECT_PARTS.where(func.coalesce(_uploads.c.owner, "") == bindparam("owner")))
_CREATED = Prepared(_SELECT_CREATED.where(_this))
_others_task = (func.coalesce(_tasks.c.owner, "") == bindparam("owner"), _tasks.c.id != bindparam("task"))
_READY = Prepared(select(func.count().label("number")).select_from(_tasks).where(_IS_READY, *_others_task))
_GATHERING = Prepared(select(func.count().label("number")).select_from(_tasks).where(_GATHERS, *_others_task))
_SHARED = Prepared(
    select(_sum(_size_of_part * (_wanted.c.finals - 1)).label("size")).join_from(
        _wanted, _uploads, _uploads.c.id == _wanted.c.part_id
    )
)


@dataclass(frozen=True)
class Usage:
    """What an owner has, in bytes and numbers; the names are those of the limits."""

    stored_bytes: int = 0
    open_bytes: int = 0
    open_uploads: int = 0
    daily_bytes: int = 0
    waiting_tasks: int = 0


class OwnerUsage:
    """The usage of one owner, each number when it is asked for first. Blocking.

    The uploads of the lock `lock` and the task `task` are left out of the numbers, not of the bytes.
    """

    def __init__(self, connection: Link, owner: str, now: datetime, *, lock: str = "", task: str = "") -> None:
        self._connection = connection
        self._owner = {"owner": owner}
        self._now = now
        self._lock = lock
        self._task = task
        self._found: Row | None = None

    @property
    def open_uploads(self) -> int:
        """Open uploads."""
        return int(self._open.uploads)

    @property
    def waiting_tasks(self) -> int:
        """Tasks that have not ended, and open uploads that will become one."""
        task = {"task": self._task}
        return int(self._open.coming) + self._one(_READY, **task) + self._one(_GATHERING, **task)

    @property
    def open_bytes(self) -> int:
        """Bytes of open uploads, and of partial ones that no final upload has joined yet."""
        return int(self._open.size) + self._one(_PARTS)

    @property
    def stored_bytes(self) -> int:
        """Bytes of all uploads, complete and open."""
        shared = self._one(_SHARED) if self._open.finals > 1 else 0
        return int(self._open.size) + shared + self._one(_COMPLETE)

    @property
    def daily_bytes(self) -> int:
        """Bytes of uploads that were created today (UTC), also of those that have ended."""
        return self._one(_CREATED, since=midnight(self._now))

    def all(self) -> Usage:
        """Every number."""
        return Usage(
            self.stored_bytes, self.open_bytes, self.open_uploads, self.daily_bytes, self.waiting_tasks
        )  # fmt: skip

    @property
    def _open(self) -> Row:
        if self._found is None:
            self._found = _OPEN.one_or_none(self._connection, self._owner | {"lock": self._lock})
        return self._found

    def _one(self, statement: Prepared, **parameters: object) -> int:
        row = statement.one_or_none(self._connection, {**self._owner, **parameters})
        return 0 if row is None else int(row[0])


def added_by_final(connection: Link, part_ids: Sequence[str]) -> int:
    """Bytes that a new final upload of these parts adds to what counts already. Blocking.

    The parts that an open final wants as well: each of the two will have those bytes.
    """
    wanted = exists().where(
        _parts.c.part_id == _uploads.c.id, _final.c.id == _parts.c.final_id, _final.c.status == UploadStatus.OPEN
    )
    query: Select[Any] = select(_sum(_size_of_part)).where(_uploads.c.id.in_(part_ids), wanted)
    return int(cast("Connection", connection).execute(query).scalar_one())


def midnight(now: datetime) -> datetime:
    """The begin of the day (UTC) of `now`."""
    return now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
