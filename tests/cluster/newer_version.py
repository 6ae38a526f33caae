"""A version that comes after this one: the same code, and one more revision of the schema, which only adds."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from server.database import migration
from tests.harness.server_process import ROOT

REVISION = "9001"
_TEXT = '''"""Adds a table and a column with a default, as an expand step does."""

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{down}"


def upgrade() -> None:
    op.create_table("later", sa.Column("id", sa.Integer(), primary_key=True))
    op.add_column("uploads", sa.Column("later", sa.Integer(), server_default="0"))
    {more}


def downgrade() -> None:
    op.drop_column("uploads", "later")
    op.drop_table("later")
'''
_CONTRACT = "op.execute(\"UPDATE alembic_version SET works_from = '{revision}'\")"


@contextmanager
def newer_version(*, contracts: bool = False) -> Iterator[Path]:
    """A checkout of it, for as long as it is needed; with `contracts` older code does not work with its schema."""
    with tempfile.TemporaryDirectory() as folder:
        checkout = Path(folder)
        for name in ("server", "migrations"):
            left_out = shutil.ignore_patterns("node_modules", "__pycache__")
            shutil.copytree(ROOT / name, checkout / name, ignore=left_out)
        more = _CONTRACT.format(revision=REVISION) if contracts else "pass"
        text = _TEXT.format(revision=REVISION, down=migration.head(), more=more)
        (checkout / f"migrations/versions/{REVISION}_later.py").write_text(text)
        yield checkout
