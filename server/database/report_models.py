"""The tables of stored totals: what reports say about past days.

Rule: only `server/maintenance/report_sums.py` writes them, from the views of revision 0011. Their rows stay
when the rows of uploads and tasks are deleted, and have no owner and no name.
"""

from datetime import datetime

from sqlalchemy import Double, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from server.database.base import Base

_DAY = "Day of the creation (UTC), as `YYYY-MM-DD`"
_HOUR = "Hour (UTC), as `YYYY-MM-DD HH:00`"
_ROUNDED = "Milliseconds, rounded to two significant digits"


class ReportState(Base):
    """The day up to which totals are stored; one row."""

    __tablename__ = "report_state"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, doc="1", autoincrement=False)
    kept_until: Mapped[datetime] = mapped_column(doc="Sums are kept of everything before this time (UTC)")
    kept_event: Mapped[int] = mapped_column(doc="No event of `task_events` up to this id is later than that")
    looked_event: Mapped[int] = mapped_column(doc="The sums know of the changes of all events up to this id")


class ReportUploads(Base):
    """Uploads by day, kind and outcome."""

    __tablename__ = "report_uploads"

    day: Mapped[str] = mapped_column(String(10), primary_key=True, doc=_DAY)
    protocol: Mapped[str] = mapped_column(String(16), primary_key=True, doc="`tus` or `multipart`")
    client: Mapped[str] = mapped_column(String(16), primary_key=True, doc="Kind of client")
    outcome: Mapped[str] = mapped_column(String(16), primary_key=True, doc="As in the view `upload_facts`")
    reason: Mapped[str] = mapped_column(String(64), primary_key=True, doc="Code of the reason; empty without one")
    uploads: Mapped[int] = mapped_column(doc="Uploads")
    bytes: Mapped[int] = mapped_column(doc="Bytes that arrived")
    arrived: Mapped[int] = mapped_column(doc="Of these uploads, those whose last byte arrived")
    resumed: Mapped[int] = mapped_column(doc="Of these, those that were resumed")


class ReportTimes(Base):
    """Uploads by how long they took."""

    __tablename__ = "report_times"

    day: Mapped[str] = mapped_column(String(10), primary_key=True, doc=_DAY)
    protocol: Mapped[str] = mapped_column(String(16), primary_key=True, doc="`tus` or `multipart`")
    client: Mapped[str] = mapped_column(String(16), primary_key=True, doc="Kind of client")
    until: Mapped[str] = mapped_column(String(16), primary_key=True, doc="`complete`, `playable` or `processed`")
    milliseconds: Mapped[int] = mapped_column(primary_key=True, doc=_ROUNDED, autoincrement=False)
    uploads: Mapped[int] = mapped_column(doc="Uploads that took so long")


class ReportVideos(Base):
    """Processed videos by what they are."""

    __tablename__ = "report_videos"

    day: Mapped[str] = mapped_column(String(10), primary_key=True, doc=_DAY)
    container: Mapped[str] = mapped_column(String(16), primary_key=True, doc="`mp4`, `mov`, …; empty while unknown")
    video_codec: Mapped[str] = mapped_column(String(32), primary_key=True, doc="FFmpeg's name; empty while unknown")
    resolution: Mapped[str] = mapped_column(String(8), primary_key=True, doc="`480p` to `2160p`, the next larger one")
    hdr: Mapped[int] = mapped_column(primary_key=True, doc="1 for a high dynamic range, or else 0", autoincrement=False)
    videos: Mapped[int] = mapped_column(doc="Videos")
    bytes: Mapped[int] = mapped_column(doc="Bytes of their originals")
    seconds: Mapped[float] = mapped_column(Double, doc="Seconds that they last together")


class ReportTasks(Base):
    """Tasks by day and status."""

    __tablename__ = "report_tasks"

    day: Mapped[str] = mapped_column(String(10), primary_key=True, doc=_DAY)
    status: Mapped[str] = mapped_column(String(16), primary_key=True, doc="As `tasks.status`")
    tasks: Mapped[int] = mapped_column(doc="Tasks")
    partly_failed: Mapped[int] = mapped_column(doc="Of these, completed ones of which some files failed")
    files: Mapped[int] = mapped_column(doc="Files of these tasks")
    waited: Mapped[int] = mapped_column(doc="Tasks that a worker has claimed")
    waited_ms: Mapped[int] = mapped_column(doc="Milliseconds that these waited for it, together")
    ended: Mapped[int] = mapped_column(doc="Tasks that have ended")
    took_ms: Mapped[int] = mapped_column(doc="Milliseconds from their last byte to their end, together")
    longest_ms: Mapped[int | None] = mapped_column(doc="The longest of these; NULL without one")


class ReportQueue(Base):
    """What came into the queue and left it, by hour."""

    __tablename__ = "report_queue"

    hour: Mapped[str] = mapped_column(String(16), primary_key=True, doc=_HOUR)
    entered: Mapped[int] = mapped_column(doc="Tasks whose bytes were all there")
    started: Mapped[int] = mapped_column(doc="Tasks that a worker claimed for the first time")
    ended: Mapped[int] = mapped_column(doc="Tasks that ended without a claim")


class ReportWaits(Base):
    """Tasks by how long they waited for their first claim, by the hour of the claim."""

    __tablename__ = "report_waits"

    hour: Mapped[str] = mapped_column(String(16), primary_key=True, doc=_HOUR)
    milliseconds: Mapped[int] = mapped_column(primary_key=True, doc=_ROUNDED, autoincrement=False)
    tasks: Mapped[int] = mapped_column(doc="Tasks that waited so long")
