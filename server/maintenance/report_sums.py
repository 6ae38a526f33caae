"""Keeps the sums of past days, so that a report of a month reads few rows whatever the number of uploads.

Rules:

- Only a sweep writes sums, in one transaction, and never of today: the views add what came later from the rows.
- A day is summed again when an event says that something of it changed, as long as all its rows are there. After that
  its sums stay as they are: they outlive the rows.
- A transaction may commit some time after the time in its rows; so the last minutes are looked at again.
"""

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

# Owner by owner along the index (owner, created_at): there is none by time alone.
_FACTS_OF = """
WITH RECURSIVE seen(owner) AS (
    SELECT min(owner) FROM {table}
    UNION ALL
    SELECT (SELECT min(u.owner) FROM {table} u WHERE u.owner > seen.owner) FROM seen WHERE seen.owner IS NOT NULL
), facts AS (
    SELECT f.*
    FROM seen CROSS JOIN {facts} f
    WHERE f.owner = seen.owner AND f.created_at >= :since AND f.created_at < :until
)
"""
_FACTS = _FACTS_OF.format(table="uploads", facts="upload_facts")
_TASK_FACTS = _FACTS_OF.format(table="tasks", facts="task_facts")
_UPLOADS = """
SELECT day, protocol, client, outcome, reason, count(*) AS uploads, CAST(sum(bytes) AS BIGINT) AS bytes,
       CAST(sum(arrived) AS BIGINT) AS arrived, CAST(sum(resumed) AS BIGINT) AS resumed
FROM facts GROUP BY day, protocol, client, outcome, reason
"""
_TIMES = """
SELECT day, protocol, client, '{until}' AS until, {until}_ms AS milliseconds, count(*) AS uploads
FROM facts WHERE {until}_ms IS NOT NULL GROUP BY day, protocol, client, {until}_ms
"""
_VIDEOS = """
SELECT day, container, video_codec, resolution, hdr, count(*) AS videos, CAST(sum(bytes) AS BIGINT) AS bytes,
       sum(seconds) AS seconds
FROM facts WHERE outcome = 'succeeded' GROUP BY day, container, video_codec, resolution, hdr
"""
_TASKS = """
SELECT day, status, count(*) AS tasks, CAST(sum(partly_failed) AS BIGINT) AS partly_failed,
       CAST(sum(files) AS BIGINT) AS files, count(waited_ms) AS waited,
       CAST(coalesce(sum(waited_ms), 0) AS BIGINT) AS waited_ms, count(took_ms) AS ended,
       CAST(coalesce(sum(took_ms), 0) AS BIGINT) AS took_ms, max(took_ms) AS longest_ms
FROM facts GROUP BY day, status
"""
_QUEUE = """
SELECT hour, CAST(sum(entered) AS BIGINT) AS entered, CAST(sum(started) AS BIGINT) AS started,
       CAST(sum(ended) AS BIGINT) AS ended
FROM queue_moves_lately WHERE hour < :hour GROUP BY hour
"""
_WAITS = """
SELECT hour, ms AS milliseconds, count(*) AS tasks
FROM queue_moves_lately WHERE hour < :hour AND ms IS NOT NULL GROUP BY hour, ms
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

_OF_DAYS: Mapping[type[Any], Sequence[str]] = {
    ReportUploads: [_FACTS + _UPLOADS],
    ReportTimes: [_FACTS + _TIMES.format(until=until) for until in ("complete", "playable", "processed")],
    ReportVideos: [_FACTS + _VIDEOS],
    ReportTasks: [_TASK_FACTS + _TASKS],
}
_OF_HOURS: Mapping[type[Any], str] = {ReportQueue: _QUEUE, ReportWaits: _WAITS}

Rows = list[dict[str, Any]]


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
        before = _state(connection)
        until = max(before.kept_until, _midnight(now - _MARGIN))
        is_first = not connection.scalar(select(ReportUploads.day).limit(1))
        days = [] if is_first else _changed_days(connection, before, now, row_retention)
        spans = [(day, day + _DAY) for day in days]
        if until > before.kept_until:
            spans.append((before.kept_until, until))
        after = _State(until, _last_before(connection, before.kept_event, until), _looked(connection, before, now))
        of_days: dict[type[Any], Rows] = {model: [] for model in _OF_DAYS}
        for model, statements in _OF_DAYS.items():
            for since, end in spans:
                for statement in statements:
                    of_days[model] += _rows(connection, statement, since=since, until=end)
        hour = until.strftime("%Y-%m-%d %H:00")
        is_new = until > before.kept_until
        of_hours = {model: _rows(connection, sql, hour=hour) if is_new else [] for model, sql in _OF_HOURS.items()}
    written = sorted({row["day"] for rows in of_days.values() for row in rows} | {day.date().isoformat() for day in days})
    if spans or after != before:
        _write(database, before, after, written, {**of_days, **of_hours})
    return written


def _write(
    database: Database, before: _State, after: _State, days: Sequence[str], rows: Mapping[type[Any], Rows]
) -> None:
    with database.write(lazy=True) as session:
        connection = session.connection()
        held = connection.scalar(select(ReportState.kept_until).with_for_update())
        if held != before.kept_until:
            return  # another sweep was first
        for model in _OF_DAYS:
            for day in days:
                connection.execute(delete(model).where(model.day == day))
        for model, found in rows.items():
            if found:
                connection.execute(insert(model), found)
        values = {"kept_until": after.kept_until, "kept_event": after.kept_event, "looked_event": after.looked_event}
        connection.execute(update(ReportState).values(**values))


def _state(connection: Connection) -> _State:
    columns = (ReportState.kept_until, ReportState.kept_event, ReportState.looked_event)
    return _State(*connection.execute(select(*columns)).one())


def _changed_days(connection: Connection, state: _State, now: datetime, row_retention: int) -> list[datetime]:
    """The kept days of which something has changed, and of which no row can be gone yet."""
    whole_from = now - timedelta(seconds=row_retention) if row_retention else None
    found = connection.execute(text(_CHANGED), {"after": state.looked_event}).scalars()
    days = (datetime.fromisoformat(day).replace(tzinfo=state.kept_until.tzinfo) for day in found)
    return sorted(day for day in days if day < state.kept_until and (whole_from is None or day > whole_from))


def _looked(connection: Connection, state: _State, now: datetime) -> int:
    """The last event after which no earlier one can be committed any more."""
    later = (TaskEvent.id > state.looked_event, TaskEvent.at < now - _MARGIN)
    return connection.scalar(select(func.max(TaskEvent.id)).where(*later)) or state.looked_event


def _last_before(connection: Connection, after: int, until: datetime) -> int:
    """The largest id of which no event up to it is at or after `until`."""
    later = select(TaskEvent.id).where(TaskEvent.id > after, TaskEvent.at >= until).order_by(TaskEvent.id).limit(1)
    first = connection.scalar(later)
    if first is not None:
        return int(first) - 1
    return connection.scalar(select(func.max(TaskEvent.id))) or after


def _rows(connection: Connection, sql: str, **values: object) -> Rows:
    return [dict(row) for row in connection.execute(_typed(sql, values), values).mappings()]


def _typed(sql: str, values: Mapping[str, object]) -> TextClause:
    times: Iterator[Any] = (
        bindparam(name, type_=UtcDateTime()) for name, value in values.items() if isinstance(value, datetime)
    )
    return text(sql).bindparams(*times)


def _midnight(at: datetime) -> datetime:
    return at.replace(hour=0, minute=0, second=0, microsecond=0)
