"""Reports: views, the kept sums of past days, and what they need in `uploads`.

Revision: 0011, after 0010. Frozen: imports nothing from `server`.

Rules:

- A view has the same columns and results on both databases. Days and hours are text, in UTC.
- `report_…` are sums of the days before `report_state.kept_until`; the sweep keeps them (`server/reports/keeper.py`). A
  view adds what came later from the rows themselves.
- Rows of a time are found along the index (owner, created_at), owner by owner: an index by time would cost each upload.
- Whatever comes later and takes away or renames a column that a view reads drops the view before, and makes it again.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

_SQLITE = {
    "day": "substr({at}, 1, 10)",
    "hour": "substr({at}, 1, 13) || ':00'",
    "ms": "CAST(round((julianday({until}) - julianday({since})) * 86400000) AS INTEGER)",
    # Two significant digits: few values a day, so that a kept sum has every percentile of any period.
    "rounded": "CAST(CAST(printf('%.1e', {ms}) AS REAL) AS INTEGER)",
    "text": "json_extract({json}, '$.{key}')",
    "since_kept": "(SELECT kept_until FROM report_state WHERE id = 1)",
    # Not a number as it stands: SQLite would compare numbers with texts.
    "until_kept": "'9999-12-31'",
}
_POSTGRESQL = {
    "day": "to_char({at} AT TIME ZONE 'UTC', 'YYYY-MM-DD')",
    "hour": "to_char({at} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:00')",
    "ms": "CAST(round(extract(epoch FROM {until} - {since}) * 1000) AS BIGINT)",
    "rounded": "CAST(CAST(to_char(CAST({ms} AS NUMERIC), '9.9EEEE') AS NUMERIC) AS BIGINT)",
    "text": "({json} ->> '{key}')",
    "since_kept": "(SELECT kept_until FROM report_state WHERE id = 1)",
    # With two ends of which neither is known, the planner expects few rows, and takes the index.
    "until_kept": "(SELECT kept_until + interval '1000 years' FROM report_state WHERE id = 1)",
}

# As 0004 has it, for the way back.
_OLD_DAY = {"sqlite": "date(u.created_at)", "postgresql": "to_char(u.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')"}
_OLD_PER_DAY = """
CREATE VIEW uploads_per_day AS
SELECT day,
       count(*) AS uploads,
       CAST(sum(received) AS BIGINT) AS bytes,
       count(*) FILTER (WHERE is_completed) AS completed,
       count(*) FILTER (WHERE status = 'expired') AS expired,
       count(*) FILTER (WHERE is_completed AND is_resumed) AS resumed
FROM (
    SELECT {day} AS day,
           u.status,
           u.received,
           u.completed_at IS NOT NULL AS is_completed,
           u.resumed OR (u.concat IS NOT NULL AND EXISTS (
               SELECT 1
               FROM upload_parts p JOIN uploads part ON part.id = p.part_id
               WHERE p.final_id = u.id AND part.resumed
           )) AS is_resumed
    FROM uploads u
    WHERE u.concat IS NULL OR u.concat <> 'partial'
) AS one
GROUP BY day
"""

_OLD_SECONDS = {
    "sqlite": "(julianday({until}) - julianday({since})) * 86400",
    "postgresql": "CAST(extract(epoch FROM {until} - {since}) AS numeric)",
}
_OLD_TASKS_BY_STATUS = """
CREATE VIEW tasks_by_status AS
SELECT status,
       count(*) AS tasks,
       count(*) FILTER (WHERE partial) AS partly_failed,
       sum(file_count) AS files,
       CAST(round(avg({waited}), 3) AS DOUBLE PRECISION) AS waited_seconds,
       CAST(round(avg({took}), 3) AS DOUBLE PRECISION) AS processed_seconds,
       CAST(round(max({took}), 3) AS DOUBLE PRECISION) AS longest_seconds
