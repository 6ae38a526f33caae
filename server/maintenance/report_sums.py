"""Stores the totals of past days, so that a report of a month reads few rows, however many uploads there are.

Rules:

- Only a sweep writes totals, one day per transaction and never today: the views add later days from the rows.
- A day is summed again when an event says that it has changed, as long as all its rows exist. After that, its totals
  stay as they are: they outlive the rows.
- A transaction may commit some time after the time in its rows; so each sweep reads the last minutes again.
- Memory depends on the kinds and times of a day's uploads, not on their number.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, TextClause, bindparam, delete, func, insert, select, text, update

from server.database.models import TaskEvent
from server.database.report_models import (
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
    columns="f.protocol, f.client, f.outcome, f.reason, f.bytes, f.arrived, f.resumed, f.complete_ms, f.playable_ms, "
    "f.processed_ms, f.container, f.video_codec, f.resolution, f.hdr, f.seconds",
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

Sums = Mapping[type[Any], list[dict[str, Any]]]


@dataclass(frozen=True)
class _State:
    kept_until: datetime
    kept_event: int
    looked_event: int


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
        since = _next_day(connection, state)
    until = _midnight(now - _MARGIN)
    written = []
    for day in changed:
        with database.read() as session:
            sums = _sums_of_day(session.connection(), day)
        _write(database, state, state, day, sums)
        written.append(day)
    new = 0
    while since < until and new < _DAYS_AT_ONCE:
        with database.read() as session:
            connection = session.connection()
            end = since + _DAY
            sums = {**_sums_of_day(connection, since), **_sums_of_hours(connection, state, since)}
            after = _State(end, _last_before(connection, state.kept_event, end), state.looked_event)
        _write(database, state, after, since, sums)
        written.append(since)
        state, since, new = after, end, new + 1
    if looked != state.looked_event:
        with database.write(lazy=True) as session:
            session.execute(update(ReportState).values(looked_event=looked))
    return sorted({day.date().isoformat() for day in written})


def _write(database: Database, before: _State, after: _State, day: datetime, sums: Sums) -> None:
    with database.write(lazy=True) as session:
        connection = session.connection()
        if connection.scalar(select(ReportState.kept_until).with_for_update()) != before.kept_until:
            return  # another sweep was first
        for model in _OF_DAYS:
            connection.execute(delete(model).where(model.day == day.date().isoformat()))
        for model, found in sums.items():
            if found:
                connection.execute(insert(model), found)
        values = {"kept_until": after.kept_until, "kept_event": after.kept_event}
        connection.execute(update(ReportState).values(**values))


def _state(connection: Connection) -> _State:
    columns = (ReportState.kept_until, ReportState.kept_event, ReportState.looked_event)
    return _State(*connection.execute(select(*columns)).one())


def _next_day(connection: Connection, state: _State) -> datetime:
    """The first day to be summed up; a day in the far future while there is no upload."""
    if state.kept_event or connection.scalar(select(ReportUploads.day).limit(1)):
        return state.kept_until
    first = connection.execute(text(_FIRST).columns(at=UtcDateTime())).scalar()
    return datetime.max.replace(tzinfo=state.kept_until.tzinfo) if first is None else _midnight(first)


def _changed_days(connection: Connection, state: _State, now: datetime, row_retention: int) -> list[datetime]:
    """The stored days that have changed and of which no row can be deleted yet."""
    if not connection.scalar(select(ReportUploads.day).limit(1)):
        return []
    whole_from = now - timedelta(seconds=row_retention) if row_retention else None
    found = connection.execute(text(_CHANGED), {"after": state.looked_event}).scalars()
    days = (datetime.fromisoformat(day).replace(tzinfo=state.kept_until.tzinfo) for day in found)
    return sorted(day for day in days if day < state.kept_until and (whole_from is None or day > whole_from))


def _looked(connection: Connection, state: _State, now: datetime) -> int:
    """The last event after which no earlier one can be committed any more."""
    later = (TaskEvent.id > state.looked_event, TaskEvent.at < now - _MARGIN)
    return connection.scalar(select(func.max(TaskEvent.id)).where(*later)) or state.looked_event


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
    tasks: dict[str, list[Any]] = defaultdict(lambda: [0, 0, 0, 0, 0, 0, 0, None])
    span = {"since": day, "until": day + _DAY}
    for row in _rows(connection, _UPLOADS, span):
        _add(uploads[row.protocol, row.client, row.outcome, row.reason], 1, row.bytes, row.arrived, row.resumed)
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


def _rows(connection: Connection, sql: str, values: Mapping[str, object]) -> Iterator[Any]:
    return iter(connection.execute(_typed(sql, values), values, execution_options={"yield_per": 1000}))


def _typed(sql: str, values: Mapping[str, object]) -> TextClause:
    times = (bindparam(name, type_=UtcDateTime()) for name, value in values.items() if isinstance(value, datetime))
    return text(sql).bindparams(*times)


def _midnight(at: datetime) -> datetime:
    return at.replace(hour=0, minute=0, second=0, microsecond=0)
