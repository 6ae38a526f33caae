"""Lists of tasks in another order than the newest first: by name, duration or size, or the oldest first.

Rule: no index has these orders, so a page reads and sorts the newest `MOST_SORTED` tasks of the owner, the states and
the time that are asked for, and says when there were more. A page costs what these cost, wherever it begins.
"""

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from server.database import keyset
from server.database.keyset import Span
from server.database.models import Task, TaskFile
from server.errors import CursorInvalidError
from server.tasks import listing
from server.tasks.status import TaskRows

MOST_SORTED = 10_000
"""Tasks that a page sorts."""

Value = str | float | None
Values = Mapping[str, Value]

_MARK_BYTES = 8
_MOST_CURSOR = 8192  # characters


class Sort(StrEnum):
    """What tasks are sorted by."""

    CREATED = "created"
    NAME = "name"
    """The title, or else the name of the first file; upper and lower case are the same."""
    DURATION = "duration"
    """Seconds of all files; what is unknown comes last."""
    SIZE = "size"
    """Bytes of all files."""


class Order(StrEnum):
    """The largest first, or the smallest."""

    DESC = "desc"
    ASC = "asc"


@dataclass(frozen=True)
class Place:
    """The place of a task in the order."""

    value: Value
    id: str

    def is_after(self, other: "Place", order: Order) -> bool:
        """Whether it comes later in this order."""
        if (self.value is None) != (other.value is None):
            return self.value is None
        mine, others = (self.value or 0, self.id), (other.value or 0, other.id)
        if self.value is not None and isinstance(self.value, str) != isinstance(other.value, str):
            raise CursorInvalidError
        return mine > others if order is Order.ASC else mine < others


@dataclass(frozen=True)
class SortedPage:
    """The rows of a page, the place of its last one if another page follows, and whether some tasks were not looked
    at."""

    tasks: Sequence[TaskRows]
    last: Place | None
    truncated: bool


def page(
    session: Session, span: Span, name: str, sort: Sort, order: Order, after: Place | None, limit: int
) -> SortedPage:
    """At most `limit` tasks after a place; with `name`, those that have it in their title or in a file's name.

    In a snapshot. Blocking.
    """
    found = list(islice(keyset.newest(session, Task, span, None, keyset.LARGEST_BATCH), MOST_SORTED + 1))
    ids = keyset.ids(found[:MOST_SORTED])
    values = {key.id: key.at.isoformat() for key in found} if sort is Sort.CREATED else _values(session, ids, sort)
    if name:
        ids = listing.with_name(session, ids, name)
    places = [Place(values.get(one), one) for one in ids]
    known = sorted((place for place in places if place.value is not None), key=_key, reverse=order is Order.DESC)
    unknown = sorted((place for place in places if place.value is None), key=_key, reverse=order is Order.DESC)
    left = [place for place in (*known, *unknown) if after is None or place.is_after(after, order)]
    shown = left[:limit]
    rows = listing.rows(session, [place.id for place in shown])
    session.expunge_all()
    return SortedPage(rows, shown[-1] if len(left) > limit else None, len(found) > MOST_SORTED)


def _key(place: Place) -> tuple[Any, str]:
    return place.value if place.value is not None else 0, place.id


def _values(session: Session, ids: Sequence[str], sort: Sort) -> Values:
    read: Callable[[Session, Sequence[str]], Values] = _names if sort is Sort.NAME else _sums(sort)
    values: dict[str, Value] = {}
    for first in range(0, len(ids), keyset.LARGEST_BATCH):
        values.update(read(session, ids[first : first + keyset.LARGEST_BATCH]))
    return values


def _sums(sort: Sort) -> Callable[[Session, Sequence[str]], Values]:
    column = TaskFile.duration if sort is Sort.DURATION else TaskFile.size

    def read(session: Session, ids: Sequence[str]) -> Values:
        query = select(TaskFile.task_id, func.sum(column)).where(TaskFile.task_id.in_(ids)).group_by(TaskFile.task_id)
        return {row[0]: None if row[1] is None else float(row[1]) for row in session.execute(query)}

    return read


def _names(session: Session, ids: Sequence[str]) -> Values:
    files = select(TaskFile.task_id, TaskFile.name).where(TaskFile.task_id.in_(ids)).order_by(TaskFile.position.desc())
    names: dict[str, Value] = {row[0]: listing.folded(row[1]) for row in session.execute(files)}
    titles = select(Task.id, Task.title).where(Task.id.in_(ids), Task.title.is_not(None))
    return names | {row[0]: listing.folded(row[1] or "") for row in session.execute(titles)}


# Cursors


def write_cursor(place: Place, mark: bytes) -> str:
    """The cursor of the page that follows; `mark` binds it to the list, as those of `keyset`."""
    packed = mark + json.dumps([place.value, place.id], separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def read_cursor(text: str, mark: bytes) -> Place:
    """The place that a cursor of this list names. Raises `CursorInvalidError`."""
    try:
        if len(text) > _MOST_CURSOR:
            raise CursorInvalidError
        packed = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), b"-_", validate=True)
        value, its_id = json.loads(packed[_MARK_BYTES:])
    except (ValueError, TypeError, binascii.Error, RecursionError):
        raise CursorInvalidError from None
    is_value = value is None or (isinstance(value, str | float | int) and not isinstance(value, bool))
    if packed[:_MARK_BYTES] != mark or not is_value or not isinstance(its_id, str):
        raise CursorInvalidError
    return Place(value, its_id)