FROM tasks
GROUP BY status
"""

# Of a final upload: the first byte of its parts.
_BEGAN = (
    "coalesce(u.first_byte_at, (SELECT min(coalesce(p.first_byte_at, p.created_at)) "
    "FROM upload_parts q JOIN uploads p ON p.id = q.part_id WHERE q.final_id = u.id), u.created_at)"
)

_UPLOAD_FACTS = """
CREATE VIEW upload_facts AS
SELECT u.id AS upload_id, f.task_id, u.owner, u.created_at, {day} AS day, u.protocol,
       coalesce(u.client, 'unknown') AS client,
       CASE WHEN u.status IN ('open', 'rejected', 'expired') THEN u.status
            WHEN u.completed_at IS NULL THEN 'terminated'
            WHEN f.error_code IS NOT NULL AND f.status IN ('error', 'removed') THEN 'failed'
            WHEN f.status = 'completed' OR (f.status = 'removed' AND f.progress = 100) THEN 'succeeded'
            WHEN f.status IN ('error', 'cancelled', 'removed') THEN f.status
            WHEN f.status = 'processing' THEN 'processing'
            WHEN u.status = 'terminated' THEN 'removed'
            ELSE 'waiting' END AS outcome,
       CASE WHEN u.status = 'rejected' THEN coalesce(f.error_code, (
                SELECT {code} FROM task_events e
                WHERE e.task_id = u.task_id AND e.upload_id = u.id AND e.type = 'upload_rejected'
                ORDER BY e.id DESC LIMIT 1), '')
            WHEN u.completed_at IS NOT NULL AND f.status IN ('error', 'removed') THEN coalesce(f.error_code, '')
            ELSE '' END AS reason,
       u.received AS bytes,
       CASE WHEN u.completed_at IS NOT NULL THEN 1 ELSE 0 END AS arrived,
       CASE WHEN u.completed_at IS NOT NULL AND (u.resumed OR (u.concat IS NOT NULL AND EXISTS (
                SELECT 1 FROM upload_parts q JOIN uploads p ON p.id = q.part_id
                WHERE q.final_id = u.id AND p.resumed))) THEN 1 ELSE 0 END AS resumed,
       {to_complete} AS complete_ms,
       {to_playable} AS playable_ms,
       CASE WHEN f.status = 'completed' THEN {to_processed} END AS processed_ms,
       coalesce(f.container, '') AS container,
       coalesce(f.video_codec, '') AS video_codec,
       CASE WHEN f.width IS NULL OR f.height IS NULL THEN ''
            WHEN {lines} <= 480 THEN '480p' WHEN {lines} <= 720 THEN '720p'
            WHEN {lines} <= 1080 THEN '1080p' WHEN {lines} <= 1440 THEN '1440p' ELSE '2160p' END AS resolution,
       CASE WHEN f.hdr THEN 1 ELSE 0 END AS hdr,
       coalesce(f.duration, 0) AS seconds
FROM uploads u
LEFT JOIN task_files f ON f.upload_id = u.id
LEFT JOIN tasks t ON t.id = f.task_id
WHERE (u.concat IS NULL OR u.concat <> 'partial')
  AND (u.client IS NULL OR u.client <> 'doctor' OR u.completed_at IS NOT NULL)
"""

# The owners, each by one look into the index.
_LATELY = """
CREATE VIEW upload_facts_lately AS
WITH RECURSIVE seen(owner) AS (
    SELECT min(owner) FROM uploads
    UNION ALL
    SELECT (SELECT min(u.owner) FROM uploads u WHERE u.owner > seen.owner) FROM seen WHERE seen.owner IS NOT NULL
)
SELECT f.*
FROM seen CROSS JOIN upload_facts f
WHERE f.owner = seen.owner AND f.created_at >= {since_kept} AND f.created_at < {until_kept}
"""

_OUTCOMES = """
CREATE VIEW upload_outcomes_per_day AS
SELECT day, protocol, client, outcome, nullif(reason, '') AS reason,
       CAST(sum(uploads) AS BIGINT) AS uploads, CAST(sum(bytes) AS BIGINT) AS bytes,
       CAST(sum(arrived) AS BIGINT) AS arrived, CAST(sum(resumed) AS BIGINT) AS resumed
