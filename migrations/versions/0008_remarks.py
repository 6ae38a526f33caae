"""Remarks: what a person should know of a file that is completed all the same.

Revision: 0008, after 0007. Frozen: imports nothing from `server`.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    # Without a rebuild of the table: the views read it.
    op.add_column("task_files", sa.Column("remarks", sa.JSON(), nullable=False, server_default="[]"))


def downgrade() -> None:
    op.drop_column("task_files", "remarks")
