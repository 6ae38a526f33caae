"""Checked appends, and uploads that are made of others.

Revision: 0002, after 0001. Frozen: imports nothing from `server`.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    with op.batch_alter_table("uploads") as batch:
        batch.add_column(sa.Column("checked_from", sa.BigInteger(), nullable=True))
        batch.add_column(sa.Column("concat", sa.Text(), nullable=True))
    op.create_table(
        "upload_parts",
        sa.Column("final_id", sa.String(length=36), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("part_id", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(
            ["final_id"], ["uploads.id"], name=op.f("fk_upload_parts_final_id_uploads"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["part_id"], ["uploads.id"], name=op.f("fk_upload_parts_part_id_uploads")),
        sa.PrimaryKeyConstraint("final_id", "position", name=op.f("pk_upload_parts")),
    )
    op.create_index(op.f("ix_upload_parts_part_id"), "upload_parts", ["part_id"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_upload_parts_part_id"), table_name="upload_parts")
    op.drop_table("upload_parts")
    with op.batch_alter_table("uploads") as batch:
        batch.drop_column("concat")
        batch.drop_column("checked_from")
