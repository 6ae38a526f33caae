"""Locks of uploads in the database, for several hosts.

Revision: 0014. Frozen: imports nothing from `server`. It only adds: the code of revision 0012 works beside it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.create_table(
        "upload_leases",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("arrival", sa.BigInteger(), nullable=False),
        sa.Column("process", sa.Text(), nullable=False),
        sa.Column("wanted", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_upload_leases"),
    )
    op.create_index("ix_upload_leases_process", "upload_leases", ["process"])
    if op.get_bind().dialect.name == "postgresql":
        op.execute("CREATE SEQUENCE upload_lease_epochs")


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP SEQUENCE upload_lease_epochs")
    op.drop_index("ix_upload_leases_process", "upload_leases")
    op.drop_table("upload_leases")
