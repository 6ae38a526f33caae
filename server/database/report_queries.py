"""The reports of the API: queries over the views for reports.

Rules:

- What counts as what is the views' to say; here their rows are only added up, by day.
- Numbers come from kept sums, of all owners or of each, and cost little. What no sum of an owner has yet (usually the
  uploads of today) is added up along the index of owner and time; more than `MOST_UPLOADS` of these are refused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sqlalchemy import TextClause, bindparam, text
from sqlalchemy.orm import Session

from server.database.types import UtcDateTime
from server.errors import ReportTooLargeError

MOST_UPLOADS = 100_000
"""Uploads of one owner of which no sums are kept yet, and that a report adds up."""
MOST_ROWS = 10_000
"""Rows of a report."""

_ALL_KINDS = "SELECT * FROM uploads_per_day_and_kind WHERE day BETWEEN :first AND :last"
# What no sum has yet. One end of the time is unknown to the planner of PostgreSQL, so it expects few rows, and takes
# the index; otherwise it joins all rows of three tables.
_LATELY = """
FROM upload_facts
WHERE owner = :owner AND created_at < :until
  AND created_at >= (SELECT CASE WHEN owners_until > :since THEN owners_until ELSE :since END FROM report_state)
"""
_LATELY_ROWS = _LATELY.replace("upload_facts", "uploads")
_MINE = """
SELECT day, outcome, reason, uploads, bytes, arrived, resumed FROM report_owners
WHERE owner = :owner AND day BETWEEN :first AND :last
UNION ALL
SELECT day, outcome, reason, 1, bytes, arrived, resumed {lately}
"""
_COUNT = "CAST(coalesce(sum(uploads) FILTER (WHERE outcome {which}), 0) AS BIGINT)"
_COUNTED = """
SELECT day, CAST(sum(uploads) AS BIGINT) AS uploads, CAST(sum(bytes) AS BIGINT) AS bytes,
       CAST(sum(arrived) AS BIGINT) AS arrived, CAST(sum(resumed) AS BIGINT) AS resumed,
       {succeeded} AS succeeded, {failed} AS failed, {rejected} AS rejected, {expired} AS expired, {ended} AS ended
FROM ({mine}) AS one GROUP BY day
"""
_UPLOADS = """
SELECT day, uploads, bytes, completed, expired, resumed FROM uploads_per_day
WHERE day BETWEEN :first AND :last ORDER BY day
"""
_MY_UPLOADS = "SELECT day, uploads, bytes, arrived AS completed, expired, resumed FROM ({counted}) AS two ORDER BY day"
_RATES = """
SELECT day, ended, succeeded, failed, rejected, expired, arrived, resumed,
       CAST(round(1.0 * succeeded / nullif(ended, 0), 4) AS DOUBLE PRECISION) AS success_rate,
       CAST(round(1.0 * (failed + rejected + expired) / nullif(ended, 0), 4) AS DOUBLE PRECISION) AS failure_rate,
       CAST(round(1.0 * resumed / nullif(arrived, 0), 4) AS DOUBLE PRECISION) AS resume_rate
FROM (
    SELECT day, CAST(sum(ended) AS BIGINT) AS ended, CAST(sum(succeeded) AS BIGINT) AS succeeded,
           CAST(sum(failed) AS BIGINT) AS failed, CAST(sum(rejected) AS BIGINT) AS rejected,
           CAST(sum(expired) AS BIGINT) AS expired, CAST(sum(arrived) AS BIGINT) AS arrived,
           CAST(sum(resumed) AS BIGINT) AS resumed
    FROM ({kinds}) AS two GROUP BY day
) AS three ORDER BY day
"""
_TIMES = """
SELECT day, CAST(max(total) AS BIGINT) AS uploads,
       CAST(min(seconds) FILTER (WHERE so_far * 100 >= total * 50) AS DOUBLE PRECISION) AS p50_seconds,
       CAST(min(seconds) FILTER (WHERE so_far * 100 >= total * 95) AS DOUBLE PRECISION) AS p95_seconds