FROM (
    SELECT day, protocol, client, outcome, reason, uploads, bytes, arrived, resumed FROM report_uploads
    UNION ALL
    SELECT day, protocol, client, outcome, reason, 1, bytes, arrived, resumed FROM upload_facts_lately
) AS one
GROUP BY day, protocol, client, outcome, reason
"""

_PER_DAY = """
CREATE VIEW uploads_per_day AS
SELECT day,
       CAST(sum(uploads) AS BIGINT) AS uploads,
       CAST(sum(bytes) AS BIGINT) AS bytes,
       CAST(sum(arrived) AS BIGINT) AS completed,
       CAST(coalesce(sum(uploads) FILTER (WHERE outcome = 'expired'), 0) AS BIGINT) AS expired,
       CAST(sum(resumed) AS BIGINT) AS resumed
FROM upload_outcomes_per_day
GROUP BY day
"""

_PER_KIND = """
CREATE VIEW uploads_per_day_and_kind AS
SELECT day, protocol, client, uploads, bytes, arrived, resumed, succeeded, failed, rejected, expired, ended,
       CAST(round(1.0 * succeeded / nullif(ended, 0), 4) AS DOUBLE PRECISION) AS success_rate,
       CAST(round(1.0 * (failed + rejected + expired) / nullif(ended, 0), 4) AS DOUBLE PRECISION) AS failure_rate,
       CAST(round(1.0 * resumed / nullif(arrived, 0), 4) AS DOUBLE PRECISION) AS resume_rate
FROM (
    SELECT day, protocol, client,
           CAST(sum(uploads) AS BIGINT) AS uploads, CAST(sum(bytes) AS BIGINT) AS bytes,
           CAST(sum(arrived) AS BIGINT) AS arrived, CAST(sum(resumed) AS BIGINT) AS resumed,
           {succeeded} AS succeeded, {failed} AS failed, {rejected} AS rejected, {expired} AS expired, {ended} AS ended
    FROM upload_outcomes_per_day
    GROUP BY day, protocol, client
) AS one
"""
_COUNT = "CAST(coalesce(sum(uploads) FILTER (WHERE outcome {which}), 0) AS BIGINT)"

# `HAVING` and not `WHERE`, which SQLite would push down and so compute each time twice.
_TIMES = """
CREATE VIEW upload_times AS
SELECT day, protocol, client, until, CAST(milliseconds / 1000.0 AS DOUBLE PRECISION) AS seconds,
       CAST(sum(uploads) AS BIGINT) AS uploads
FROM (
    SELECT day, protocol, client, until, milliseconds, uploads FROM report_times
    UNION ALL
    SELECT day, protocol, client, k.until,
           CASE k.until WHEN 'complete' THEN complete_ms WHEN 'playable' THEN playable_ms ELSE processed_ms END, 1
    FROM upload_facts_lately
    CROSS JOIN (SELECT 'complete' AS until UNION ALL SELECT 'playable' UNION ALL SELECT 'processed') AS k
) AS one
GROUP BY day, protocol, client, until, milliseconds
HAVING milliseconds IS NOT NULL
"""

_PERCENTILES = """
CREATE VIEW {name} AS
SELECT {keys}, CAST(max(total) AS BIGINT) AS {counted},
       CAST(min(seconds) FILTER (WHERE so_far * 100 >= total * 50) AS DOUBLE PRECISION) AS p50_seconds,
       CAST(min(seconds) FILTER (WHERE so_far * 100 >= total * 95) AS DOUBLE PRECISION) AS p95_seconds
FROM (
    SELECT {keys}, seconds, sum({counted}) OVER (PARTITION BY {keys} ORDER BY seconds) AS so_far,
           sum({counted}) OVER (PARTITION BY {keys}) AS total
    FROM {source}
) AS one
GROUP BY {keys}
"""

_VIDEOS = """
CREATE VIEW videos_per_day AS
SELECT day, nullif(container, '') AS container, nullif(video_codec, '') AS video_codec,
       nullif(resolution, '') AS resolution, hdr,
       CAST(sum(videos) AS BIGINT) AS videos, CAST(sum(bytes) AS BIGINT) AS bytes, sum(seconds) AS seconds
