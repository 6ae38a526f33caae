"""The tables.

Rules:

- Rows have codes and parameters, never sentences: those are made when a person reads them (`messages/`).
- Every upload and task has an owner, text, from the first day.
- Rows of uploads outlive their bytes, for reports. `has_bytes` means that the store may still have some, so that a
  sweep finds and ends an interrupted removal.
- `docs/database.md` is made from the `doc` of each column.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    ColumnElement,
    ForeignKey,
    Index,
    Integer,
    String,
    case,
    false,
    func,
    text,
    true,
)
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import Mapped, mapped_column

from server.database import access_models as access_models  # its tables belong to the same metadata
from server.database import event_models as event_models
from server.database import lease_models as lease_models
from server.database import part_models as part_models
from server.database import report_models as report_models
from server.database import result_models as result_models
from server.database.base import COUNTER, index_of, word
from server.database.base import Base as Base
from server.lifecycle import FileStatus, StepStatus, TaskStatus, UploadStatus
from server.tus import protocol

DEFAULT_OWNER = "default"
TUS = "tus"
"""The protocol of an upload that does not come with a form."""

# Tasks that may be claimed now or later.
_READY = "finished_at IS NULL AND gather_until IS NULL"


class Upload(Base):
    """One file that is being uploaded, or was. Its bytes are in the store under the same id."""

    __tablename__ = "uploads"
    __table_args__ = (
        Index(None, "status", "expires_at"),
        Index(None, "task_id"),
        Index("ix_uploads_removal", "status", sqlite_where=text("has_bytes"), postgresql_where=text("has_bytes")),
        index_of("ix_uploads_in_quarantine", "in_quarantine", "id"),
        # For the sweep. Each index begins with the column that its condition fixes: without that, SQLite prefers the
        # index above, and reads every upload of a status.
        index_of("ix_uploads_open", "status = 'open'", "status", "id"),
        index_of("ix_uploads_leaving", "has_bytes AND status IN ('rejected', 'expired', 'terminated')", "status", "id"),
        index_of("ix_uploads_parts", "concat = 'partial' AND status = 'complete'", "concat", "status", "expires_at"),
        index_of("ix_uploads_finals", "status = 'open' AND concat <> 'partial'", "status", "id"),
        index_of(
            "ix_uploads_due",
            "status = 'open' AND (received >= length OR checked_from IS NOT NULL OR protocol <> 'tus')",
            "status",
            "id",
        ),
        index_of("ix_uploads_ended", "NOT has_bytes", "updated_at", "id"),
        # What an owner has is added up along this one alone.
        index_of("ix_uploads_stored_of_owner", "has_bytes", "owner", "status", "length", "reserved"),
        Index(None, "owner", "created_at"),
        # For lists: the newest of one state, of an owner or of all. A list of several states is merged from these.
        Index(None, "owner", "status", "created_at", "id"),
        Index(None, "status", "created_at", "id"),
        index_of("ix_uploads_of_grant", "grant_id IS NOT NULL", "grant_id"),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True, doc="UUID, the last part of the upload's URL")
    owner: Mapped[str] = mapped_column(doc="Owner of the upload; `default` where it came without authentication")
    status: Mapped[UploadStatus] = mapped_column(
        word(UploadStatus), doc="`open`, `complete`, `rejected`, `expired` or `terminated`", default=UploadStatus.OPEN
    )
    protocol: Mapped[str] = mapped_column(String(16), doc="`tus` or `multipart`")
    client: Mapped[str | None] = mapped_column(
        String(16),
        doc="Kind of client, by its User-Agent: `browser`, `mobile_browser`, `ios`, `android`, `java`, `node`, "
        "`python`, `go`, `curl`, `other`, or `doctor` (a visit of `videodock doctor`); NULL without that header",
    )
    grant_id: Mapped[str | None] = mapped_column(String(16), doc="The grant that created it; NULL without one")
    length: Mapped[int | None] = mapped_column(doc="Bytes of the whole file; NULL while unknown")
    received: Mapped[int] = mapped_column(
        doc="Bytes at the last write of the progress; the store has the exact number", default=0, server_default="0"
    )
    checked_from: Mapped[int | None] = mapped_column(
        doc="Where an append with a checksum started; later bytes count only after the check"
    )
    max_size: Mapped[int | None] = mapped_column(doc="Most bytes that its grant allows; NULL: as for every upload")
    concat: Mapped[str | None] = mapped_column(doc="`Upload-Concat` exactly as it came; NULL for a plain upload")
    metadata_raw: Mapped[str | None] = mapped_column(doc="`Upload-Metadata` exactly as it came")
    filename: Mapped[str | None] = mapped_column(doc="The file's name as its owner knows it")
    passthrough: Mapped[str | None] = mapped_column(
        doc="What its client's backend knows it by, up to 1 KiB; comes back unchanged in status, lists and webhooks"
    )
    media_type: Mapped[str | None] = mapped_column(
        String(16), doc="`mp4`, `mov`, …; NULL until its first bytes are checked, or where nothing is checked"
    )
    reserved: Mapped[int] = mapped_column(
        doc="Bytes of disk space reserved for it, including received ones", server_default="0"
    )
    has_bytes: Mapped[bool] = mapped_column(doc="Whether the store may have bytes of this upload", default=True)
    in_quarantine: Mapped[bool] = mapped_column(doc="Whether the quarantine may have its bytes", server_default=false())
    task_id: Mapped[str] = mapped_column(String(36), doc="The task that this upload is or will be a part of")
    created_at: Mapped[datetime] = mapped_column(doc="When it was created (UTC)")
    updated_at: Mapped[datetime] = mapped_column(doc="When its row changed last (UTC)")
    expires_at: Mapped[datetime] = mapped_column(doc="When it is removed, unless complete or bytes came since (UTC)")
    first_byte_at: Mapped[datetime | None] = mapped_column(
        doc="When its first byte came (UTC), written with the progress or the completion; NULL where that was at "
        "`created_at`, or not recorded"
    )
    completed_at: Mapped[datetime | None] = mapped_column(doc="When its last byte had arrived (UTC)")
    resumed: Mapped[bool] = mapped_column(
        doc="Whether its client resumed it: sent a HEAD when only a part of the bytes had arrived",
        server_default=false(),
    )

    @hybrid_property
    def is_partial(self) -> bool:
        """Whether it is a partial upload (tus 1.0.0, section Concatenation)."""
        return protocol.is_partial(self.concat)

    @is_partial.inplace.expression
    @classmethod
    def _is_partial_expression(cls) -> ColumnElement[bool]:
        return func.coalesce(cls.concat, "") == protocol.PARTIAL

    @hybrid_property
    def is_final(self) -> bool:
        """Whether it is made of partial uploads."""
        return protocol.is_final(self.concat)

    @is_final.inplace.expression
    @classmethod
    def _is_final_expression(cls) -> ColumnElement[bool]:
        return func.coalesce(cls.concat, protocol.PARTIAL) != protocol.PARTIAL

    @hybrid_property
    def is_of_form(self) -> bool:
        """Whether it came with a form, and so belongs to that until the form is complete."""
        return self.protocol != TUS

    @hybrid_property
    def lock(self) -> str:
        """The name of the lock that guards it: the lock of its task covers the uploads of a form."""
        return self.task_id if self.is_of_form else self.id

    @lock.inplace.expression
    @classmethod
    def _lock_expression(cls) -> ColumnElement[str]:
        return case((cls.protocol == TUS, cls.id), else_=cls.task_id)


class UploadPart(Base):
    """The partial uploads of a final one, in order."""

    __tablename__ = "upload_parts"
    __table_args__ = (Index(None, "part_id"),)

    final_id: Mapped[str] = mapped_column(
        ForeignKey("uploads.id", ondelete="CASCADE"), primary_key=True, doc="The final upload"
    )
    position: Mapped[int] = mapped_column(Integer, primary_key=True, doc="Place in it, from 1")
    part_id: Mapped[str] = mapped_column(ForeignKey("uploads.id"), doc="The partial upload")


class Task(Base):
    """The processing of one upload, of the uploads of one form, or of a group."""

    __tablename__ = "tasks"
    # Claims read the three in the middle, which have open tasks only: ended tasks cost them nothing.
    __table_args__ = (
        # For lists, as those of uploads.
        Index(None, "owner", "status", "created_at", "id"),
        Index(None, "status", "created_at", "id"),
        index_of("ix_tasks_open", _READY, "node", "lease_expires_at", "created_at"),
        index_of("ix_tasks_open_of_owner", _READY, "node", "owner", "lease_expires_at", "created_at"),
        index_of("ix_tasks_running", "worker IS NOT NULL", "node", "owner"),
        index_of("ix_tasks_gathering", "gather_until IS NOT NULL", "gather_until"),
        index_of("ix_tasks_ended", "finished_at IS NOT NULL", "node", "finished_at", "id"),
    )

    id: Mapped[str] = mapped_column(
        String(36),
        primary_key=True,
        doc="UUID; of one tus upload the same as the upload's, of a group its client's choice",
    )
    owner: Mapped[str] = mapped_column(doc="Owner of the task")
    node: Mapped[str] = mapped_column(
        String(36), doc="The data folder that holds its results, whose workers claim it; `bucket`: every host's"
    )
    title: Mapped[str | None] = mapped_column(doc="Title that its owner gave it; NULL: the names of its files")
    passthrough: Mapped[str | None] = mapped_column(doc="That of its upload, or what its owner set since")
    status: Mapped[TaskStatus] = mapped_column(
        word(TaskStatus),
        doc="`uploaded`, `processing`, `completed`, `error`, `cancelled` or `removed` (deleted on request)",
        default=TaskStatus.UPLOADED,
    )
    partial: Mapped[bool] = mapped_column(doc="Completed, but not every file could be processed", default=False)
    progress: Mapped[int] = mapped_column(
        Integer, doc="Percent of the whole task; falls only when it is tried again", default=0
    )
    current_file: Mapped[int] = mapped_column(Integer, doc="Position of the file being processed, from 1", default=0)
    file_count: Mapped[int] = mapped_column(Integer, doc="Number of files")
    attempt: Mapped[int] = mapped_column(Integer, doc="Number of claims; a worker writes only under its own", default=0)
    failures: Mapped[int] = mapped_column(Integer, doc="Claims whose lease expired without a result", default=0)
    gather_until: Mapped[datetime | None] = mapped_column(
        doc="Until when the rest of its uploads must have been created (UTC); NULL once all of them are whole, or it "
        "ended. While this is set, no worker claims it"
    )
    has_results: Mapped[bool] = mapped_column(doc="Whether its results may be on the disk", server_default=true())
    playable: Mapped[bool] = mapped_column(
        doc="Whether every file that has not failed can be played", server_default=false()
    )
    playable_at: Mapped[datetime | None] = mapped_column(doc="When that was first so (UTC)")
    step: Mapped[str | None] = mapped_column(String(16), doc="The step that runs, or ran last")
    eta_seconds: Mapped[int | None] = mapped_column(
        Integer, doc="Seconds until it is done, as estimated at `updated_at`; NULL while unknown"
    )
    waiting_code: Mapped[str | None] = mapped_column(
        String(64), doc="Why it was postponed; tried again when its lease expires"
    )
    waiting_params: Mapped[dict[str, Any] | None] = mapped_column(JSON, doc="Parameters of that reason")
    worker: Mapped[str | None] = mapped_column(doc="The worker that has claimed it; NULL without one")
    lease_expires_at: Mapped[datetime | None] = mapped_column(doc="When its lease expires (UTC)")
    error_code: Mapped[str | None] = mapped_column(String(64), doc="Why it failed")
    error_params: Mapped[dict[str, Any] | None] = mapped_column(JSON, doc="Parameters of that reason")
    created_at: Mapped[datetime] = mapped_column(doc="When it was registered (UTC)")
    updated_at: Mapped[datetime] = mapped_column(doc="When its row changed last (UTC)")
    started_at: Mapped[datetime | None] = mapped_column(doc="When it was first claimed (UTC)")
    finished_at: Mapped[datetime | None] = mapped_column(doc="When it ended, in any state (UTC)")


class TaskFile(Base):
    """One file of a task, and the facts about it."""

    __tablename__ = "task_files"
    __table_args__ = (
        Index(None, "upload_id", unique=True),
        Index(None, "task_id", "position", unique=True),
        index_of("ix_task_files_infected", "scan = 'infected'", "upload_id"),
        index_of("ix_task_files_too_long", "error_code = 'video_too_long'", "upload_id"),
        index_of("ix_task_files_removing", "removing", "id"),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True, doc="UUID")
    task_id: Mapped[str] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"), doc="Its task")
    upload_id: Mapped[str] = mapped_column(
        ForeignKey("uploads.id"), doc="Its upload; unique, so that an upload becomes a task once"
    )
    position: Mapped[int] = mapped_column(Integer, doc="Place in the task, from 1")
    name: Mapped[str] = mapped_column(doc="The file's name as its owner knows it")
    safe_name: Mapped[str] = mapped_column(doc="The same name made safe for downloads")
    size: Mapped[int] = mapped_column(doc="Bytes")
    media_type: Mapped[str | None] = mapped_column(String(16), doc="Checked type; NULL where nothing was checked")
    status: Mapped[FileStatus] = mapped_column(
        word(FileStatus),
        doc="`waiting`, `processing`, `completed`, `error`, `cancelled` or `removed` (deleted on request)",
        default=FileStatus.WAITING,
    )
    progress: Mapped[int] = mapped_column(Integer, doc="Percent", default=0)
    duration: Mapped[float | None] = mapped_column(doc="Seconds")
    width: Mapped[int | None] = mapped_column(Integer, doc="Pixels, as shown (after rotation)")
    height: Mapped[int | None] = mapped_column(Integer, doc="Pixels, as shown (after rotation)")
    frame_rate: Mapped[float | None] = mapped_column(doc="Frames a second, on average")
    container: Mapped[str | None] = mapped_column(String(16), doc="`mp4`, `mov`, …")
    video_codec: Mapped[str | None] = mapped_column(String(32), doc="FFmpeg's name, such as `h264`")
    audio_codec: Mapped[str | None] = mapped_column(String(32), doc="FFmpeg's name; NULL without sound")
    audio_tracks: Mapped[int | None] = mapped_column(Integer, doc="Number of audio tracks")
    hdr: Mapped[bool | None] = mapped_column(doc="Whether its colours need a high dynamic range")
    variable_frame_rate: Mapped[bool | None] = mapped_column(doc="Whether its frames come unevenly")
    scan: Mapped[str | None] = mapped_column(
        String(16), doc="`clean`, `infected`, `skipped` (no scanner is set) or `too_large`; NULL before"
    )
    has_poster: Mapped[bool] = mapped_column(doc="Whether there is a poster", default=False)
    poster_from: Mapped[str | None] = mapped_column(
        String(16), doc="Where its owner took the poster from: `frame` or `picture`; NULL: it was chosen automatically"
    )
    poster_version: Mapped[int] = mapped_column(
        Integer, doc="How often its owner has changed the poster", default=0, server_default="0"
    )
    has_mp4: Mapped[bool] = mapped_column(doc="Whether there is an MP4 for every browser", server_default=false())
    has_hls: Mapped[bool] = mapped_column(doc="Whether there is an HLS playlist", server_default=false())
    has_storyboard: Mapped[bool] = mapped_column(
        doc="Whether there are small pictures for scrubbing", server_default=false()
    )
    playable: Mapped[bool] = mapped_column(doc="Whether it can be played already", server_default=false())
    removing: Mapped[bool] = mapped_column(
        doc="Whether it is `removed` and may still have files on the disk", server_default=false()
    )
    remarks: Mapped[list[str]] = mapped_column(
        JSON,
        doc="Codes of what its owner should know although it is completed, such as `truncated`; a list in JSON",
        default=list,
        server_default="[]",
    )
    error_code: Mapped[str | None] = mapped_column(String(64), doc="Why it failed")
    error_params: Mapped[dict[str, Any] | None] = mapped_column(JSON, doc="Parameters of that reason")


class TaskStep(Base):
    """One step of the pipeline for one file."""

    __tablename__ = "task_steps"
    # Failures are few, so it costs the other rows nothing.
    __table_args__ = (index_of("ix_task_steps_failed", "status = 'error'", "name", "error_code", "failures"),)

    file_id: Mapped[str] = mapped_column(
        ForeignKey("task_files.id", ondelete="CASCADE"), primary_key=True, doc="Its file"
    )
    name: Mapped[str] = mapped_column(String(16), primary_key=True, doc="`scan`, `probe`, `poster`, …")
    position: Mapped[int] = mapped_column(Integer, doc="Place in the order, from 1")
    status: Mapped[StepStatus] = mapped_column(
        word(StepStatus),
        doc="`waiting`, `processing`, `completed`, `skipped` (not wanted, or its file failed before), `error` or "
        "`cancelled`; none waits or runs once its file has ended",
    )
    progress: Mapped[int] = mapped_column(Integer, doc="Percent", default=0)
    failures: Mapped[int] = mapped_column(Integer, doc="Failures that were not the file's fault", default=0)
    error_code: Mapped[str | None] = mapped_column(String(64), doc="Why it failed last")
    error_params: Mapped[dict[str, Any] | None] = mapped_column(JSON, doc="Parameters of that reason")
    started_at: Mapped[datetime | None] = mapped_column(doc="When it was first begun (UTC)")
    finished_at: Mapped[datetime | None] = mapped_column(doc="When it ended, in any state (UTC)")


class FormAnswer(Base):
    """The answer to a form with an `Idempotency-Key`, which the same form gets again."""

    __tablename__ = "form_answers"
    __table_args__ = (Index(None, "expires_at"),)

    owner: Mapped[str] = mapped_column(primary_key=True, doc="Owner of the form")
    key: Mapped[str] = mapped_column(primary_key=True, doc="`Idempotency-Key` as its client chose it")
    task_id: Mapped[str] = mapped_column(
        String(36), doc="The task of the form, or its intended id; its lock is held while the form is received"
    )
    fingerprint: Mapped[str | None] = mapped_column(
        String(64), doc="SHA-256 of names and contents of its files; NULL until there is an answer"
    )
    answer: Mapped[dict[str, Any] | None] = mapped_column(
        JSON, doc="Codes and parameters; NULL until there is an answer"
    )
    created_at: Mapped[datetime] = mapped_column(doc="When the form came (UTC)")
    expires_at: Mapped[datetime] = mapped_column(doc="When the key may be used again (UTC)")


class TaskEvent(Base):
    """The events of a task and of its uploads, in order; rows are only added."""

    __tablename__ = "task_events"
    __table_args__ = (
        Index(None, "task_id", "id"),
        Index(None, "owner", "id"),
        index_of("ix_task_events_retried", "type = 'retried'", "task_id", "at"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(COUNTER, primary_key=True, doc="Rising number")
    task_id: Mapped[str] = mapped_column(
        String(36), doc="The task, which need not be there yet: the events of an upload come first"
    )
    owner: Mapped[str] = mapped_column(doc="Owner of the task")
    upload_id: Mapped[str | None] = mapped_column(String(36), doc="The upload; NULL for an event of the whole task")
    at: Mapped[datetime] = mapped_column(doc="When (UTC)")
    type: Mapped[str] = mapped_column(
        String(32),
        doc="`upload_created`, `upload_finished`, `upload_rejected`, `upload_expired` or `upload_terminated`, and of "
        "the task `uploaded`, `gathered`, `processing`, `waiting`, `playable`, `infected`, `file_completed`, "
        "`file_error`, `completed`, `error`, `cancelled`, `retried`, `file_removed`, `poster_changed` or `removed`",
    )
    attempt: Mapped[int] = mapped_column(Integer, doc="The task's attempt at that time", default=0)
    data: Mapped[dict[str, Any] | None] = mapped_column(JSON, doc="Details of the event")