FROM (
    SELECT day, seconds, sum(sum(uploads)) OVER (PARTITION BY day ORDER BY seconds) AS so_far,
           sum(sum(uploads)) OVER (PARTITION BY day) AS total
    FROM ({times}) AS one GROUP BY day, seconds
) AS two GROUP BY day ORDER BY day
"""
_ALL_TIMES = "SELECT day, seconds, uploads FROM upload_times WHERE until = 'playable' AND day BETWEEN :first AND :last"
_MY_TIMES = """
SELECT day, CAST(milliseconds / 1000.0 AS DOUBLE PRECISION) AS seconds, uploads FROM report_owner_times
WHERE owner = :owner AND day BETWEEN :first AND :last
UNION ALL
SELECT day, CAST(playable_ms / 1000.0 AS DOUBLE PRECISION), 1 {lately} AND playable_ms IS NOT NULL
"""
_TOTALS = """
SELECT coalesce(uploads, 0), coalesce(bytes, 0), coalesce(ended, 0), coalesce(succeeded, 0), coalesce(failed, 0),
       coalesce(rejected, 0), coalesce(expired, 0), coalesce(arrived, 0), coalesce(resumed, 0),
       CAST(round(1.0 * succeeded / nullif(ended, 0), 4) AS DOUBLE PRECISION) AS success_rate,
       CAST(round(1.0 * (failed + rejected + expired) / nullif(ended, 0), 4) AS DOUBLE PRECISION) AS failure_rate,
       CAST(round(1.0 * resumed / nullif(arrived, 0), 4) AS DOUBLE PRECISION) AS resume_rate,
       coalesce(playable, 0), p50_seconds, p95_seconds
