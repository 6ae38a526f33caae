"""Who may do what: keys, signing keys, grants, sessions, limits of owners, and the audit log.

Revision: 0009, after 0008. Frozen: imports nothing from `server`.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

_UPLOADS_STORED = "has_bytes"

_DAY = {"sqlite": "date(at)", "postgresql": "to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD')"}
_ACTIONS_PER_DAY = """
CREATE VIEW actions_per_day AS
SELECT {day} AS day, action, owner, count(*) AS actions, count(DISTINCT address) AS addresses
FROM audit_log
GROUP BY {day}, action, owner
"""


def _time(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _text(name: str, length: int | None = None, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.Text() if length is None else sa.String(length), nullable=nullable)


def _number(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.BigInteger(), nullable=True)


def upgrade() -> None:
    _make_credentials()
    _make_grants()
    op.create_table(
        "owners",
        _text("owner"),
        *(_number(name) for name in ("stored_bytes", "open_bytes", "open_uploads", "daily_bytes", "waiting_tasks")),
        _time("updated_at"),
        sa.PrimaryKeyConstraint("owner", name="pk_owners"),
    )
    counter = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "audit_log",
        sa.Column("id", counter, nullable=False),
        _time("at"),
        _text("action", 32),
        _text("actor"),
        _text("owner", nullable=True),
        _text("object_kind", 16, nullable=True),
        _text("object_id", 64, nullable=True),
        _text("object_owner", nullable=True),
        _text("address", 64, nullable=True),
        _text("request_id", 64, nullable=True),
        sa.Column("details", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_audit_log"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_audit_log_at", "audit_log", ["at"])
    op.create_index("ix_audit_log_owner_at", "audit_log", ["owner", "at"])
    op.execute(_ACTIONS_PER_DAY.format(day=_DAY[op.get_bind().dialect.name]))
    # Without a rebuild of the table: the views read it.
    op.add_column("uploads", sa.Column("grant_id", sa.String(16), nullable=True))
    op.add_column("uploads", sa.Column("max_size", sa.BigInteger(), nullable=True))
    stored = sa.text(_UPLOADS_STORED)
    op.create_index(
        "ix_uploads_stored_of_owner",
        "uploads",
        ["owner", "status", "length", "reserved"],
        sqlite_where=stored,
        postgresql_where=stored,
    )
    op.create_index("ix_uploads_owner_created_at", "uploads", ["owner", "created_at"])
    of_grant = sa.text("grant_id IS NOT NULL")
    op.create_index("ix_uploads_of_grant", "uploads", ["grant_id"], sqlite_where=of_grant, postgresql_where=of_grant)
    too_long = sa.text("error_code = 'video_too_long'")
    op.create_index(
        "ix_task_files_too_long", "task_files", ["upload_id"], sqlite_where=too_long, postgresql_where=too_long
    )


def _make_credentials() -> None:
    op.create_table(
        "api_keys",
        _text("id", 16),
        _text("secret_hash", 64),
        _text("owner"),
        sa.Column("scopes", sa.JSON(), nullable=False),
        _time("created_at"),
        _time("expires_at", nullable=True),
        _time("revoked_at", nullable=True),
        _time("last_used_at", nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
    )
    op.create_index("ix_api_keys_owner", "api_keys", ["owner"])
    op.create_table(
        "signing_keys",
        _text("id", 8),
        _text("secret", 64),
        _time("created_at"),
        sa.PrimaryKeyConstraint("id", name="pk_signing_keys"),
    )
    op.create_table(
        "browser_sessions",
        _text("id_hash", 64),
        _text("owner"),
        sa.Column("scopes", sa.JSON(), nullable=False),
        _text("credential"),
        _time("created_at"),
        _time("used_at"),
        _time("expires_at"),
        sa.PrimaryKeyConstraint("id_hash", name="pk_browser_sessions"),
    )
    op.create_index("ix_browser_sessions_expires_at", "browser_sessions", ["expires_at"])


def _make_grants() -> None:
    op.create_table(
        "grants",
        _text("id", 16),
        _text("secret_hash", 64),
        _text("owner"),
        _text("created_by"),
        _time("created_at"),
        _time("expires_at"),
        _time("revoked_at", nullable=True),
        sa.Column("uploads", sa.Integer(), nullable=False),
        _text("filename", nullable=True),
        _number("size"),
        _number("max_size"),
        sa.Column("max_duration", sa.Float(), nullable=True),
        sa.Column("types", sa.JSON(), nullable=True),
        _text("task", 36, nullable=True),
        sa.Column("upload_metadata", sa.JSON(), nullable=True),
        _text("allowed_origin", nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_grants"),
    )
    op.create_index("ix_grants_owner_created_at", "grants", ["owner", "created_at"])
    op.create_index("ix_grants_expires_at", "grants", ["expires_at"])
    op.create_table(
        "grant_places",
        _text("grant_id", 16),
        sa.Column("place", sa.Integer(), nullable=False),
        _text("upload_id", 36),
        _text("fingerprint", 64, nullable=True),
        sa.PrimaryKeyConstraint("grant_id", "place", name="pk_grant_places"),
        sa.ForeignKeyConstraint(
            ["grant_id"], ["grants.id"], name="fk_grant_places_grant_id_grants", ondelete="CASCADE"
        ),
        sa.UniqueConstraint("upload_id", name="uq_grant_places_upload_id"),
    )


def downgrade() -> None:
    op.drop_index("ix_task_files_too_long", "task_files")
    op.drop_index("ix_uploads_of_grant", "uploads")
    op.drop_index("ix_uploads_owner_created_at", "uploads")
    op.drop_index("ix_uploads_stored_of_owner", "uploads")
    op.drop_column("uploads", "max_size")
    op.drop_column("uploads", "grant_id")
    op.execute("DROP VIEW actions_per_day")
    for table in ("audit_log", "owners", "grant_places", "grants", "browser_sessions", "signing_keys", "api_keys"):
        op.drop_table(table)
