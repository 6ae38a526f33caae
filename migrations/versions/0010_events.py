"""What happens is told: events of uploads, webhooks, titles and what a backend knows an upload by.

Revision: 0010, after 0009. Frozen: imports nothing from `server`.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

_OF_LISTS = (["owner", "status", "created_at", "id"], ["status", "created_at", "id"])
_COUNTER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _time(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _text(name: str, length: int | None = None, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.Text() if length is None else sa.String(length), nullable=nullable)


def _counter(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.Integer(), nullable=False, server_default="0")


def upgrade() -> None:
    # Without a rebuild of the tables: the views read them.
    op.add_column("uploads", _text("passthrough", nullable=True))
    op.add_column("tasks", _text("title", nullable=True))
    op.add_column("tasks", _text("passthrough", nullable=True))
    # Lists: the newest of one state, of an owner or of all.
    op.drop_index("ix_tasks_owner_created_at", "tasks")
    for table in ("tasks", "uploads"):
        for columns in _OF_LISTS:
            op.create_index("_".join(("ix", table, *columns)), table, columns)
    # A new table, because the events of an upload come before its task: the foreign key goes.
    op.drop_index("ix_task_events_task_id_id", "task_events")
    op.rename_table("task_events", "old_task_events")
    _make_events(
        _text("owner"),
        _text("upload_id", 36, nullable=True),
    )
    op.execute(
        "INSERT INTO task_events (id, task_id, at, type, attempt, data, owner) "
        "SELECT e.id, e.task_id, e.at, e.type, e.attempt, e.data, t.owner "
        "FROM old_task_events e JOIN tasks t ON t.id = e.task_id"
    )
    _end_rebuild()
    op.create_index("ix_task_events_owner_id", "task_events", ["owner", "id"])
    _make_endpoints()
    _make_deliveries()
    op.create_table(
        "outbox_cursors",
        _text("name", 128),
        sa.Column("event_id", sa.BigInteger(), nullable=False),
        _time("updated_at"),
        _text("worker", nullable=True),
        _time("lease_expires_at", nullable=True),
        sa.PrimaryKeyConstraint("name", name="pk_outbox_cursors"),
    )


def _make_events(*columns: sa.Column[object] | sa.ForeignKeyConstraint) -> None:
    # On PostgreSQL the old table keeps its names of constraints: both tables exist for a moment.
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE old_task_events RENAME CONSTRAINT pk_task_events TO pk_old_task_events")
        op.execute("ALTER SEQUENCE task_events_id_seq RENAME TO old_task_events_id_seq")
    op.create_table(
        "task_events",
        sa.Column("id", _COUNTER, nullable=False),
        _text("task_id", 36),
        _time("at"),
        _text("type", 32),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("data", sa.JSON(), nullable=True),
        *columns,
        sa.PrimaryKeyConstraint("id", name="pk_task_events"),
        sqlite_autoincrement=True,
    )


def _end_rebuild() -> None:
    """The old table goes, and numbers go on after the largest that was ever given."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "SELECT setval('task_events_id_seq', GREATEST((SELECT last_value FROM old_task_events_id_seq), 1), "
            "(SELECT is_called FROM old_task_events_id_seq))"
        )
    else:
        op.execute(
            "INSERT INTO sqlite_sequence (name, seq) SELECT 'task_events', 0 "
            "WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'task_events')"
        )
        op.execute(
            "UPDATE sqlite_sequence SET seq = max(seq, coalesce("
            "(SELECT seq FROM sqlite_sequence WHERE name = 'old_task_events'), 0)) WHERE name = 'task_events'"
        )
    op.drop_table("old_task_events")
    op.create_index("ix_task_events_task_id_id", "task_events", ["task_id", "id"])


