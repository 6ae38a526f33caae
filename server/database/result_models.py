"""The tables of results in a bucket: which objects there are, and which of them count.

Rule: no foreign key to `tasks` or `task_files`. A row stays until the bucket has nothing of its set any more, even when
the row of the task is gone.
"""

from datetime import datetime

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from server.database.base import Base, index_of, word
from server.storage.s3.result_ledger import SetStatus


class ResultSetRow(Base):
    """What one attempt made by one step for one file: objects of the bucket that appear and go together."""

    __tablename__ = "result_sets"
    __table_args__ = (
        Index(None, "file_id", "step"),
        Index(None, "task_id"),
        index_of("ix_result_sets_unpublished", "status <> 'published'", "id"),
    )

    id: Mapped[str] = mapped_column(String(16), primary_key=True, doc="Random; part of its keys")
    task_id: Mapped[str] = mapped_column(String(36), doc="The task")
    file_id: Mapped[str] = mapped_column(String(36), doc="The file of the task")
    attempt: Mapped[int] = mapped_column(doc="The attempt that made it; of a chosen poster a number that no worker has")
    step: Mapped[str] = mapped_column(String(16), doc="The step that made it")
    status: Mapped[SetStatus] = mapped_column(
        word(SetStatus),
        doc="`writing`, `written`, `published`, `leaving` (its objects are being deleted) or `abandoned` (the same, "
        "while its worker may still write)",
    )
    size: Mapped[int] = mapped_column(doc="Bytes of its objects", default=0)
    changed_at: Mapped[datetime] = mapped_column(doc="When its state changed last (UTC)")


class ResultObjectRow(Base):
    """A result in the bucket; its key is `results/<task>/<file>/<attempt>.<step>.<set>/<name>`."""

    __tablename__ = "result_objects"

    set_id: Mapped[str] = mapped_column(String(16), primary_key=True, doc="Its set")
    name: Mapped[str] = mapped_column(primary_key=True, doc="Its name: `poster.jpg`, `hls/720p/3.m4s`, …")
    size: Mapped[int] = mapped_column(doc="Bytes")
    crc32c: Mapped[str] = mapped_column(doc="CRC32C in base64")
