"""How long the last steps took, for estimates.

Rule: one look along the index of ended tasks, at a few dozen of them, whatever the tables hold. Only steps that came to
their end in the first attempt count: the times of the others contain pauses.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from server.database.models import Task, TaskFile, TaskStep
from server.lifecycle import StepStatus, TaskStatus

_TASKS, _FILES = 60, 200
_FACTS = ("size", "container", "duration", "width", "height", "frame_rate", "video_codec", "audio_codec", "hdr")


@dataclass(frozen=True)
class StepTime:
    """One step, and the facts of its file: the columns of its row."""

    file_id: str
    name: str
    facts: Mapping[str, object]
    started_at: datetime
    finished_at: datetime


def last(session: Session, node: str) -> Sequence[StepTime]:
    """The steps of the last tasks of this data folder, the oldest first."""
    newest = (
        select(Task.id, Task.status, Task.attempt)
        .where(Task.node == node, Task.finished_at.is_not(None))
        .order_by(Task.finished_at.desc(), Task.id.desc())
        .limit(_TASKS)
    )
    tasks = [row.id for row in session.execute(newest) if row.attempt == 1 and row.status is TaskStatus.COMPLETED]
    columns = [getattr(TaskFile, name) for name in _FACTS]
    of_tasks = select(TaskFile.id, *columns).where(TaskFile.task_id.in_(tasks)).limit(_FILES)
    files = {row.id: {name: getattr(row, name) for name in _FACTS} for row in session.execute(of_tasks)}
    ended = select(TaskStep.file_id, TaskStep.name, TaskStep.started_at, TaskStep.finished_at).where(
        TaskStep.file_id.in_(list(files)),
        TaskStep.status == StepStatus.COMPLETED,
        TaskStep.failures == 0,
        TaskStep.started_at.is_not(None),
        TaskStep.finished_at.is_not(None),
    )
    found = [
        StepTime(row.file_id, row.name, files[row.file_id], row.started_at, row.finished_at)
        for row in session.execute(ended)
    ]
    return sorted(found, key=lambda one: one.finished_at)


def crowds(times: Sequence[StepTime]) -> Sequence[float]:
    """For each of these steps, how many of them ran meanwhile on average, itself included."""
    found = []
    for one in times:
        seconds = (one.finished_at - one.started_at).total_seconds()
        shared = sum(
            max(0.0, (min(one.finished_at, other.finished_at) - max(one.started_at, other.started_at)).total_seconds())
            for other in times
        )
        found.append(max(1.0, shared / seconds) if seconds > 0 else 1.0)
    return found
