"""Kept sums of each owner, so that the report of one owner reads few rows, too.

Revision: 0015. Frozen: imports nothing from `server`. It only adds: the code of revision 0014 works beside it. A sweep
of that code keeps the sums of all owners without those of each; `report_state.owners_until` tells how far these are.
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"

_KEPT = "(SELECT owners_until FROM report_state WHERE id = 1)"
_END = {"sqlite": "'9999-12-31'", "postgresql": _KEPT.replace("owners_until", "owners_until + interval '1000 years'")}

# As in 0011: rows of a time are found owner by owner, each owner by one look into the index.
_PER_OWNER = """
CREATE VIEW uploads_per_owner_and_day AS
WITH RECURSIVE seen(owner) AS (
    SELECT min(owner) FROM uploads
    UNION ALL
    SELECT (SELECT min(u.owner) FROM uploads u WHERE u.owner > seen.owner) FROM seen WHERE seen.owner IS NOT NULL
)
SELECT owner, day, outcome, nullif(reason, '') AS reason,
       CAST(sum(uploads) AS BIGINT) AS uploads, CAST(sum(bytes) AS BIGINT) AS bytes,
       CAST(sum(arrived) AS BIGINT) AS arrived, CAST(sum(resumed) AS BIGINT) AS resumed,
       max(last_at) AS last_upload
FROM (
    SELECT owner, day, outcome, reason, uploads, bytes, arrived, resumed, last_at FROM report_owners
    UNION ALL
    SELECT f.owner, f.day, f.outcome, f.reason, 1, f.bytes, f.arrived, f.resumed, f.created_at
    FROM seen CROSS JOIN upload_facts f
    WHERE f.owner = seen.owner AND f.created_at >= {kept} AND f.created_at < {end}
) AS one
GROUP BY owner, day, outcome, reason
"""


def upgrade() -> None:
    kind = op.get_bind().dialect.name
    time = sa.DateTime(timezone=True)
    first = sa.text("'1970-01-01 00:00:00.000000'" if kind == "sqlite" else r"'1970-01-01 00\:00\:00+00'")
    op.add_column("report_state", sa.Column("owners_until", time, nullable=False, server_default=first))
    for name in ("owners_event", "version"):
        op.add_column("report_state", sa.Column(name, sa.BigInteger(), nullable=False, server_default="0"))
    # The first sums are of rows that show all of this already.
    op.execute("UPDATE report_state SET owners_event = looked_event")
    op.create_table(
        "report_owners",
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("day", sa.String(10), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(64), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("uploads", "bytes", "arrived", "resumed")),
        sa.Column("last_at", time, nullable=False),
        sa.PrimaryKeyConstraint("owner", "day", "outcome", "reason", name="pk_report_owners"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "report_owner_times",
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("day", sa.String(10), nullable=False),
        sa.Column("milliseconds", sa.BigInteger(), nullable=False),
        sa.Column("uploads", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "day", "milliseconds", name="pk_report_owner_times"),
        sqlite_with_rowid=False,
    )
    # A sweep replaces a day.
    for table in ("report_owners", "report_owner_times"):
        op.create_index(f"ix_{table}_day", table, ["day"])
    op.execute(_PER_OWNER.format(kept=_KEPT, end=_END[kind]))


def downgrade() -> None:
    op.execute("DROP VIEW uploads_per_owner_and_day")
    for table in ("report_owner_times", "report_owners"):
        op.drop_index(f"ix_{table}_day", table)
        op.drop_table(table)
    for name in ("version", "owners_event", "owners_until"):
        op.drop_column("report_state", name)
