"""task_events: what happened to a task and to its uploads, in order.

Rules:

- Rows are only added, in the transaction of the change that they record: live streams, webhooks and hooks read them as
  their outbox, so that nothing that happened is lost and nothing is reported that did not happen.
- A partial upload has no events: only the final one that is made of it means something to others.
"""

from datetime import datetime
from typing import Any, Protocol, cast

from sqlalchemy import Table, func, insert
from sqlalchemy.orm import Session

from server.database import after_commit
from server.database.models import TaskEvent
from server.database.prepared import Link, Prepared, Row, driver_of
from server.lifecycle import UploadStatus
from server.tus.protocol import is_partial

_events = cast("Table", TaskEvent.__table__)
CHANNEL = "videodock_events"
"""PostgreSQL notifies those that listen on it of a commit that added events."""

_COLUMNS = ("task_id", "owner", "upload_id", "at", "type", "attempt", "data")
_INSERT = Prepared(insert(_events), _COLUMNS)
# In the statement that is sent anyway. PostgreSQL drops repetitions within a transaction.
_INSERT_AND_NOTIFY = Prepared(insert(_events).returning(func.pg_notify(CHANNEL, "")), _COLUMNS)

UPLOAD_CREATED = "upload_created"
UPLOAD_FINISHED = "upload_finished"
PLAYABLE = "playable"


def of_end(status: UploadStatus) -> str:
    """The event of an upload that ends with this status."""
    return f"upload_{status.value}"


def append(
    session: Session,
    task_id: str,
    kind: str,
    *,
    owner: str,
    at: datetime,
    attempt: int = 0,
    data: dict[str, Any] | None = None,
) -> None:
    """Add one event of a task to the caller's transaction."""
    session.flush()
    append_plainly(session.connection(), task_id, kind, owner=owner, at=at, attempt=attempt, data=data)


def append_plainly(
    connection: Link,
    task_id: str,
    kind: str,
    *,
    owner: str,
    at: datetime,
    attempt: int = 0,
    data: dict[str, Any] | None = None,
) -> None:
    """The same by a prepared statement."""
    row = {"task_id": task_id, "owner": owner, "upload_id": None, "at": at, "type": kind, "attempt": attempt}
    _add(connection, {**row, "data": data})


class _Claimed(Protocol):
    """What a worker has claimed."""

    @property
    def task_id(self) -> str: ...
    @property
    def owner(self) -> str: ...
    @property
    def attempt(self) -> int: ...


def append_of_claim(
    session: Session, claimed: _Claimed, kind: str, *, at: datetime, data: dict[str, Any] | None = None
) -> None:
    """Add one event of the task that a worker has claimed."""
    append(session, claimed.task_id, kind, owner=claimed.owner, at=at, attempt=claimed.attempt, data=data)


def append_of_upload(
    connection: Link, upload: Row, kind: str, *, at: datetime, data: dict[str, Any] | None = None
) -> None:
    """Add one event of an upload to the caller's transaction; `upload` has its `id`, `task_id`, `owner`, `concat`."""
    if is_partial(upload.concat):
        return
    of = {"task_id": upload.task_id, "owner": upload.owner, "upload_id": upload.id}
    _add(connection, {**of, "at": at, "type": kind, "attempt": 0, "data": data})


def _add(connection: Link, row: Row) -> None:
    after_commit.note()
    (_INSERT_AND_NOTIFY if driver_of(connection) is None else _INSERT).change(connection, row)
