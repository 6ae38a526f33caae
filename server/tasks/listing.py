"""Lists of tasks: pages of an owner's tasks, or of all, with what their status needs.

Rules:

- A page takes the same few statements however many tasks it has.
- A search by name reads names along the same order, at most `MOST_EXAMINED` tasks for one page: then the page ends,
  short or empty, with the place to go on from. It compares as people do, in both databases alike: whatever the case of
  the letters, and however accents are composed.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from server.database import keyset
from server.database.keyset import Key, Span
from server.database.models import Task, TaskFile, TaskStep, Upload
from server.lifecycle import TaskStatus, UploadStatus
from server.tasks.file_steps import SCAN
from server.tasks.status import UNENDED, TaskRows

MOST_EXAMINED = 10_000
"""Tasks whose names one page of a search may read."""


@dataclass(frozen=True)
class TaskPage:
    """The rows of a page, and the place of its last one; None where no other page follows."""

    tasks: Sequence[TaskRows]
    last: Key | None


def statuses(words: Iterable[TaskStatus], *, with_removed: bool) -> frozenset[TaskStatus]:
    """The states that these words of the documented API mean; no word is all. A removed task is shown as `cancelled`,
    and is listed only where it is asked for."""
    wanted = set(words) or set(TaskStatus) - {TaskStatus.REMOVED}
    if with_removed and TaskStatus.CANCELLED in wanted:
        wanted.add(TaskStatus.REMOVED)
    return frozenset(wanted)


def page(session: Session, span: Span, name: str, after: Key | None, limit: int) -> TaskPage:
    """At most `limit` tasks after a place; with `name`, those that have it in their title or in a file's name.

    In a snapshot. Blocking.
    """
    if name:
        keys, last = _search(session, span, folded(name), after, limit)
    else:
        keys = list(islice(keyset.newest(session, Task, span, after, limit + 1), limit + 1))
        last = keys[limit - 1] if len(keys) > limit else None
    found = rows(session, keyset.ids(keys[:limit]))
    session.expunge_all()
    return TaskPage(found, last)


def _search(session: Session, span: Span, wanted: str, after: Key | None, limit: int) -> tuple[list[Key], Key | None]:
    """The places of the tasks that have the name, and where to go on; None after the last one."""
    size = min(limit + 1, keyset.LARGEST_BATCH)
    every = keyset.newest(session, Task, span, after, size)
    found: list[Key] = []
    examined = 0
    while examined < MOST_EXAMINED:
        size = min(size, MOST_EXAMINED - examined)
        batch = list(islice(every, size))
        examined += size
        names = _names(session, keyset.ids(batch))
        for key in batch:
            after = key
            if any(wanted in folded(name) for name in names[key.id]):
                found.append(key)
                if len(found) == limit:
                    return found, key
        if len(batch) < size:
            return found, None
        size = min(keyset.GROWTH * size, keyset.LARGEST_BATCH)  # what is rare is far
    return found, after


def _names(session: Session, ids: Sequence[str]) -> defaultdict[str, list[str]]:
    """Titles and names of files, by task."""
    names: defaultdict[str, list[str]] = defaultdict(list)
    for one, name in session.execute(select(TaskFile.task_id, TaskFile.name).where(TaskFile.task_id.in_(ids))):
        names[one].append(name)
    for one, title in session.execute(select(Task.id, Task.title).where(Task.id.in_(ids), Task.title.is_not(None))):
        names[one].append(title or "")
    return names


def with_name(session: Session, ids: Sequence[str], name: str) -> list[str]:
    """Those of these tasks that have `name` in their title or in a file's name. Blocking."""
    found: list[str] = []
    for first in range(0, len(ids), keyset.LARGEST_BATCH):
        batch = ids[first : first + keyset.LARGEST_BATCH]
        names = _names(session, batch)
        found += [one for one in batch if any(folded(name) in folded(known) for known in names[one])]
    return found


def folded(text: str) -> str:
    """A name as people compare it: whatever its case, and however its accents are composed."""
    return text.lower() if text.isascii() else unicodedata.normalize("NFC", text).casefold()


def rows(session: Session, ids: Sequence[str]) -> list[TaskRows]:
    """The rows of these tasks, in this order. Blocking."""
    tasks = {task.id: task for task in session.scalars(select(Task).where(Task.id.in_(ids)))}
    files: defaultdict[str, list[TaskFile]] = defaultdict(list)
    for file in session.scalars(select(TaskFile).where(TaskFile.task_id.in_(ids)).order_by(TaskFile.position)):
        files[file.task_id].append(file)
    steps: defaultdict[str, list[TaskStep]] = defaultdict(list)
    for step in _running_scans(session, ids):
        steps[step.file_id].append(step)
    arrived = _arrived(session, [task.id for task in tasks.values() if task.gather_until])
    return [
        TaskRows(task, files[task.id], steps, arrived.get(task.id, 0) if task.gather_until else len(files[task.id]))
        for task in (tasks[one] for one in ids)
    ]


def _running_scans(session: Session, ids: Sequence[str]) -> Iterable[TaskStep]:
    """The steps that keep results from being shown: lists need no others."""
    query = select(TaskStep).join(TaskFile, TaskFile.id == TaskStep.file_id).where(TaskFile.task_id.in_(ids))
    return session.scalars(query.where(TaskStep.name == SCAN, TaskStep.status.in_(UNENDED)))


def _arrived(session: Session, gathering: Sequence[str]) -> dict[str, int]:
    """How many uploads of each group are whole."""
    if not gathering:
        return {}
    query = select(Upload.task_id, func.count()).where(Upload.task_id.in_(gathering))
    counted = session.execute(query.where(Upload.status == UploadStatus.COMPLETE).group_by(Upload.task_id))
    return {row[0]: row[1] for row in counted}
