"""Views for reports, and which uploads were resumed.

Revision: 0004, after 0003. Frozen: imports nothing from `server`.

Rule: whatever comes later and takes away or renames a column that a view reads drops the view before, and makes it
again.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

# A day is text on both databases, so that the same query gives the same rows.
_DAY = {"sqlite": "date(u.created_at)", "postgresql": "to_char(u.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')"}

_UPLOADS_PER_DAY = """
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

_SECONDS = {
    "sqlite": "(julianday({until}) - julianday({since})) * 86400",
    "postgresql": "CAST(extract(epoch FROM {until} - {since}) AS numeric)",
}

_TASKS_BY_STATUS = """
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


def upgrade() -> None:
    op.add_column("uploads", sa.Column("resumed", sa.Boolean(), nullable=False, server_default=sa.false()))
    kind = op.get_bind().dialect.name
    waited = _SECONDS[kind].format(since="created_at", until="started_at")
    took = _SECONDS[kind].format(since="created_at", until="finished_at")
    op.execute(_UPLOADS_PER_DAY.format(day=_DAY[kind]))
    op.execute(_TASKS_BY_STATUS.format(waited=waited, took=took))


def downgrade() -> None:
    op.execute("DROP VIEW tasks_by_status")
    op.execute("DROP VIEW uploads_per_day")
    with op.batch_alter_table("uploads") as batch:
        batch.drop_column("resumed")