FROM (
    SELECT day, container, video_codec, resolution, hdr, videos, bytes, seconds FROM report_videos
    UNION ALL
    SELECT day, container, video_codec, resolution, hdr, 1, bytes, seconds
    FROM upload_facts_lately WHERE outcome = 'succeeded'
) AS one
GROUP BY day, container, video_codec, resolution, hdr
"""

_TASK_FACTS = """
CREATE VIEW task_facts AS
SELECT t.id AS task_id, t.owner, t.created_at, {day} AS day, t.status,
       CASE WHEN t.partial THEN 1 ELSE 0 END AS partly_failed, t.file_count AS files,
       {waited} AS waited_ms, {took} AS took_ms
FROM tasks t
"""

_TASKS_LATELY = """
CREATE VIEW task_facts_lately AS
WITH RECURSIVE seen(owner) AS (
    SELECT min(owner) FROM tasks
    UNION ALL
    SELECT (SELECT min(t.owner) FROM tasks t WHERE t.owner > seen.owner) FROM seen WHERE seen.owner IS NOT NULL
)
SELECT f.*
FROM seen CROSS JOIN task_facts f
WHERE f.owner = seen.owner AND f.created_at >= {since_kept} AND f.created_at < {until_kept}
"""

_TASKS_BY_STATUS = """
CREATE VIEW tasks_by_status AS
SELECT status,
       CAST(sum(tasks) AS BIGINT) AS tasks,
       CAST(sum(partly_failed) AS BIGINT) AS partly_failed,
       CAST(sum(files) AS BIGINT) AS files,
       CAST(round(sum(waited_ms) / 1000.0 / nullif(sum(waited), 0), 3) AS DOUBLE PRECISION) AS waited_seconds,
       CAST(round(sum(took_ms) / 1000.0 / nullif(sum(ended), 0), 3) AS DOUBLE PRECISION) AS processed_seconds,
       CAST(max(longest_ms) / 1000.0 AS DOUBLE PRECISION) AS longest_seconds
FROM (
    SELECT status, tasks, partly_failed, files, waited, waited_ms, ended, took_ms, longest_ms FROM report_tasks
    UNION ALL
    SELECT status, 1, partly_failed, files, CASE WHEN waited_ms IS NULL THEN 0 ELSE 1 END, coalesce(waited_ms, 0),
           CASE WHEN took_ms IS NULL THEN 0 ELSE 1 END, coalesce(took_ms, 0), took_ms
    FROM task_facts_lately
) AS one
GROUP BY status
"""

_STORAGE = """
CREATE VIEW storage_by_owner AS
SELECT owner,
       count(*) FILTER (WHERE status = 'complete') AS originals,
       CAST(coalesce(sum(length) FILTER (WHERE status = 'complete'), 0) AS BIGINT) AS bytes,
       count(*) FILTER (WHERE status = 'open') AS open_uploads,
       CAST(coalesce(sum(reserved) FILTER (WHERE status = 'open'), 0) AS BIGINT) AS open_bytes
FROM uploads
WHERE has_bytes
GROUP BY owner
"""

_OPEN_UPLOADS = """
CREATE VIEW open_uploads AS
SELECT u.id AS upload_id, u.owner, u.protocol, coalesce(u.client, 'unknown') AS client, u.created_at, u.updated_at,
       u.received AS bytes, u.length,
       {idle} AS idle_seconds,
       CASE WHEN u.concat IS NOT NULL AND u.concat <> 'partial' THEN 'waits_for_parts'
            WHEN u.received >= u.length THEN 'waits_for_sweep'
            WHEN u.checked_from IS NOT NULL THEN 'checksum_open'
            WHEN u.received = 0 THEN 'no_bytes'
            ELSE 'no_more_bytes' END AS why
