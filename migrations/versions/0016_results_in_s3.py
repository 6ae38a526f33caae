"""Which results are in a bucket.

Revision: 0016. Frozen: imports nothing from `server`. It only adds: the code of revision 0014 works beside it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.create_table(
        "result_sets",
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("task_id", sa.String(36), nullable=False),
        sa.Column("file_id", sa.String(36), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.String(16), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_result_sets"),
    )
    op.create_index("ix_result_sets_file_id_step", "result_sets", ["file_id", "step"])
    op.create_index("ix_result_sets_task_id", "result_sets", ["task_id"])
    of = sa.text("status <> 'published'")
    op.create_index("ix_result_sets_unpublished", "result_sets", ["id"], sqlite_where=of, postgresql_where=of)
    op.create_table(
        "result_objects",
        sa.Column("set_id", sa.String(16), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("crc32c", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("set_id", "name", name="pk_result_objects"),
    )


def downgrade() -> None:
    op.drop_table("result_objects")
    op.drop_table("result_sets")
