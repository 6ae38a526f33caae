"""What an owner may change of a task: its title and the text that it passes through.

Rule: a change locks the task's row first, so it happens before or after a removal, and a removed task stays as it is.
"""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from server.database.models import Task
from server.database.session import changed
from server.errors import TaskGoneError, TaskNotFoundError
from server.lifecycle import TaskStatus

TITLE_CHARACTERS = 255


def change(
    session: Session, task_id: str, owner: str | None, values: Mapping[str, str | None], *, now: datetime
) -> None:
    """Set `title`, `passthrough` or both of a task; None clears. `owner` None may change any task.

    Raises `TaskNotFoundError`, `TaskGoneError`.
    """
    task = session.execute(select(Task.owner, Task.status).where(Task.id == task_id).with_for_update()).one_or_none()
    if task is None or owner not in (None, task.owner):
        raise TaskNotFoundError
    if task.status is TaskStatus.REMOVED:
        raise TaskGoneError
    if values:
        changed(session, update(Task).where(Task.id == task_id).values(**values, updated_at=now))