FROM uploads u
WHERE u.status = 'open'
"""

_OPEN_TASKS = """
CREATE VIEW open_tasks AS
SELECT task_id, owner, status, progress, step, created_at, updated_at, {idle} AS idle_seconds, {age} AS age_seconds, why
FROM (
    SELECT id AS task_id, owner, status, progress, step, created_at, updated_at,
           CASE WHEN waiting_code IS NOT NULL THEN waiting_code
                WHEN worker IS NULL AND attempt = 0 THEN 'waits_for_worker'
                WHEN worker IS NULL THEN 'waits_again'
                WHEN {lease_is_over} THEN 'worker_lost'
                ELSE 'running' END AS why
    FROM tasks WHERE finished_at IS NULL AND gather_until IS NULL
    UNION ALL
    SELECT id, owner, status, progress, step, created_at, updated_at, 'waits_for_uploads'
    FROM tasks WHERE gather_until IS NOT NULL
) AS one
"""

# A task enters the queue once its bytes are there, and leaves it with its first claim, or when it ends without one.
_ENTERED = "{x}.type = 'gathered' OR ({x}.type = 'uploaded' AND {gathers} IS NULL)"
_QUEUE_MOVES = """
CREATE VIEW {name} AS
SELECT e.id, e.at, {hour} AS hour, 1 AS entered, 0 AS started, 0 AS ended, NULL AS ms
FROM task_events e WHERE {which} AND ({entered})
UNION ALL
SELECT e.id, e.at, {hour}, 0, 1, 0, (SELECT {waited} FROM task_events x WHERE x.task_id = e.task_id AND ({x_entered})
                         ORDER BY x.id DESC LIMIT 1)
FROM task_events e WHERE {which} AND e.type = 'processing' AND e.attempt = 1
UNION ALL
SELECT e.id, e.at, {hour}, 0, 0, 1, NULL
FROM task_events e
WHERE {which} AND e.type IN ('cancelled', 'removed') AND e.attempt = 0
  AND EXISTS (SELECT 1 FROM task_events x WHERE x.task_id = e.task_id AND ({x_entered}))
  AND NOT EXISTS (SELECT 1 FROM task_events x
                  WHERE x.task_id = e.task_id AND x.id < e.id AND x.type IN ('cancelled', 'error'))
"""

_QUEUE_WAITS = """
CREATE VIEW queue_waits AS
SELECT hour, CAST(milliseconds / 1000.0 AS DOUBLE PRECISION) AS seconds, CAST(sum(tasks) AS BIGINT) AS tasks
FROM (
    SELECT hour, milliseconds, tasks FROM report_waits
    UNION ALL
    SELECT hour, ms, 1 FROM queue_moves_lately WHERE started = 1 AND ms IS NOT NULL
) AS one
GROUP BY hour, milliseconds
"""

_QUEUE = """
CREATE VIEW queue_per_hour AS
SELECT q.hour, q.entered, q.started, q.ended,
       CAST(sum(q.entered - q.started - q.ended) OVER (ORDER BY q.hour) AS BIGINT) AS waiting,
       w.p50_seconds AS wait_p50_seconds, w.p95_seconds AS wait_p95_seconds
FROM (
    SELECT hour, CAST(sum(entered) AS BIGINT) AS entered, CAST(sum(started) AS BIGINT) AS started,
           CAST(sum(ended) AS BIGINT) AS ended
    FROM (
        SELECT hour, entered, started, ended FROM report_queue
        UNION ALL
        SELECT hour, entered, started, ended FROM queue_moves_lately
    ) AS one
    GROUP BY hour
) AS q
LEFT JOIN queue_wait_percentiles w ON w.hour = q.hour
"""

_WEBHOOKS = """
CREATE VIEW webhook_health AS
SELECT w.id AS endpoint_id, w.owner,
       CASE WHEN w.disabled_at IS NOT NULL THEN 'disabled' WHEN w.retry_at > {now} THEN 'paused'
            WHEN w.failures > 0 THEN 'failing' ELSE 'healthy' END AS state,
       w.disabled_code AS reason, w.failures AS failures_in_a_row,
       coalesce(p.pending, 0) AS pending, p.oldest_seconds AS oldest_pending_seconds,
       coalesce(d.delivered, 0) AS delivered_today, coalesce(d.dead, 0) AS dead_today,
       CAST(coalesce(d.attempts, 0) AS BIGINT) AS attempts_today