FROM (
    SELECT CAST(sum(uploads) AS BIGINT) AS uploads, CAST(sum(bytes) AS BIGINT) AS bytes,
           CAST(sum(ended) AS BIGINT) AS ended, CAST(sum(succeeded) AS BIGINT) AS succeeded,
           CAST(sum(failed) AS BIGINT) AS failed, CAST(sum(rejected) AS BIGINT) AS rejected,
           CAST(sum(expired) AS BIGINT) AS expired, CAST(sum(arrived) AS BIGINT) AS arrived,
           CAST(sum(resumed) AS BIGINT) AS resumed
    FROM ({kinds}) AS kinds
) AS counted CROSS JOIN (
    SELECT CAST(max(total) AS BIGINT) AS playable,
           CAST(min(seconds) FILTER (WHERE so_far * 100 >= total * 50) AS DOUBLE PRECISION) AS p50_seconds,
           CAST(min(seconds) FILTER (WHERE so_far * 100 >= total * 95) AS DOUBLE PRECISION) AS p95_seconds
    FROM (
        SELECT seconds, sum(sum(uploads)) OVER (ORDER BY seconds) AS so_far, sum(sum(uploads)) OVER () AS total
        FROM ({times}) AS times GROUP BY seconds
    ) AS ranked
) AS timed
"""
# Read once, for both halves of the totals.
_ALL_LATELY = """
WITH lately AS MATERIALIZED (
    SELECT day, outcome, bytes, arrived, resumed, playable_ms
    FROM upload_facts_lately WHERE day BETWEEN :first AND :last
)
"""
_ALL_COUNTED = """
SELECT day, outcome, uploads, bytes, arrived, resumed FROM report_uploads WHERE day BETWEEN :first AND :last
UNION ALL
SELECT day, outcome, 1, bytes, arrived, resumed FROM lately
"""
_ALL_PLAYABLE = """
SELECT CAST(milliseconds / 1000.0 AS DOUBLE PRECISION) AS seconds, uploads FROM report_times
WHERE until = 'playable' AND day BETWEEN :first AND :last
UNION ALL
SELECT CAST(playable_ms / 1000.0 AS DOUBLE PRECISION), 1 FROM lately WHERE playable_ms IS NOT NULL
"""
_FAILURES = """
SELECT outcome, nullif(reason, '') AS reason, CAST(sum(uploads) AS BIGINT) AS uploads
FROM ({outcomes}) AS one WHERE outcome IN ('failed', 'rejected', 'expired')
GROUP BY outcome, nullif(reason, '') ORDER BY sum(uploads) DESC, outcome, nullif(reason, '')
"""
_ALL_OUTCOMES = "SELECT outcome, reason, uploads FROM upload_outcomes_per_day WHERE day BETWEEN :first AND :last"
_STORAGE = "SELECT owner, originals, bytes, open_uploads, open_bytes FROM storage_by_owner"
_QUEUE = """
SELECT hour, entered, started, ended, waiting, wait_p50_seconds, wait_p95_seconds FROM queue_per_hour
WHERE hour >= :first AND hour < :after ORDER BY hour
"""


def _of(sql: str, **parts: str) -> str:
    """A query with others in it."""
    for name, part in parts.items():
        sql = sql.replace(f"{{{name}}}", part)
    return sql


_MINE = _of(_MINE, lately=_LATELY)
_MY_TIMES = _of(_MY_TIMES, lately=_LATELY)
_COUNTED = _of(
    _COUNTED,
    ended=_of(_COUNT, which="NOT IN ('open', 'waiting', 'processing')"),
    **{each: _of(_COUNT, which=f"= '{each}'") for each in ("succeeded", "failed", "rejected", "expired")},
)
_OF_OWNER = _of(_COUNTED, mine=_MINE)


@dataclass(frozen=True)
class Report:
    """A report: its columns in their order, the query for all owners, and the one for one owner if there is one."""

    columns: tuple[str, ...]
    of_all: str
    of_owner: str | None
    has_range: bool = True


_PER_DAY = ("day", "uploads", "bytes", "completed", "expired", "resumed")
_COUNTS = ("ended", "succeeded", "failed", "rejected", "expired", "arrived", "resumed")
_RATE_COLUMNS = (*_COUNTS, "success_rate", "failure_rate", "resume_rate")
_PERCENTILES = ("p50_seconds", "p95_seconds")
REPORTS: Mapping[str, Report] = {
    "totals": Report(
        ("uploads", "bytes", *_RATE_COLUMNS, "playable", *_PERCENTILES),
        _ALL_LATELY + _of(_TOTALS, kinds=_of(_COUNTED, mine=_ALL_COUNTED), times=_ALL_PLAYABLE),
        _of(_TOTALS, kinds=_OF_OWNER, times=_MY_TIMES),
    ),
    "uploads": Report(_PER_DAY, _UPLOADS, _of(_MY_UPLOADS, counted=_OF_OWNER)),
    "rates": Report(
        ("day", *_RATE_COLUMNS),
        _of(_RATES, kinds=_ALL_KINDS),
        _of(_RATES, kinds=_OF_OWNER),
    ),
    "times": Report(
        ("day", "uploads", *_PERCENTILES),
        _of(_TIMES, times=_ALL_TIMES),
        _of(_TIMES, times=_MY_TIMES),
    ),
    "failures": Report(
        ("outcome", "reason", "uploads"),
        _of(_FAILURES, outcomes=_ALL_OUTCOMES),
        _of(_FAILURES, outcomes=_MINE),
    ),
    "storage": Report(
        ("owner", "originals", "bytes", "open_uploads", "open_bytes"),
        _STORAGE + " ORDER BY bytes DESC, owner",
        _STORAGE + " WHERE owner = :owner",
        has_range=False,
    ),
    "queue": Report(
        ("hour", "entered", "started", "ended", "waiting", "wait_p50_seconds", "wait_p95_seconds"), _QUEUE, None
    ),
}
"""By the names of the API."""


def rows(
    session: Session, report: Report, owner: str | None, first: date, last: date
) -> Sequence[Mapping[str, Any]]:  # fmt: skip
    """The rows of a report for the days from `first` to `last`, both included; of all owners where `owner` is None.

    At most `MOST_ROWS`. Raises `ReportTooLargeError`. Blocking, for seconds where there is much.
    """
    since = datetime.combine(first, time(), UTC)
    until = datetime.combine(last + timedelta(days=1), time(), UTC)
    values = {"since": since, "until": until, "owner": owner}
    if owner is not None and report.has_range:
        _check_size(session, values)
    sql = report.of_all if owner is None or report.of_owner is None else report.of_owner
    values |= {"first": first.isoformat(), "last": last.isoformat(), "after": until.date().isoformat()}
    found = session.execute(_statement(f"{sql} LIMIT {MOST_ROWS}"), values)
    return [dict(zip(report.columns, row, strict=True)) for row in found]


def _check_size(session: Session, values: Mapping[str, Any]) -> None:
    query = f"SELECT count(*) FROM (SELECT 1 {_LATELY_ROWS} LIMIT {MOST_UPLOADS + 1}) AS few"  # noqa: S608  # of constants
    if (session.scalar(_statement(query), values) or 0) > MOST_UPLOADS:
        raise ReportTooLargeError(limit=MOST_UPLOADS)


def _statement(sql: str) -> TextClause:
    """The statement with the types of the times that it has."""
    times = [name for name in ("since", "until") if f":{name}" in sql]
    return text(sql).bindparams(*(bindparam(name, type_=UtcDateTime()) for name in times))
