"""Groups of uploads, room that was promised, answers to forms, and what a retention takes away.

Revision: 0005, after 0004. Frozen: imports nothing from `server`.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_OPEN = "finished_at IS NULL"
_READY = "finished_at IS NULL AND gather_until IS NULL"
_INDEXES = (
    ("ix_tasks_open", ["node", "lease_expires_at", "created_at"]),
    ("ix_tasks_open_of_owner", ["node", "owner", "lease_expires_at", "created_at"]),
)

# What a sweep looks for.
_SWEPT = (
    ("ix_uploads_open", "uploads", "status = 'open'", "id"),
    ("ix_uploads_leaving", "uploads", "has_bytes AND status IN ('rejected', 'expired', 'terminated')", "id"),
    ("ix_uploads_parts", "uploads", "concat = 'partial' AND status = 'complete'", "id"),
    ("ix_uploads_ended", "uploads", "NOT has_bytes", "updated_at", "id"),
    ("ix_tasks_ended", "tasks", "finished_at IS NOT NULL", "node", "finished_at", "id"),
    ("ix_task_files_infected", "task_files", "scan = 'infected'", "upload_id"),
)


def _reindex(of: str) -> None:
    for name, columns in _INDEXES:
        op.drop_index(name, table_name="tasks")
        op.create_index(name, "tasks", columns, sqlite_where=sa.text(of), postgresql_where=sa.text(of))


def _partial_index(name: str, table: str, of: str, *columns: str) -> None:
    op.create_index(name, table, list(columns), sqlite_where=sa.text(of), postgresql_where=sa.text(of))


def upgrade() -> None:
    # Without a rebuild of the tables: the views read them.
    op.add_column("tasks", sa.Column("gather_until", sa.DateTime(timezone=True), nullable=True))
    op.add_column("tasks", sa.Column("has_results", sa.Boolean(), nullable=False, server_default=sa.true()))
    op.add_column("uploads", sa.Column("reserved", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("uploads", sa.Column("in_quarantine", sa.Boolean(), nullable=False, server_default=sa.false()))
    _reindex(_READY)
    _partial_index("ix_tasks_gathering", "tasks", "gather_until IS NOT NULL", "gather_until")
    _partial_index("ix_uploads_in_quarantine", "uploads", "in_quarantine", "id")
    for name, table, of, *columns in _SWEPT:
        _partial_index(name, table, of, *columns)
    op.execute("UPDATE uploads SET reserved = length WHERE status = 'open' AND length IS NOT NULL")
    op.execute(
        sa.text(
            "UPDATE uploads SET in_quarantine = :yes WHERE NOT has_bytes AND status = 'complete'"
            " AND id IN (SELECT upload_id FROM task_files WHERE scan = 'infected')"
        ).bindparams(yes=True)
    )
    op.create_table(
        "form_answers",
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("task_id", sa.String(length=36), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=True),
        sa.Column("answer", sa.JSON(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("owner", "key", name=op.f("pk_form_answers")),
    )
    op.create_index(op.f("ix_form_answers_expires_at"), "form_answers", ["expires_at"], unique=False)


def downgrade() -> None:
    op.drop_table("form_answers")
    for name, table, *_ in reversed(_SWEPT):
        op.drop_index(name, table_name=table)
    op.drop_index("ix_uploads_in_quarantine", table_name="uploads")
    op.drop_index("ix_tasks_gathering", table_name="tasks")
    # A version that knows no groups would take one that is not whole for a task to be done.
    of = "task_id IN (SELECT id FROM tasks WHERE gather_until IS NOT NULL AND finished_at IS NULL)"
    op.execute(f"UPDATE uploads SET status = 'terminated' WHERE status = 'open' AND {of}")  # noqa: S608
    op.execute(f"UPDATE task_files SET status = 'cancelled' WHERE status = 'waiting' AND {of}")  # noqa: S608
    op.execute(
        "UPDATE tasks SET status = 'cancelled', finished_at = updated_at"
        " WHERE gather_until IS NOT NULL AND finished_at IS NULL"
    )
    _reindex(_OPEN)
    op.drop_column("uploads", "in_quarantine")
    op.drop_column("uploads", "reserved")
    op.drop_column("tasks", "has_results")
    op.drop_column("tasks", "gather_until")
