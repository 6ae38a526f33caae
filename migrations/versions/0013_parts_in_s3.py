"""Which parts and pieces of an upload are in a bucket.

Revision: 0013, after 0012. Frozen: imports nothing from `server`.
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.create_table(
        "s3_uploads",
        sa.Column("upload_id", sa.String(36), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("part_size", sa.BigInteger(), nullable=False),
        sa.Column("length", sa.BigInteger(), nullable=True),
        sa.Column("multipart_id", sa.Text(), nullable=True),
        sa.Column("object_key", sa.Text(), nullable=True),
        sa.Column("object_size", sa.BigInteger(), nullable=True),
        sa.Column("head", sa.LargeBinary(), nullable=True),
        sa.Column("is_quarantined", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("modified_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("upload_id", name="pk_s3_uploads"),
    )
    for name, column, of in (
        ("ix_s3_uploads_quarantined", "upload_id", "is_quarantined"),
        ("ix_s3_uploads_multipart", "multipart_id", "multipart_id IS NOT NULL AND object_key IS NULL"),
    ):
        op.create_index(name, "s3_uploads", [column], sqlite_where=sa.text(of), postgresql_where=sa.text(of))
    op.create_table(
        "s3_parts",
        sa.Column("upload_id", sa.String(36), nullable=False),
        sa.Column("start", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=True),
        sa.Column("etag", sa.Text(), nullable=True),
        sa.Column("crc32c", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("upload_id", "start", "name", name="pk_s3_parts"),
    )


def downgrade() -> None:
    op.drop_table("s3_parts")
    op.drop_table("s3_uploads")
