"""Steps of the pipeline as rows, renditions, and tasks that wait.

Revision: 0003, after 0002. Frozen: imports nothing from `server`.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_FILE_FLAGS = ("has_mp4", "has_hls", "has_storyboard", "playable")

_INDEXES = (
    ("ix_tasks_open", "finished_at IS NULL", ["node", "lease_expires_at", "created_at"]),
    ("ix_tasks_open_of_owner", "finished_at IS NULL", ["node", "owner", "lease_expires_at", "created_at"]),
    ("ix_tasks_running", "worker IS NOT NULL", ["node", "owner"]),
)


def upgrade() -> None:
    with op.batch_alter_table("tasks") as batch:
        batch.add_column(sa.Column("playable", sa.Boolean(), nullable=False, server_default=sa.false()))
        batch.add_column(sa.Column("step", sa.String(length=16), nullable=True))
        batch.add_column(sa.Column("eta_seconds", sa.Integer(), nullable=True))
        batch.add_column(sa.Column("waiting_code", sa.String(length=64), nullable=True))
        batch.add_column(sa.Column("waiting_params", sa.JSON(), nullable=True))
    with op.batch_alter_table("task_files") as batch:
        for name in _FILE_FLAGS:
            batch.add_column(sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.false()))
        batch.add_column(sa.Column("scan", sa.String(length=16), nullable=True))
        batch.add_column(sa.Column("audio_tracks", sa.Integer(), nullable=True))
        batch.add_column(sa.Column("hdr", sa.Boolean(), nullable=True))
        batch.add_column(sa.Column("variable_frame_rate", sa.Boolean(), nullable=True))
    op.create_table(
        "task_steps",
        sa.Column("file_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=16), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("progress", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("error_code", sa.String(length=64), nullable=True),
        sa.Column("error_params", sa.JSON(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["file_id"], ["task_files.id"], name=op.f("fk_task_steps_file_id_task_files"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("file_id", "name", name=op.f("pk_task_steps")),
    )
    op.drop_index(op.f("ix_tasks_node_status_lease_expires_at"), table_name="tasks")
    for name, of, columns in _INDEXES:
        op.create_index(name, "tasks", columns, sqlite_where=sa.text(of), postgresql_where=sa.text(of))


def downgrade() -> None:
    for name, _, _ in reversed(_INDEXES):
        op.drop_index(name, table_name="tasks")
    op.create_index(
        op.f("ix_tasks_node_status_lease_expires_at"), "tasks", ["node", "status", "lease_expires_at"], unique=False
    )
    op.drop_table("task_steps")
    with op.batch_alter_table("task_files") as batch:
        for name in ("variable_frame_rate", "hdr", "audio_tracks", "scan", *reversed(_FILE_FLAGS)):
            batch.drop_column(name)
    with op.batch_alter_table("tasks") as batch:
        for name in ("waiting_params", "waiting_code", "eta_seconds", "step", "playable"):
            batch.drop_column(name)