def _make_endpoints() -> None:
    op.create_table(
        "webhook_endpoints",
        _text("id", 16),
        _text("owner", nullable=True),
        _text("url"),
        sa.Column("types", sa.JSON(), nullable=False),
        _time("created_at"),
        _time("disabled_at", nullable=True),
        _text("disabled_code", 64, nullable=True),
        sa.Column("event_id", sa.BigInteger(), nullable=False),
        _counter("failures"),
        _time("retry_at", nullable=True),
        _text("worker", nullable=True),
        _time("lease_expires_at", nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_endpoints"),
    )
    op.create_index("ix_webhook_endpoints_owner", "webhook_endpoints", ["owner"])
    op.create_table(
        "webhook_secrets",
        sa.Column("id", _COUNTER, nullable=False),
        _text("endpoint_id", 16),
        _text("secret", 128),
        _time("created_at"),
        _time("expires_at", nullable=True),
        sa.ForeignKeyConstraint(
            ["endpoint_id"],
            ["webhook_endpoints.id"],
            name="fk_webhook_secrets_endpoint_id_webhook_endpoints",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_secrets"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_webhook_secrets_endpoint_id", "webhook_secrets", ["endpoint_id"])


def _make_deliveries() -> None:
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", _COUNTER, nullable=False),
        _text("message_id", 40),
        _text("endpoint_id", 16),
        sa.Column("event_id", sa.BigInteger(), nullable=True),
        _text("task_id", 36, nullable=True),
        _text("type", 32),
        _text("status", 16),
        _counter("attempts"),
        _time("created_at"),
        _time("next_attempt_at", nullable=True),
        _time("ended_at", nullable=True),
        sa.Column("data", sa.JSON(), nullable=True),
        sa.ForeignKeyConstraint(
            ["endpoint_id"],
            ["webhook_endpoints.id"],
            name="fk_webhook_deliveries_endpoint_id_webhook_endpoints",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_deliveries"),
        sa.UniqueConstraint("message_id", name="uq_webhook_deliveries_message_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_webhook_deliveries_endpoint_id_id", "webhook_deliveries", ["endpoint_id", "id"])
    op.create_index("ix_webhook_deliveries_task_id", "webhook_deliveries", ["task_id"])
    for name, condition, columns in (
        ("ix_webhook_deliveries_pending", "status = 'pending'", ["endpoint_id", "next_attempt_at", "id"]),
        ("ix_webhook_deliveries_ended", "status <> 'pending'", ["created_at", "id"]),
    ):
        of = sa.text(condition)
        op.create_index(name, "webhook_deliveries", columns, sqlite_where=of, postgresql_where=of)
    op.create_table(
        "webhook_attempts",
        sa.Column("id", _COUNTER, nullable=False),
        sa.Column("delivery_id", sa.BigInteger(), nullable=False),
        _time("at"),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("answer_status", sa.Integer(), nullable=True),
        _text("answer", nullable=True),
        _text("error_code", 64, nullable=True),
        sa.ForeignKeyConstraint(
            ["delivery_id"],
            ["webhook_deliveries.id"],
            name="fk_webhook_attempts_delivery_id_webhook_deliveries",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_attempts"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_webhook_attempts_delivery_id", "webhook_attempts", ["delivery_id"])


def downgrade() -> None:
    for name in ("outbox_cursors", "webhook_attempts", "webhook_deliveries", "webhook_secrets", "webhook_endpoints"):
        op.drop_table(name)
    op.drop_index("ix_task_events_owner_id", "task_events")
    op.drop_index("ix_task_events_task_id_id", "task_events")
    op.rename_table("task_events", "old_task_events")
    _make_events(
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name="fk_task_events_task_id_tasks", ondelete="CASCADE"),
    )
    op.execute(
        "INSERT INTO task_events (id, task_id, at, type, attempt, data) "
        "SELECT e.id, e.task_id, e.at, e.type, e.attempt, e.data FROM old_task_events e "
        "JOIN tasks t ON t.id = e.task_id WHERE e.upload_id IS NULL AND e.type <> 'playable'"
    )
    _end_rebuild()
    for table in ("tasks", "uploads"):
        for columns in _OF_LISTS:
            op.drop_index("_".join(("ix", table, *columns)), table)
    op.create_index("ix_tasks_owner_created_at", "tasks", ["owner", "created_at"])
    op.drop_column("tasks", "passthrough")
    op.drop_column("tasks", "title")
    op.drop_column("uploads", "passthrough")
