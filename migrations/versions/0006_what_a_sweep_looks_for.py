"""Indexes of what a sweep looks for: uploads that are due, finals, and parts that have expired.

Revision: 0006, after 0005. Frozen: imports nothing from `server`.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_OPEN = "status = 'open'"
_LEAVING = "has_bytes AND status IN ('rejected', 'expired', 'terminated')"
_PARTS = "concat = 'partial' AND status = 'complete'"
_FINALS = "status = 'open' AND concat <> 'partial'"
_DUE = "status = 'open' AND (received >= length OR checked_from IS NOT NULL OR protocol <> 'tus')"

_BEFORE = (
    ("ix_uploads_open", _OPEN, "id"),
    ("ix_uploads_leaving", _LEAVING, "id"),
    ("ix_uploads_parts", _PARTS, "id"),
)
# Each begins with what its condition fixes: SQLite prefers one of (status, expires_at) otherwise, and reads far more.
_AFTER = (
    ("ix_uploads_open", _OPEN, "status", "id"),
    ("ix_uploads_leaving", _LEAVING, "status", "id"),
    ("ix_uploads_parts", _PARTS, "concat", "status", "expires_at"),
    ("ix_uploads_finals", _FINALS, "status", "id"),
    ("ix_uploads_due", _DUE, "status", "id"),
)


def _replace(old: tuple[tuple[str, ...], ...], new: tuple[tuple[str, ...], ...]) -> None:
    for name, *_ in old:
        op.drop_index(name, table_name="uploads")
    for name, of, *columns in new:
        op.create_index(name, "uploads", columns, sqlite_where=sa.text(of), postgresql_where=sa.text(of))


def upgrade() -> None:
    _replace(_BEFORE, _AFTER)


def downgrade() -> None:
    _replace(_AFTER, _BEFORE)
