"""Which tasks may be claimed, which run, and which a worker holds: conditions in SQL.

Rules:

- All code that claims, counts or lists tasks uses these conditions. Their SQL text matches the indexes of `tasks`.
- A task is open while it has not ended and waits for no upload. An open task runs while the lease of its worker lasts.
  Otherwise it may be claimed. A postponed task may be claimed as soon as its pause is over.
- The caller passes the times: PostgreSQL uses an index only for a time that it computes once.
"""

from typing import Any

from sqlalchemy import ColumnElement, and_, or_

from server.database.models import Task
from server.lifecycle import TaskStatus

LONGEST_PAUSE = 300.0
"""A postponed task pauses for so many seconds at most. So no lease ends later than this, or than a worker's own."""

_MARGIN = 60.0


def horizon(lease: float) -> float:
    """Seconds from now beyond which no lease can end: one that does was given before the clock was set back, and is
    ignored. `lease` is the workers' setting, in seconds."""
    return max(lease, LONGEST_PAUSE) + _MARGIN


def is_open(task: Any) -> ColumnElement[bool]:
    """The task has not ended, and waits for no upload. `task` is the model or an alias of it."""
    return and_(task.finished_at.is_(None), task.gather_until.is_(None))


def free_leases(
    task: Any, now: Any, too_far: Any
) -> tuple[ColumnElement[bool], ColumnElement[bool], ColumnElement[bool]]:
    """The three cases in which no lease prevents a claim: there is none, it has expired, or it lies beyond the horizon.

    `too_far` is the horizon as a time.
    """
    lease = task.lease_expires_at
    return lease.is_(None), lease < now, lease > too_far


def claimable(task: Any, now: Any, too_far: Any) -> ColumnElement[bool]:
    """The task may be claimed now."""
    return and_(is_open(task), or_(*free_leases(task, now, too_far)))


def is_running(task: Any, now: Any, too_far: Any) -> ColumnElement[bool]:
    """A worker has claimed it, and its lease lasts."""
    return and_(task.worker.is_not(None), task.lease_expires_at.between(now, too_far))


def is_claimed() -> ColumnElement[bool]:
    """A worker has claimed it, whether or not its lease lasts."""
    return and_(Task.status == TaskStatus.PROCESSING, Task.worker.is_not(None))
