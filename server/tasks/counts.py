"""Numbers of uploads and tasks for the metrics.

Rule: every number comes from an index, so that a scrape costs the same with a million tasks that have ended; only the
count by status reads them all, from an index too.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import func, select

from server.database.models import Task, Upload
from server.database.session import Database
from server.lifecycle import TaskStatus, UploadStatus
from server.observability import Gauge
from server.tasks import claimable


def by_status(database: Database) -> tuple[int, Mapping[str, int]]:
    """Open uploads, and tasks by status. Blocking."""
    with database.read() as session:
        uploads = session.scalar(select(func.count()).where(Upload.status == UploadStatus.OPEN)) or 0
        tasks = session.execute(select(Task.status, func.count()).group_by(Task.status)).all()
    found = {status.value: 0 for status in TaskStatus}
    return uploads, found | {status.value: count for status, count in tasks}


def queue(database: Database, now: datetime, lease: float) -> Sequence[Gauge]:
    """What waits, what runs, what a worker abandoned, and for how long. `lease` is in seconds. Blocking."""
    too_far = now + timedelta(seconds=claimable.horizon(lease))
    is_waiting = claimable.claimable(Task, now, too_far)
    is_running = claimable.is_running(Task, now, too_far)
    with database.read() as session:
        waiting = session.scalar(select(func.count()).where(is_waiting)) or 0
        oldest: datetime | None = session.scalar(select(func.min(Task.created_at)).where(is_waiting))
        running = session.scalar(select(func.count()).where(claimable.is_open(Task), is_running)) or 0
        abandoned = session.scalar(
            select(func.count()).where(claimable.is_open(Task), claimable.is_claimed(), Task.lease_expires_at < now)
        )
        postponed = session.execute(
            select(Task.waiting_code, func.count())
            .where(claimable.is_open(Task), Task.waiting_code.is_not(None))
            .group_by(Task.waiting_code)
        ).all()
        gathering = session.scalar(
            select(func.count()).where(Task.finished_at.is_(None), Task.gather_until.is_not(None))
        )
    age = 0.0 if oldest is None else max(0.0, (now - oldest).total_seconds())
    return [
        Gauge("videodock_tasks_waiting", "Tasks that a worker could claim now.", waiting),
        Gauge("videodock_tasks_running", "Tasks that a worker works on.", running),
        Gauge("videodock_tasks_gathering", "Tasks that wait for uploads of their group.", gathering or 0),
        Gauge("videodock_tasks_abandoned", "Tasks whose worker has let its lease expire.", abandoned or 0),
        Gauge("videodock_oldest_waiting_task_seconds", "Age of the oldest task that could be claimed now.", age),
        Gauge(
            "videodock_tasks_postponed",
            "Open tasks that were set aside, by reason.",
            {str(code): count for code, count in postponed},
            "reason",
        ),
    ]
