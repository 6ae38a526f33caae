"""task_events: what happened to a task, in order.

Rule: rows are only added, in the transaction of the change that they record.
"""

from datetime import datetime
from typing import Any, cast

from sqlalchemy import Table, insert
from sqlalchemy.orm import Session

from server.database.models import TaskEvent
from server.database.prepared import Prepared

_events = cast("Table", TaskEvent.__table__)
_INSERT = Prepared(insert(_events), ("task_id", "at", "type", "attempt", "data"))


def append(
    session: Session, task_id: str, kind: str, *, at: datetime, attempt: int = 0, data: dict[str, Any] | None = None
) -> None:
    """Add one event to the caller's transaction."""
    row = {"task_id": task_id, "at": at, "type": kind, "attempt": attempt, "data": data}
    session.flush()
    _INSERT.change(session.connection(), row)
