"""Stores the totals of past days, so that a report of a month reads few rows, however many uploads there are.

Rules:

- Only a sweep writes totals, one day per transaction and never today: the views add later days from the rows.
- A day is summed again when an event says that it has changed, as long as all its rows exist. After that, its totals
  stay as they are: they outlive the rows.
- A transaction may commit some time after the time in its rows; so each sweep reads the last minutes again.
- Each write checks that nothing was written and no owner was renamed since its rows were read. Of two sweeps at once,
  one writes; the other leaves the rest to the next sweep.
- The totals of each owner may be behind those of all owners: after an upgrade, and when a host of an earlier version
  sweeps. A sweep makes up for that first.
- Memory depends on the kinds, owners and times of a day's uploads, not on their number.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, TextClause, bindparam, delete, func, insert, select, text, update
from sqlalchemy.orm import Session

from server.database.models import TaskEvent
from server.database.report_models import (
    ReportOwners,
    ReportOwnerTimes,
    ReportQueue,
    ReportState,
    ReportTasks,
    ReportTimes,
    ReportUploads,
    ReportVideos,
    ReportWaits,
)
from server.database.session import Database
from server.database.types import UtcDateTime

_MARGIN = timedelta(minutes=15)
_DAY = timedelta(days=1)
_DAYS_AT_ONCE = 31
"""The first sums of a large database take many sweeps, so that each of them does its other work too."""

# Owner by owner along the index (owner, created_at): there is none by time alone.
_FACTS_OF = """
WITH RECURSIVE seen(owner) AS (
    SELECT min(owner) FROM {table}
    UNION ALL
    SELECT (SELECT min(u.owner) FROM {table} u WHERE u.owner > seen.owner) FROM seen WHERE seen.owner IS NOT NULL
)
SELECT {columns}
FROM seen CROSS JOIN {facts} f
WHERE f.owner = seen.owner AND f.created_at >= :since AND f.created_at < :until
"""
_UPLOADS = _FACTS_OF.format(
    table="uploads",
    facts="upload_facts",
    columns="f.owner, f.created_at, f.protocol, f.client, f.outcome, f.reason, f.bytes, f.arrived, f.resumed, "
    "f.complete_ms, f.playable_ms, f.processed_ms, f.container, f.video_codec, f.resolution, f.hdr, f.seconds",
)
_TASKS = _FACTS_OF.format(
    table="tasks", facts="task_facts", columns="f.status, f.partly_failed, f.files, f.waited_ms, f.took_ms"
)
_MOVES = """
SELECT hour, entered, started, ended, ms FROM queue_moves
WHERE id > :after AND id < :before AND at >= :since AND at < :until
"""
_FIRST = """
WITH RECURSIVE seen(owner) AS (
    SELECT min(owner) FROM uploads
    UNION ALL
    SELECT (SELECT min(u.owner) FROM uploads u WHERE u.owner > seen.owner) FROM seen WHERE seen.owner IS NOT NULL
)
SELECT min(at) AS at FROM (
    SELECT (SELECT min(u.created_at) FROM uploads u WHERE u.owner = seen.owner) AS at FROM seen
) AS one
"""
_CHANGED = """
SELECT DISTINCT f.day FROM task_events e JOIN upload_facts f ON f.upload_id = e.upload_id WHERE e.id > :after
UNION
SELECT DISTINCT f.day
FROM task_events e JOIN task_files x ON x.task_id = e.task_id JOIN upload_facts f ON f.upload_id = x.upload_id
WHERE e.id > :after AND e.upload_id IS NULL
UNION
SELECT DISTINCT f.day FROM task_events e JOIN task_facts f ON f.task_id = e.task_id WHERE e.id > :after
"""

_OF_DAYS: Sequence[type[Any]] = (ReportUploads, ReportTimes, ReportVideos, ReportTasks)
_OF_OWNERS: Sequence[type[Any]] = (ReportOwners, ReportOwnerTimes)

Sums = Mapping[type[Any], list[dict[str, Any]]]


@dataclass(frozen=True)
class _State:
    kept_until: datetime
    kept_event: int
    looked_event: int
    owners_until: datetime
    owners_event: int
    version: int

    @property
    def known_event(self) -> int:
        """All sums know of the changes of the events up to this one."""
        return min(self.looked_event, self.owners_event)


class _OvertakenError(Exception):
    """Another sweep wrote sums, or an owner was renamed, since the state was read."""


def keep(database: Database, now: datetime, *, row_retention: int) -> Sequence[str]:
    """Sum up the days that are over, and again those that have changed since the last sweep; their dates.

    `row_retention` is the setting, in seconds. Blocking.
    """
    with database.read() as session:
        connection = session.connection()
        state = _state(connection)
        # Before anything is summed up: later changes are found by the next sweep.
        looked = _looked(connection, state, now)
        changed = _changed_days(connection, state, now, row_retention)
        begun, behind = _has_sums(connection, state), state.owners_until < state.kept_until
        first = None if begun and not behind else _first_day(connection)
    keeper = _Keeper(database, state, [])
    try:
        keeper.sum_again(changed)
        if behind:
            keeper.make_up_for_owners(first or state.kept_until)
        if begun or first is not None:
            keeper.sum_new(state.kept_until if begun or first is None else first, _midnight(now - _MARGIN))
        if looked != state.known_event:
            now_known = {name: max(looked, getattr(state, name)) for name in ("looked_event", "owners_event")}
            keeper.move(replace(keeper.state, **now_known))
    except _OvertakenError:
        pass  # the next sweep does the rest
    return sorted({day.date().isoformat() for day in keeper.written})


@dataclass
class _Keeper:
    """Writes sums. `state` is that of its own last write; `written` are the days that it wrote."""

    database: Database
    state: _State
    written: list[datetime]

    def sum_again(self, days: Sequence[datetime]) -> None:
        """Sum up kept days once more."""
        for day in days:
            of_owners = _OF_OWNERS if day < self.state.owners_until else ()
            with self.database.read() as session:
                sums = _sums_of_day(session.connection(), day)
            self._write(self.state, day, sums, (*_OF_DAYS, *of_owners))

    def make_up_for_owners(self, first: datetime) -> None:
        """Sum up by owner the days that are kept without it; `first` is that of the first upload."""
        day = max(self.state.owners_until, first)
        for _ in range(_DAYS_AT_ONCE):
            if day >= self.state.kept_until:
                break
            with self.database.read() as session:
                sums = _sums_of_day(session.connection(), day)
            self._write(replace(self.state, owners_until=day + _DAY), day, sums, _OF_OWNERS)
            day += _DAY
        if day >= self.state.kept_until > self.state.owners_until:
            self.move(replace(self.state, owners_until=self.state.kept_until))

    def sum_new(self, day: datetime, until: datetime) -> None:
        """Sum up `day`, the first after those that are kept, and those that follow."""
        for _ in range(_DAYS_AT_ONCE):
            if day >= until:
                break
            end, state = day + _DAY, self.state
            with self.database.read() as session:
                connection = session.connection()
                sums = {**_sums_of_day(connection, day), **_sums_of_hours(connection, state, day)}
                after = replace(state, kept_until=end, kept_event=_last_before(connection, state.kept_event, end))
            tables: tuple[type[Any], ...] = (*_OF_DAYS, ReportQueue, ReportWaits)
            if state.owners_until == state.kept_until:
                after, tables = replace(after, owners_until=end), (*tables, *_OF_OWNERS)
            self._write(after, day, sums, tables)
            day = end

    def move(self, after: _State) -> None:
        """Write the state alone."""
        with self.database.write(lazy=True) as session:
            moved = self._advance(session, after)
        self.state = moved

    def _write(self, after: _State, day: datetime, sums: Sums, tables: Sequence[type[Any]]) -> None:
        with self.database.write(lazy=True) as session:
            moved = self._advance(session, after)
            for model in tables:
                if hasattr(model, "day"):
                    session.execute(delete(model).where(model.day == day.date().isoformat()))
                if sums[model]:
                    session.execute(insert(model.__table__), sums[model])
        self.state = moved
        self.written.append(day)

    def _advance(self, session: Session, after: _State) -> _State:
        """Raises `_OvertakenError`. The state counts once the transaction is committed."""
        found = _state(session.connection(), lock=True)
        if found != self.state:
            raise _OvertakenError
        moved = replace(after, version=found.version + 1)
        session.execute(update(ReportState).values(**vars(moved)))
        return moved


def _state(connection: Connection, *, lock: bool = False) -> _State:
    query = select(*(getattr(ReportState, field.name) for field in fields(_State)))
    return _State(*connection.execute(query.with_for_update() if lock else query).one())


def _has_sums(connection: Connection, state: _State) -> bool:
    return bool(state.kept_event or connection.scalar(select(ReportUploads.day).limit(1)))


def _first_day(connection: Connection) -> datetime | None:
    """The day of the first upload."""
    first = connection.execute(text(_FIRST).columns(at=UtcDateTime())).scalar()
    return None if first is None else _midnight(first)


def _changed_days(connection: Connection, state: _State, now: datetime, row_retention: int) -> list[datetime]:
    """The stored days that have changed and of which no row can be deleted yet."""
    if not connection.scalar(select(ReportUploads.day).limit(1)):
        return []
    whole_from = now - timedelta(seconds=row_retention) if row_retention else None
    found = connection.execute(text(_CHANGED), {"after": state.known_event}).scalars()
    days = (datetime.fromisoformat(day).replace(tzinfo=state.kept_until.tzinfo) for day in found)
    return sorted(day for day in days if day < state.kept_until and (whole_from is None or day > whole_from))


def _looked(connection: Connection, state: _State, now: datetime) -> int:
    """The last event after which no earlier one can be committed any more."""
    later = (TaskEvent.id > state.known_event, TaskEvent.at < now - _MARGIN)
    return connection.scalar(select(func.max(TaskEvent.id)).where(*later)) or state.known_event


def _first_since(connection: Connection, after: int, since: datetime) -> int | None:
    later = select(TaskEvent.id).where(TaskEvent.id > after, TaskEvent.at >= since).order_by(TaskEvent.id).limit(1)
    return connection.scalar(later)


def _last_before(connection: Connection, after: int, until: datetime) -> int:
    """The largest id of which no event up to it is at or after `until`."""
    first = _first_since(connection, after, until)
    return first - 1 if first is not None else connection.scalar(select(func.max(TaskEvent.id))) or after


def _sums_of_day(connection: Connection, day: datetime) -> Sums:
    """What the rows of one day add up to."""
    uploads: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    times: Counter[tuple[Any, ...]] = Counter()
    videos: dict[tuple[Any, ...], list[Any]] = defaultdict(lambda: [0, 0, 0.0])
    owners: dict[tuple[Any, ...], list[Any]] = defaultdict(lambda: [0, 0, 0, 0, day])
    owner_times: Counter[tuple[Any, ...]] = Counter()
    tasks: dict[str, list[Any]] = defaultdict(lambda: [0, 0, 0, 0, 0, 0, 0, None])
    span = {"since": day, "until": day + _DAY}
    for row in _rows(connection, _UPLOADS, span, created_at=UtcDateTime()):
        _add(uploads[row.protocol, row.client, row.outcome, row.reason], 1, row.bytes, row.arrived, row.resumed)
        of_owner = owners[row.owner, row.outcome, row.reason]
        _add(of_owner, 1, row.bytes, row.arrived, row.resumed)
        of_owner[-1] = max(of_owner[-1], row.created_at)
        if row.playable_ms is not None:
            owner_times[row.owner, row.playable_ms] += 1
        for until, ms in (
            ("complete", row.complete_ms),
            ("playable", row.playable_ms),
            ("processed", row.processed_ms),
        ):
            if ms is not None:
                times[row.protocol, row.client, until, ms] += 1
        if row.outcome == "succeeded":
            _add(videos[row.container, row.video_codec, row.resolution, row.hdr], 1, row.bytes, row.seconds)
    for row in _rows(connection, _TASKS, span):
        sums = tasks[row.status]
        waited, took = row.waited_ms, row.took_ms
        _add(sums, 1, row.partly_failed, row.files, waited is not None, waited or 0, took is not None, took or 0)
        if took is not None:
            sums[-1] = max(took, sums[-1] or 0)
    date = day.date().isoformat()
    return {
        ReportUploads: _named(ReportUploads, ((date, *key, *sums) for key, sums in uploads.items())),
        ReportTimes: _named(ReportTimes, ((date, *key, count) for key, count in times.items())),
        ReportOwners: _named(ReportOwners, ((key[0], date, *key[1:], *sums) for key, sums in owners.items())),
        ReportOwnerTimes: _named(ReportOwnerTimes, ((key[0], date, key[1], n) for key, n in owner_times.items())),
        ReportVideos: _named(ReportVideos, ((date, *key, *sums) for key, sums in videos.items())),
        ReportTasks: _named(ReportTasks, ((date, key, *sums) for key, sums in tasks.items())),
    }


def _sums_of_hours(connection: Connection, state: _State, day: datetime) -> Sums:
    """What came into the queue and left it on one day, which events tell that are not kept yet."""
    queue: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    waits: Counter[tuple[str, int]] = Counter()
    end = day + _DAY
    first = _first_since(connection, state.kept_event, end + _MARGIN)
    last = connection.scalar(select(func.max(TaskEvent.id))) or 0
    values = {"after": state.kept_event, "before": last + 1 if first is None else first, "since": day, "until": end}
    for row in _rows(connection, _MOVES, values):
        _add(queue[row.hour], row.entered, row.started, row.ended)
        if row.ms is not None:
            waits[row.hour, row.ms] += 1
    return {
        ReportQueue: _named(ReportQueue, ((hour, *sums) for hour, sums in queue.items())),
        ReportWaits: _named(ReportWaits, ((*key, count) for key, count in waits.items())),
    }


def _add(sums: list[Any], *more: Any) -> None:
    for place, one in enumerate(more):
        sums[place] += one


def _named(model: type[Any], rows: Iterator[tuple[Any, ...]]) -> list[dict[str, Any]]:
    """Rows with the names of the columns, in the order of the table."""
    names = [column.name for column in model.__table__.columns]
    return [dict(zip(names, row, strict=True)) for row in rows]


def _rows(connection: Connection, sql: str, values: Mapping[str, object], **types: UtcDateTime) -> Iterator[Any]:
    statement = _typed(sql, values).columns(**types)
    return iter(connection.execute(statement, values, execution_options={"yield_per": 1000}))


def _typed(sql: str, values: Mapping[str, object]) -> TextClause:
    times = (bindparam(name, type_=UtcDateTime()) for name, value in values.items() if isinstance(value, datetime))
    return text(sql).bindparams(*times)


def _midnight(at: datetime) -> datetime:
    return at.replace(hour=0, minute=0, second=0, microsecond=0)
