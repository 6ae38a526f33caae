"""Progress of uploads and tasks for live streams, from their rows.

Rule: a look costs what moves, and not what is stored: running tasks are found along their own index, and open uploads
by their ids, at most `_MOST` of them. Progress has no number: a client that resumes gets the newest.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Connection, Table, select

from server.database.models import Task, Upload
from server.events.feed import Event
from server.events.types import TASK_PROGRESS, UPLOAD_ENDS, UPLOAD_PROGRESS
from server.lifecycle import UploadStatus
from server.tasks.events import UPLOAD_CREATED, UPLOAD_FINISHED
from server.tus.protocol import PARTIAL

_MOST = 5000
_OF_OWNER = 500
_AT_ONCE = 500

_tasks = cast("Table", Task.__table__)
_uploads = cast("Table", Upload.__table__)
_RUNNING = select(
    _tasks.c.id, _tasks.c.owner, _tasks.c.progress, _tasks.c.step, _tasks.c.eta_seconds, _tasks.c.waiting_code
).where(_tasks.c.worker.is_not(None))
_OPEN = (
    select(_uploads.c.id, _uploads.c.task_id, _uploads.c.owner, _uploads.c.received, _uploads.c.length)
    .where(_uploads.c.status == UploadStatus.OPEN, _uploads.c.concat.is_distinct_from(PARTIAL))
    .limit(_OF_OWNER)
)
_RECEIVED = select(_uploads.c.id, _uploads.c.received, _uploads.c.length).where(_uploads.c.status == UploadStatus.OPEN)


@dataclass(frozen=True, slots=True)
class Progress:
    """A task or an upload has come on. `received` and `length` are bytes of an upload."""

    type: str
    task_id: str
    owner: str
    upload_id: str | None = None
    received: int = 0
    length: int | None = None


@dataclass(frozen=True, slots=True)
class Interest:
    """What a stream follows: one task, the tasks of an owner, or with neither all."""

    task_id: str | None
    owner: str | None


@dataclass(slots=True)
class _Watched:
    task_id: str
    owner: str
    received: int


class ProgressWatch:
    """What has moved since the last look; for the thread of one reader."""

    def __init__(self, is_wanted: Callable[[str, str], bool]) -> None:
        """`is_wanted` tells whether a stream follows a task, by its id and owner."""
        self._is_wanted = is_wanted
        self._uploads: dict[str, _Watched] = {}
        self._tasks: dict[str, tuple[Any, ...]] = {}

    def learn(self, events: Iterable[Event]) -> None:
        """Uploads that begin and end."""
        for event in events:
            if event.upload_id is None:
                continue
            if event.type == UPLOAD_CREATED and self._is_wanted(event.task_id, event.owner):
                self._watch(event.upload_id, event.task_id, event.owner, 0)
            elif event.type == UPLOAD_FINISHED or event.type in UPLOAD_ENDS:
                self._uploads.pop(event.upload_id, None)

    def begin(self, connection: Connection, interests: Iterable[Interest]) -> None:
        """Find the open uploads of new streams. Blocking."""
        for interest in interests:
            query = _OPEN
            if interest.task_id is not None:
                query = query.where(_uploads.c.task_id == interest.task_id)
            elif interest.owner is not None:
                # By the index of what an owner has stored.
                query = query.where(_uploads.c.has_bytes, _uploads.c.owner == interest.owner)
            for row in connection.execute(query):
                self._watch(row.id, row.task_id, row.owner, row.received)

    def look(self, connection: Connection) -> Sequence[Progress]:
        """What has moved. Blocking."""
        return [*self._of_tasks(connection), *self._of_uploads(connection)]

    def _watch(self, upload_id: str, task_id: str, owner: str, received: int) -> None:
        if len(self._uploads) < _MOST:
            self._uploads.setdefault(upload_id, _Watched(task_id, owner, received))

    def _of_tasks(self, connection: Connection) -> Sequence[Progress]:
        before, self._tasks, found = self._tasks, {}, []
        for row in connection.execute(_RUNNING):
            if not self._is_wanted(row.id, row.owner):
                continue
            self._tasks[row.id] = now = tuple(row)
            if before.get(row.id, now) != now:
                found.append(Progress(TASK_PROGRESS, row.id, row.owner))
        return found

    def _of_uploads(self, connection: Connection) -> Sequence[Progress]:
        self._uploads = {key: one for key, one in self._uploads.items() if self._is_wanted(one.task_id, one.owner)}
        ids, found, is_open = list(self._uploads), [], set()
        for start in range(0, len(ids), _AT_ONCE):
            some = _RECEIVED.where(_uploads.c.id.in_(ids[start : start + _AT_ONCE]))
            for row in connection.execute(some):
                is_open.add(row.id)
                one = self._uploads[row.id]
                if row.received > one.received:
                    one.received = row.received
                    made = Progress(UPLOAD_PROGRESS, one.task_id, one.owner, row.id, row.received, row.length)
                    found.append(made)
        for upload_id in set(ids) - is_open:
            self._uploads.pop(upload_id, None)
        return found