FROM webhook_endpoints w
LEFT JOIN (
    SELECT endpoint_id, count(*) AS pending, {idle} AS oldest_seconds
    FROM webhook_deliveries WHERE status = 'pending' GROUP BY endpoint_id
) AS p ON p.endpoint_id = w.id
LEFT JOIN (
    SELECT endpoint_id, count(*) FILTER (WHERE status = 'delivered') AS delivered,
           count(*) FILTER (WHERE status = 'dead') AS dead, sum(attempts) AS attempts
    FROM webhook_deliveries WHERE status <> 'pending' AND created_at >= {a_day_ago} GROUP BY endpoint_id
) AS d ON d.endpoint_id = w.id
"""

_FAILED = "status = 'error'"
_VIEWS = (
    "upload_facts",
    "upload_facts_lately",
    "upload_outcomes_per_day",
    "uploads_per_day",
    "uploads_per_day_and_kind",
    "upload_times",
    "upload_times_per_day",
    "videos_per_day",
    "task_facts",
    "task_facts_lately",
    "tasks_by_status",
    "storage_by_owner",
    "open_uploads",
    "open_tasks",
    "queue_moves",
    "queue_moves_lately",
    "queue_waits",
    "queue_wait_percentiles",
    "queue_per_hour",
    "webhook_health",
)


def _statements(kind: str) -> list[str]:
    of = _SQLITE if kind == "sqlite" else _POSTGRESQL
    lines = "min(f.width, f.height)" if kind == "sqlite" else "least(f.width, f.height)"
    edges = {"since_kept": of["since_kept"], "until_kept": of["until_kept"]}
    now = "strftime('%Y-%m-%d %H:%M:%f', 'now')" if kind == "sqlite" else "clock_timestamp()"
    a_day_ago = "strftime('%Y-%m-%d %H:%M:%f', 'now', '-1 day')" if kind == "sqlite" else f"{now} - interval '1 day'"
    since = lambda at: f"CAST({of['ms'].format(until=now, since=at)} / 1000 AS BIGINT)"  # noqa: E731
    took = lambda at, since: of["rounded"].format(ms=of["ms"].format(until=at, since=since))  # noqa: E731
    until = lambda at: f"CASE WHEN {at} IS NOT NULL THEN {took(at, _BEGAN)} END"  # noqa: E731
    entered = {x: _ENTERED.format(x=x, gathers=of["text"].format(json=f"{x}.data", key="gathers")) for x in "ex"}
    moves = {"hour": of["hour"].format(at="e.at"), "waited": took("e.at", "x.at")}
    moves |= {"entered": entered["e"], "x_entered": entered["x"]}
    lately = f"e.id > (SELECT kept_event FROM report_state WHERE id = 1) AND e.at >= {of['since_kept']}"  # noqa: S608
    counts = {each: _COUNT.format(which=f"= '{each}'") for each in ("succeeded", "failed", "rejected", "expired")}
    counts["ended"] = _COUNT.format(which="NOT IN ('open', 'waiting', 'processing')")
    keys = {"keys": "day, protocol, client, until", "counted": "uploads", "source": "upload_times"}
    waits = {"keys": "hour", "counted": "tasks", "source": "queue_waits"}
    return [
        _UPLOAD_FACTS.format(
            day=of["day"].format(at="u.created_at"),
            code=of["text"].format(json="e.data", key="code"),
            to_complete=until("u.completed_at"),
            to_playable=until("t.playable_at"),
            to_processed=until("t.finished_at"),
            lines=lines,
        ),
        _LATELY.format(**edges),
        _OUTCOMES,
        _PER_DAY,
        _PER_KIND.format(**counts),
        _TIMES,
        _PERCENTILES.format(name="upload_times_per_day", **keys),
        _VIDEOS,
        _TASK_FACTS.format(
            day=of["day"].format(at="t.created_at"),
            waited=of["ms"].format(until="t.started_at", since="t.created_at"),
            took=of["ms"].format(until="t.finished_at", since="t.created_at"),
        ),
        _TASKS_LATELY.format(**edges),
        _TASKS_BY_STATUS,
        _STORAGE,
        _OPEN_UPLOADS.format(idle=since("u.updated_at")),
        _OPEN_TASKS.format(
            idle=since("updated_at"), age=since("created_at"), lease_is_over=f"lease_expires_at < {now}"
        ),
        _QUEUE_MOVES.format(name="queue_moves", which="e.id > 0", **moves),
        _QUEUE_MOVES.format(name="queue_moves_lately", which=lately, **moves),
        _QUEUE_WAITS,
        _PERCENTILES.format(name="queue_wait_percentiles", **waits),
        _QUEUE,
        _WEBHOOKS.format(now=now, idle=since("min(created_at)"), a_day_ago=a_day_ago),
    ]


def _kept(name: str, keys: dict[str, int], *sums: str, number: str | None = None) -> None:
    """A table of sums: `keys` are texts with their lengths, `number` is one more key."""
    columns = [sa.Column(key, sa.String(length), nullable=False) for key, length in keys.items()]
    if number is not None:
        columns.append(sa.Column(number, sa.BigInteger(), nullable=False))
    columns += [
        sa.Column(one, sa.Double() if one == "seconds" else sa.BigInteger(), nullable=one == "longest_ms")
        for one in sums
    ]
    every = [*keys, *([] if number is None else [number])]
    op.create_table(name, *columns, sa.PrimaryKeyConstraint(*every, name=f"pk_{name}"))


_OF_DAY = {"day": 10, "protocol": 16, "client": 16}


def upgrade() -> None:
    kind = op.get_bind().dialect.name
    op.execute("DROP VIEW uploads_per_day")
    op.execute("DROP VIEW tasks_by_status")
    op.add_column("uploads", sa.Column("client", sa.String(16), nullable=True))
    op.add_column("uploads", sa.Column("first_byte_at", sa.DateTime(timezone=True), nullable=True))
    time = sa.DateTime(timezone=True)
    op.add_column("tasks", sa.Column("playable_at", sa.DateTime(timezone=True), nullable=True))
    op.create_table(
        "report_state",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kept_until", time, nullable=False),
        sa.Column("kept_event", sa.BigInteger(), nullable=False),
        sa.Column("looked_event", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_report_state"),
    )
    first = "'1970-01-01 00:00:00.000000'" if kind == "sqlite" else "'1970-01-01 00:00:00+00'"
    op.execute(f"INSERT INTO report_state (id, kept_until, kept_event, looked_event) VALUES (1, {first}, 0, 0)")  # noqa: S608
    _kept(
        "report_uploads", {**_OF_DAY, "outcome": 16, "reason": 64}, "uploads", "bytes", "arrived", "resumed"
    )  # fmt: skip
    _kept("report_times", {**_OF_DAY, "until": 16}, "uploads", number="milliseconds")
    of_video = {"day": 10, "container": 16, "video_codec": 32, "resolution": 8}
    _kept("report_videos", of_video, "videos", "bytes", "seconds", number="hdr")
    task_sums = ("tasks", "partly_failed", "files", "waited", "waited_ms", "ended", "took_ms", "longest_ms")
    _kept("report_tasks", {"day": 10, "status": 16}, *task_sums)
    _kept("report_queue", {"hour": 16}, "entered", "started", "ended")
    _kept("report_waits", {"hour": 16}, "tasks", number="milliseconds")
    # Failures and retries are few, so these indexes cost other rows nothing.
    failed, retried = sa.text(_FAILED), sa.text("type = 'retried'")
    op.create_index(
        "ix_task_steps_failed",
        "task_steps",
        ["name", "error_code", "failures"],
        sqlite_where=failed,
        postgresql_where=failed,
    )
    op.create_index(
        "ix_task_events_retried", "task_events", ["task_id", "at"], sqlite_where=retried, postgresql_where=retried
    )
    for statement in _statements(kind):
        op.execute(statement.replace(":00", r"\:00") if ":00" in statement else statement)


def downgrade() -> None:
    for view in reversed(_VIEWS):
        op.execute(f"DROP VIEW {view}")
    op.drop_index("ix_task_events_retried", "task_events")
    op.drop_index("ix_task_steps_failed", "task_steps")
    for table in ("uploads", "times", "videos", "tasks", "queue", "waits", "state"):
        op.drop_table(f"report_{table}")
    op.drop_column("tasks", "playable_at")
    op.drop_column("uploads", "first_byte_at")
    op.drop_column("uploads", "client")
    kind = op.get_bind().dialect.name
    op.execute(_OLD_PER_DAY.format(day=_OLD_DAY[kind]))
    waited = _OLD_SECONDS[kind].format(since="created_at", until="started_at")
    took = _OLD_SECONDS[kind].format(since="created_at", until="finished_at")
    op.execute(_OLD_TASKS_BY_STATUS.format(waited=waited, took=took))
