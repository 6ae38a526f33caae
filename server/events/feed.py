"""The events in order, for readers that remember how far they are.

Rules:

- The number of an event is all that a reader remembers; nothing before it comes again, and nothing is left out.
- PostgreSQL numbers an event before its transaction commits, so that a later number may be seen first. A reader waits
  for a missing number until every transaction has ended that ran when it was missed: after that it never comes. SQLite
  has one writer at a time, and no such numbers.
"""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import Connection, Row, Select, Table, bindparam, func, select, text

from server.database.models import TaskEvent
from server.database.session import Database
from server.errors import UnavailableError

PAGE = 500
_LOOK_BACK = 500
_SETTLE_SECONDS = 10.0
_SETTLE_PAUSE = 0.01

_events = cast("Table", TaskEvent.__table__)
_NEWEST = select(func.max(_events.c.id))
_SOME = select(_events.c.at).where(_events.c.id > bindparam("after")).order_by(_events.c.id).limit(50).subquery()
_EARLIEST, _LATEST = select(func.min(_SOME.c.at)), select(func.max(_SOME.c.at))
_CLOCKS = timedelta(hours=1)
"""By how much the time of an event may differ from its place among the others."""
_RUNNING = text(
    "SELECT CAST(CAST(pg_snapshot_xmax(pg_current_snapshot()) AS text) AS bigint) AS next, "
    "CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint) AS oldest"
)
# A transaction that inserts into a table has this lock on it until its end, and takes it before the row has its number.
_ADDING = text(
    "SELECT virtualtransaction FROM pg_locks WHERE locktype = 'relation' AND mode = 'RowExclusiveLock' AND granted "
    "AND relation = CAST('task_events' AS regclass) "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


@dataclass(frozen=True, slots=True)
class Event:
    """One row of `task_events`."""

    id: int
    task_id: str
    owner: str
    upload_id: str | None
    at: datetime
    type: str
    attempt: int
    data: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class _Doubt:
    """Numbers up to `newest` are missing, and may still appear while a transaction before `until` runs."""

    newest: int
    until: int


class EventFeed:
    """Reads on from an event; every reader has one of its own. Everything here blocks."""

    def __init__(self, database: Database, after: int) -> None:
        self._database = database
        self._doubt: _Doubt | None = None
        self._certain = 0
        self.after = after
        """The last event that was read; the next page begins after it."""

    @staticmethod
    def newest(database: Database) -> int:
        """The number of the newest event, 0 without one: where a reader begins that wants what comes from now on."""
        with database.look() as connection:
            return connection.scalar(_NEWEST) or 0

    @staticmethod
    def place_now(database: Database) -> int:
        """The place of a reader that wants every event which is committed after this call. Blocking.

        No event up to this number is committed later. On PostgreSQL this waits for the transactions that are adding
        events, which take milliseconds; it delays none of them. Raises `UnavailableError` when one of them does not end
        within 10 seconds.
        """
        newest = EventFeed.newest(database)
        # After the number was read: a transaction with a lower one has its lock until it ends.
        with database.look() as connection:
            if connection.dialect.name == "sqlite":
                return newest
            before = set(connection.scalars(_ADDING))
        deadline = time.monotonic() + _SETTLE_SECONDS
        while before:
            if time.monotonic() >= deadline:
                raise UnavailableError(part="database")
            _pause()
            with database.look() as connection:
                before &= set(connection.scalars(_ADDING))
        return newest

    @property
    def is_waiting(self) -> bool:
        """Whether the last page ended before a number that may still appear."""
        return self._doubt is not None

    @classmethod
    def from_now(cls, database: Database) -> "EventFeed":
        """Begins a little before the newest event, so that it still gets those whose transactions run, in order."""
        return cls(database, max(0, cls.newest(database) - _LOOK_BACK))

    def read(self, limit: int = PAGE) -> Sequence[Event]:
        """The next events, at most `limit`; none while there are none, or while one before them may still come."""
        query = select(_events).where(_events.c.id > self.after).order_by(_events.c.id).limit(limit)
        with self._database.look() as connection:
            if self._doubt is not None and self._doubt.until <= _running(connection).oldest:
                self._certain, self._doubt = self._doubt.newest, None
            # After that look: what those transactions brought is seen now.
            found = [Event(**row) for row in connection.execute(query).mappings()]
            if connection.dialect.name != "sqlite":
                found = found[: self._without_gap(connection, found)]
        if found:
            self.after = found[-1].id
        return found

    def _without_gap(self, connection: Connection, found: Sequence[Event]) -> int:
        """How many of these come before a number that may still appear."""
        before = self.after
        for index, event in enumerate(found):
            if event.id > max(before, self._certain) + 1:
                if self._doubt is None:
                    # In this order: a transaction with a number up to the newest runs at the second look, or has ended.
                    newest = connection.scalar(_NEWEST) or 0
                    self._doubt = _Doubt(newest, _running(connection).next)
                return index
            before = event.id
        return len(found)


def _pause() -> None:
    time.sleep(_SETTLE_PAUSE)


def past(
    connection: Connection, *, task_id: str | None, owner: str | None, after: int, until: int, limit: int
) -> Sequence[Event]:
    """Events after one and until another, which a feed has read; of a task, else of an owner, else all. Blocking."""
    query = select(_events).where(_events.c.id > after, _events.c.id <= until).order_by(_events.c.id).limit(limit)
    if task_id is not None:
        query = query.where(_events.c.task_id == task_id)
    if owner is not None:
        query = query.where(_events.c.owner == owner)
    return [Event(**row) for row in connection.execute(query).mappings()]


def span(connection: Connection, since: datetime, until: datetime) -> tuple[int, int]:
    """Two numbers between which all events of a time are: after the first one, up to the second one. Blocking.

    There is no index of times, which each event would pay for. Numbers and times rise together but for the clocks of
    several hosts, so a search by halves finds the place; it looks at some events at each step, so that a few with a
    wrong time mislead it to no wrong side.
    """
    newest = connection.scalar(_NEWEST) or 0
    return (
        _halve(connection, newest, _LATEST, lambda latest: latest >= since - _CLOCKS),
        _halve(connection, newest, _EARLIEST, lambda earliest: earliest > until + _CLOCKS),
    )


def _halve(connection: Connection, newest: int, of_some: Select[datetime], is_later: Callable[[datetime], bool]) -> int:
    """The lowest number after which some events are later; the newest one without them."""
    low, high = 0, newest
    while low < high:
        middle = (low + high) // 2
        found = connection.scalar(of_some, {"after": middle})
        if found is None or is_later(found):
            high = middle
        else:
            low = middle + 1
    return low


def last_of(connection: Connection, task_id: str, types: Collection[str] = ()) -> Event | None:
    """The newest event of a task, of these types if there are any. Blocking."""
    query = select(_events).where(_events.c.task_id == task_id).order_by(_events.c.id.desc()).limit(1)
    row = connection.execute(query.where(_events.c.type.in_(types)) if types else query).mappings().one_or_none()
    return None if row is None else Event(**row)


def _running(connection: Connection) -> Row[tuple[int, int]]:
    """The number of the transaction that comes next, and that of the oldest one which runs. PostgreSQL only.

    A transaction has its number by the time it adds an event, because it has changed another row before.
    """
    return connection.execute(_RUNNING).one()
