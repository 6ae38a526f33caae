"""The table of upload leases: the locks of uploads where several hosts share one PostgreSQL.

Rule: there is a row as long as a lock is held, or its holder is dead and not replaced yet. So it is empty when nothing
runs, and with locks in the data folder always.
"""

from datetime import datetime

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from server.database.base import Base

EPOCHS = "upload_lease_epochs"
"""The sequence of PostgreSQL that numbers requests and holdings; no number is given twice."""


class UploadLease(Base):
    """A lock that is held until a moment of the database's clock."""

    __tablename__ = "upload_leases"
    __table_args__ = (Index(None, "process"),)

    name: Mapped[str] = mapped_column(primary_key=True, doc="What it guards: an upload, or the task of a form, by id")
    epoch: Mapped[int] = mapped_column(doc="Number of this holding, never used again: a write names it, or is refused")
    arrival: Mapped[int] = mapped_column(doc="Number of the holder's request in the order of arrival; 0 for a sweep's")
    process: Mapped[str] = mapped_column(doc="The process that holds it")
    wanted: Mapped[int] = mapped_column(
        doc="Number of the latest request that asked the holder for it; 0 without one", server_default="0"
    )
    expires_at: Mapped[datetime] = mapped_column(doc="When it ends unless it is renewed (UTC, the database's clock)")
