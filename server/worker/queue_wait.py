"""How long the tasks that wait will take: those before them, and their own work.

Rule: a time is written only where there is ground for it. Waiting files were not looked at, so they are judged by size
and type, as the last files of this machine were; where those differ much, or a running task has no time, none is shown.
It reads and writes the first few waiting tasks, in the order in which they came.
"""

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from server import media_types
from server.database.models import Task, TaskFile
from server.database.session import changed
from server.lifecycle import TaskStatus
from server.pipeline.step import Step
from server.settings import Settings
from server.tasks.claimable import is_open
from server.worker import planning
from server.worker.learned_costs import LearnedCosts
from server.worker.remaining import Left

_TASKS = 32
_TOLD = 0.5  # the part of the seconds that may be in doubt
_CHANGE, _CHANGE_SECONDS = 0.1, 3.0  # what is not worth a write


@dataclass(frozen=True, kw_only=True)
class QueueWait:
    """The queue of one embedded scheduler, which runs `limit` tasks at once."""

    settings: Settings
    node: str
    costs: LearnedCosts
    steps: Sequence[Step]
    limit: int

    def write(self, session: Session, running: Sequence[int | None]) -> None:
        """Write the seconds of the tasks that wait; `running` are those that the running tasks have left."""
        waiting = session.execute(
            select(Task.id, Task.eta_seconds)
            .where(Task.node == self.node, is_open(Task), Task.lease_expires_at.is_(None))
            .order_by(Task.created_at)
            .limit(_TASKS)
        ).all()
        if not waiting:
            return
        forecasts = forecast(self._works(session, [row.id for row in waiting]), running, self.limit)
        for row in waiting:
            before, now = row.eta_seconds, forecasts.get(row.id)
            if _differs(before, now):
                still = (Task.id == row.id, Task.status == TaskStatus.UPLOADED, Task.worker.is_(None))
                changed(session, update(Task).where(*still).values(eta_seconds=now))

    def _works(self, session: Session, ids: Sequence[str]) -> Mapping[str, Left]:
        """What each of these tasks costs, in their order."""
        found = dict.fromkeys(ids, Left())
        files = select(TaskFile.task_id, TaskFile.size, TaskFile.media_type).where(TaskFile.task_id.in_(ids))
        for file in session.execute(files):
            media_type = media_types.get(file.media_type) if file.media_type else None
            steps = [step for step in self.steps if step.applies_to(media_type) and step.is_wanted(self.settings)]
            one = self.costs.expect(planning.by_size(steps, file.size, file.media_type, self.settings))
            found[file.task_id] += Left(one.seconds, one.seconds * one.doubt)
        return found


def forecast(works: Mapping[str, Left], running: Sequence[int | None], limit: int) -> Mapping[str, int]:
    """When each task has ended, in seconds from now: the next one begins when the first that runs has ended. Those
    without ground for a time are missing."""
    known = [float(left) for left in running if left is not None]
    if len(known) < len(running):
        return {}
    slots = known + [0.0] * max(0, limit - len(known))
    heapq.heapify(slots)
    forecasts: dict[str, int] = {}
    total = Left(sum(known), 0.0)
    for task_id, work in works.items():
        total += work
        if total.doubt > _TOLD * total.seconds:
            break
        ends = heapq.heappop(slots) + work.seconds
        heapq.heappush(slots, ends)
        forecasts[task_id] = max(1, math.ceil(ends))
    return forecasts


def _differs(before: int | None, now: int | None) -> bool:
    if before is None or now is None:
        return before is not now
    return abs(before - now) > max(_CHANGE_SECONDS, _CHANGE * before)
