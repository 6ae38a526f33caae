"""The oldest version that works with the schema; and which uploads move between disk and bucket.

Revision: 0017. Frozen: imports nothing from `server`. It only adds: the code of revision 0012 works beside it.

`works_from` is in the row of the revision itself, so that one look tells both. A revision that only adds leaves it as
it is. One that takes away or changes what older code uses sets it to the oldest revision whose code does without:

    op.execute("UPDATE alembic_version SET works_from = '0017'")

and its downgrade sets it back.
"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.add_column("alembic_version", sa.Column("works_from", sa.String(32)))
    op.execute("UPDATE alembic_version SET works_from = '0017'")
    op.add_column("s3_uploads", sa.Column("on_disk", sa.Boolean(), nullable=False, server_default=sa.false()))


def downgrade() -> None:
    op.drop_column("s3_uploads", "on_disk")
    op.drop_column("alembic_version", "works_from")
