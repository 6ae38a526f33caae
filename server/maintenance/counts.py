"""How many uploads and tasks there are, for the metrics.

Rule: two statements a scrape, whatever is stored.
"""

from collections.abc import Mapping

from sqlalchemy import func, select

from server.database.models import Task, Upload
from server.database.session import Database
from server.lifecycle import TaskStatus, UploadStatus


def of(database: Database) -> tuple[int, Mapping[str, int]]:
    """Open uploads, and tasks by status, for the metrics. Blocking."""
    with database.read() as session:
        uploads = session.scalar(select(func.count()).where(Upload.status == UploadStatus.OPEN)) or 0
        tasks = session.execute(select(Task.status, func.count()).group_by(Task.status)).all()
    found = {status.value: 0 for status in TaskStatus}
    return uploads, found | {status.value: count for status, count in tasks}
