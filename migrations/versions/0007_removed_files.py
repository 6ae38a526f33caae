"""Files and tasks that were deleted on request.

Revision: 0007, after 0006. Frozen: imports nothing from `server`.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("task_files", sa.Column("removing", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_index(
        "ix_task_files_removing",
        "task_files",
        ["id"],
        sqlite_where=sa.text("removing"),
        postgresql_where=sa.text("removing"),
    )


def downgrade() -> None:
    # A version that does not know the word `removed` cannot read such a row. It removes what was made of cancelled
    # files by itself, so a removal that was cut short comes to its end there too.
    op.execute("UPDATE task_files SET status = 'cancelled' WHERE status = 'removed'")
    op.execute("UPDATE tasks SET status = 'cancelled' WHERE status = 'removed'")
    op.drop_index("ix_task_files_removing", table_name="task_files")
    op.drop_column("task_files", "removing")
