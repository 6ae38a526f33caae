"""Links by which a video is seen without a credential; posters that the owner has chosen.

Revision: 0012, after 0011. Frozen: imports nothing from `server`.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    time = sa.DateTime(timezone=True)
    op.create_table(
        "shares",
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("token_hash", sa.String(64), nullable=False),
        sa.Column("task_id", sa.String(36), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", time, nullable=False),
        sa.Column("expires_at", time, nullable=True),
        sa.Column("revoked_at", time, nullable=True),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name="fk_shares_task_id_tasks", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_shares"),
        sa.UniqueConstraint("token_hash", name="uq_shares_token_hash"),
    )
    op.create_index("ix_shares_task_id_created_at", "shares", ["task_id", "created_at"])
    op.create_index("ix_shares_owner", "shares", ["owner"])
    # For the list of an administrator.
    op.create_index("ix_grants_created_at_id", "grants", ["created_at", "id"])
    # Without a rebuild of the table: the views read it.
    op.add_column("task_files", sa.Column("poster_from", sa.String(16), nullable=True))
    op.add_column("task_files", sa.Column("poster_version", sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    op.drop_column("task_files", "poster_version")
    op.drop_column("task_files", "poster_from")
    op.drop_index("ix_grants_created_at_id", "grants")
    op.drop_table("shares")
