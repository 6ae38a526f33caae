"""The sweep: finishes interrupted work, and removes uploads that no client will finish.

Rules:

- It reads rows, never folders, to find uploads; it neither waits nor evicts (a lock that is held is passed
  over until the next time); it may run twice at once, or be killed anywhere.
- What is due is found along an index: open uploads that are due by their rows (`_IS_DUE`), expired ones, and finals
  whose parts are complete or gone. So a sweep costs what is due, and not what is open.
- The row of an upload may lag its bytes only while its process lives and is about to write it, or when that
  process has died. A process that died has left its FIFO; a sweep that finds one looks at every open upload.
- Even that costs a look at the size of each file, and a lock only where the row does not fit it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any

import structlog
from sqlalchemy import ColumnElement, Row, and_, literal_column, or_, select
from sqlalchemy.orm import aliased

from server.auth import sessions
from server.database.models import Task, TaskFile, Upload, UploadPart
from server.database.session import Database
from server.errors import MediaTypeUnsupportedError, PartInvalidError, StorageFullError, UploadLockedError
from server.lifecycle import FileStatus, TaskStatus, UploadStatus
from server.maintenance import report_sums
from server.maintenance.removal import Removal
from server.maintenance.retention import Retention
from server.maintenance.sweep_report import SweepKind, SweepReport, SweepRound
from server.settings import Settings
from server.storage.base import UploadStore
from server.storage.locks import UploadLocks
from server.storage.results import Results
from server.tasks import outbox
from server.uploads import groups
from server.uploads.completion import UploadCompletion
from server.uploads.concatenation import FinalService
from server.uploads.deletion import UploadDeletion
from server.uploads.facts import UploadFacts
from server.uploads.idempotency import IdempotencyKeys
from server.uploads.repository import UploadRepository

_BATCH = 500
_RECORDED = (Upload.id, Upload.lock.label("lock"), Upload.received)
_log = structlog.stdlib.get_logger("videodock.maintenance")

# Must match the text of an index; SQLite would not recognise an equivalent condition.
_IS_OPEN: ColumnElement[bool] = literal_column("uploads.status = 'open'")
_IS_DUE: ColumnElement[bool] = literal_column(
    "uploads.status = 'open' AND"
    " (uploads.received >= uploads.length OR uploads.checked_from IS NOT NULL OR uploads.protocol <> 'tus')"
)
_IS_OPEN_FINAL: ColumnElement[bool] = literal_column("uploads.status = 'open' AND uploads.concat <> 'partial'")
_IS_LEAVING: ColumnElement[bool] = literal_column(
    "uploads.has_bytes AND uploads.status IN ('rejected', 'expired', 'terminated')"
)
_IS_WHOLE_PART: ColumnElement[bool] = literal_column("uploads.concat = 'partial' AND uploads.status = 'complete'")


@dataclass(frozen=True, kw_only=True, repr=False)
class Sweeper:
    """Sweeps one data folder. Every method blocks."""

    settings: Settings
    database: Database
    store: UploadStore
    locks: UploadLocks
    repository: UploadRepository
    completion: UploadCompletion
    facts: UploadFacts
    deletion: UploadDeletion
    finals: FinalService
    keys: IdempotencyKeys
    retention: Retention
    removal: Removal
    results: Results
    node: str
    clock: Callable[[], datetime]

    def sweep(self, *, dry_run: bool = False, everything: bool = True) -> SweepReport:
        """One pass over the uploads that are due or being removed, and over what retention deletes.

        With `everything` it looks at each open upload, as it does when a process has died. With `dry_run` it reports
        what it would do, and changes nothing.
        """
        this = self._round(dry_run=dry_run)
        report = this.report
        self.store.check()  # a store that is down looks empty: nothing may be concluded from that
        report.add(SweepKind.LEFTOVERS, len(self.locks.stale_fifos()) if dry_run else self.locks.clean())
        if not dry_run:
            # Before rows are deleted: their sums stay.
            report_sums.keep(self.database, self.clock(), row_retention=self.settings.row_retention)
        # First, so that the sweep sees the same rows as what was reported before it.
        self.retention.purge_due(this)
        self._end_removals(this)
        self._quarantine(this)
        everything = everything or report.counts[SweepKind.LEFTOVERS] > 0
        self._settle_open(this, everything=everything)
        if everything:
            self._sweep_store(this)
            self._remove(this, this.rows(_is_joined()), UploadStatus.TERMINATED)
        self._remove(this, this.rows_until(_IS_WHOLE_PART, self.clock()), UploadStatus.EXPIRED)
        self._end_late_groups(this)
        self._drop_originals(this, None)
        report.add(SweepKind.ANSWERS, self.keys.drop_expired(dry_run=dry_run))
        report.add(SweepKind.SESSIONS, sessions.purge(self.database, self.settings, self.clock(), dry_run=dry_run))
        self.removal.sweep(this)
        self._sweep_work(this)
        return report

    def drop_originals(self, task_id: str) -> None:
        """Remove the originals of a task that the setting `originals` does not keep.

        Their rows stay complete, so a HEAD for such an upload still reports all its bytes.
        """
        self._drop_originals(self._round(), task_id)

    def _round(self, *, dry_run: bool = False) -> SweepRound:
        return SweepRound(
            database=self.database, store=self.store, locks=self.locks, report=SweepReport(), dry_run=dry_run
        )

    def _sweep_store(self, this: SweepRound) -> None:
        """Remove what a process that died left in a store with rows of its own."""
        for upload_id in self.store.forgotten():
            with self.locks.try_hold(upload_id) as held:
                # Again under the lock: it may have been created just now.
                row = self.facts.find(upload_id) if held else None
                if held and (row is None or not (row.has_bytes or row.in_quarantine)):
                    if not this.dry_run:
                        self.store.delete(upload_id)
                    this.report.add(SweepKind.LEFTOVERS)
        this.report.add(SweepKind.LEFTOVERS, self.store.sweep(dry_run=this.dry_run))

    def _sweep_work(self, this: SweepRound) -> None:
        """Remove the work folders of attempts without a worker."""
        found = self.results.in_work()  # first: a worker that begins later has claimed its task by then
        if not found:
            return
        with self.database.read() as session:
            working = outbox.active_claims(session, self.node, dead=None)
        for name, claim in found:
            if claim not in working:
                if not this.dry_run:
                    self.results.drop_work(name)
                this.report.add(SweepKind.LEFTOVERS)

    def _settle_open(self, this: SweepRound, *, everything: bool) -> None:
        seen: set[str] = set()
        # Finals last: a part that this sweep finishes may be the one that a final waits for.
        for found in (
            self._lagging(this) if everything else (),
            this.rows(_IS_DUE),
            self._expired(this),
            this.rows(_is_decided()),
        ):
            for row in found:
                if this.dry_run and row.id in seen:
                    continue  # nothing was changed, so another check may find it too
                seen.add(row.id)
                with this.one(row.id, row.lock) as held:
                    if held:
                        self._sweep_open(this, row.id)

    def _lagging(self, this: SweepRound) -> Iterator[Row[Any]]:
        """Open uploads, except finals, whose files differ from their rows."""
        for row in this.columns(and_(_IS_OPEN, ~Upload.is_final), _RECORDED):
            try:
                lags = self.store.size(row.id) != row.received
            except OSError:
                lags = True  # the report has this upload, and the sweep continues with the others
            if lags:
                yield row

    def _expired(self, this: SweepRound) -> Iterator[Upload]:
        """Open uploads that have expired by their rows. Newer bytes extend the time, and the row is updated.

        Finals last: when a part expires, the finals that wait for it end too.
        """
        for kind in (~Upload.is_final, Upload.is_final):
            yield from this.rows_until(and_(Upload.status == UploadStatus.OPEN, kind), self.clock())

    def _remove(self, this: SweepRound, found: Iterator[Upload], target: UploadStatus) -> None:
        for row in found:
            with this.one(row.id, row.id) as held:
                size = this.size(row.id)
                if held and (this.dry_run or self.deletion.remove(row.id, target)):
                    this.report.add(SweepKind.REMOVED, size=size)

    def _end_removals(self, this: SweepRound) -> None:
        elsewhere = select(Task.id).where(Task.id == Upload.task_id, Task.node != self.node)
        for row in this.rows(and_(_IS_LEAVING, ~elsewhere.exists())):
            with this.one(row.id, row.id) as held:
                if not held:
                    continue
                size = this.size(row.id)
                if this.dry_run:
                    pass
                elif not row.is_of_form or row.completed_at is not None:  # a task refers to the row
                    self.deletion.delete_bytes(row.id)
                else:
                    self.repository.discard([row.id])
                this.report.add(SweepKind.REMOVED, size=size)

    def _end_late_groups(self, this: SweepRound) -> None:
        with self.database.read() as session:
            late = select(Task.id).where(groups.is_overdue(self.node, self.clock()))
            found = session.scalars(late.order_by(Task.gather_until).limit(_BATCH)).all()
        for task_id in found:
            with this.one(task_id, task_id) as held:
                if held and (this.dry_run or self.deletion.fail_overdue_group(task_id)):
                    this.report.add(SweepKind.LATE)

    def _drop_originals(self, this: SweepRound, task_id: str | None) -> None:
        """Remove originals by the setting `originals`, and always those of videos longer than their grant allows."""
        wanted = [self._is_too_long(task_id)]
        if self.settings.originals != "keep":
            wanted.append(self._is_dispensable(task_id))
        for row in chain.from_iterable(map(this.rows, wanted)):
            with this.one(row.id, row.lock) as held:
                if held:
                    size = this.size(row.id)
                    if not this.dry_run:
                        self.deletion.delete_bytes(row.id)
                    this.report.add(SweepKind.DROPPED, size=size)

    def _is_dispensable(self, task_id: str | None) -> ColumnElement[bool]:
        """Originals in this data folder whose task is completed and whose file can be played without them.

        A completed file is never read again, not even by an operator's retry of its task, and its results are on the
        disk before its row refers to them. The next sweep finds a removal that was interrupted.
        """
        asked = () if task_id is None else (Task.id == task_id,)
        ended = (Task.status == TaskStatus.COMPLETED, Task.node == self.node, *asked)
        mine = (TaskFile.upload_id == Upload.id, TaskFile.status == FileStatus.COMPLETED)
        can_play = (TaskFile.playable, or_(TaskFile.has_mp4, TaskFile.has_hls))
        found = select(TaskFile.id).join(Task, Task.id == TaskFile.task_id).where(*mine, *can_play, *ended)
        return and_(Upload.has_bytes, Upload.status == UploadStatus.COMPLETE, found.exists())

    def _quarantine(self, this: SweepRound) -> None:
        for row in this.rows(self._is_infected()):
            with this.one(row.id, row.id) as held:
                if held:
                    if not this.dry_run:
                        self.deletion.quarantine(row.id)
                    this.report.add(SweepKind.QUARANTINED)

    def _is_too_long(self, task_id: str | None) -> ColumnElement[bool]:
        """Originals in this data folder of videos that are longer than their grant allows."""
        is_too_long: ColumnElement[bool] = literal_column(
            "task_files.error_code = 'video_too_long'"
        )  # as the index has it
        asked = () if task_id is None else (Task.id == task_id,)
        mine = select(TaskFile.upload_id).join(Task, Task.id == TaskFile.task_id)
        found = mine.where(is_too_long, Task.node == self.node, *asked)
        is_complete: ColumnElement[bool] = literal_column("coalesce(uploads.status, '') = 'complete'")  # as below
        return and_(Upload.has_bytes, is_complete, Upload.id.in_(found))

    def _is_infected(self) -> ColumnElement[bool]:
        """Uploads in this data folder in which a virus was found, and which their worker did not quarantine."""
        is_infected: ColumnElement[bool] = literal_column("task_files.scan = 'infected'")  # must match an index
        mine = select(TaskFile.upload_id).join(Task, Task.id == TaskFile.task_id)
        found = mine.where(is_infected, Task.node == self.node)
        # Must not match an index: SQLite would read every complete upload.
        is_complete: ColumnElement[bool] = literal_column("coalesce(uploads.status, '') = 'complete'")
        return and_(Upload.has_bytes, is_complete, Upload.id.in_(found))

    def _sweep_open(self, this: SweepRound, upload_id: str) -> None:
        if not this.dry_run:
            self.repository.reconcile(upload_id)
        with self.database.read() as session:
            row = session.get(Upload, upload_id)  # again, now that the lock is held
        if row is None or row.status is not UploadStatus.OPEN:
            return
        if row.is_of_form:
            size = this.size(upload_id)
            if not this.dry_run:
                self.repository.discard([upload_id])
            this.report.add(SweepKind.ABANDONED, size=size)
        elif row.is_final:
            self._settle_final(this, row)
        else:
            self._sweep_open_plain(this, row)

    def _settle_final(self, this: SweepRound, row: Upload) -> None:
        size = this.size(row.id)
        joined = self._join(this, row.id)
        if joined is None:
            this.report.add(SweepKind.REMOVED, size=size)
        elif joined:
            this.report.add(SweepKind.FINISHED)
        elif self.facts.expiry_of(row) <= self.clock():
            self._expire(this, row)
        elif row.expires_at <= self.clock() and not this.dry_run:
            self.repository.record_received(row.id, row.received, self.facts.expiry_of(row))

    def _sweep_open_plain(self, this: SweepRound, row: Upload) -> None:
        report = this.report
        size = self.store.size(row.id)
        if size is not None and row.checked_from is not None:
            size = min(size, row.checked_from)  # only in a dry run: otherwise it was taken back
        if size is not None and size == row.length:
            self._finish(this, row)  # even if expired: every byte is there
        elif self.facts.expiry_of(row) <= self.clock():
            self._expire(this, row)
        elif size is None and row.received == 0:
            # The process died between row and file; no client ever received this upload's id.
            report.add(SweepKind.ABANDONED, int(this.dry_run or self.deletion.abandon(row.id)))
        elif size is None:
            _log.error("upload_bytes_missing", upload=row.id, received=row.received)
            report.add(SweepKind.MISSING)
        elif (size != row.received or row.expires_at <= self.clock()) and not this.dry_run:
            self.repository.record_received(row.id, size, self.facts.expiry_of(row))  # reservations shrink by this

    def _expire(self, this: SweepRound, row: Upload) -> None:
        size = this.size(row.id)
        if this.dry_run or self.deletion.remove(row.id, UploadStatus.EXPIRED):
            this.report.add(SweepKind.EXPIRED, size=size)

    def _join(self, this: SweepRound, final_id: str) -> bool | None:
        """Join a final; returns whether it is joined, or None when it has ended instead."""
        try:
            return self.finals.can_join(final_id) if this.dry_run else self.finals.join(final_id, patience=0)
        except (MediaTypeUnsupportedError, PartInvalidError):
            return None
        except UploadLockedError:
            return False  # a part is busy
        except StorageFullError:
            _log.warning("join_put_off", upload=final_id, reason="the disk is full")
            return False

    def _finish(self, this: SweepRound, row: Upload) -> None:
        try:
            media_type = self.completion.verified_type(row)
        except MediaTypeUnsupportedError as error:
            if not this.dry_run:
                self.deletion.remove(row.id, UploadStatus.REJECTED, error)
            return
        if not this.dry_run:
            self.completion.complete_verified({row.id: media_type}, row.id)
        this.report.add(SweepKind.FINISHED)


def _is_joined() -> ColumnElement[bool]:
    """Partial uploads whose bytes are in a completed final, and in no final that still waits.

    The final may have been deleted since; its parts must be removed then, too.
    """
    final = aliased(Upload)
    uses = select(UploadPart.final_id).join(final, final.id == UploadPart.final_id)
    mine = UploadPart.part_id == Upload.id
    return and_(
        _IS_WHOLE_PART,
        uses.where(mine, final.completed_at.is_not(None)).exists(),
        ~uses.where(mine, final.status == UploadStatus.OPEN).exists(),
    )


def _is_decided() -> ColumnElement[bool]:
    """Open finals that can be decided: their parts are complete, or one is gone."""
    part = aliased(Upload)
    mine = select(part.id).join(UploadPart, UploadPart.part_id == part.id).where(UploadPart.final_id == Upload.id)
    waits = mine.where(part.status == UploadStatus.OPEN).exists()
    is_broken = mine.where(part.status.not_in((UploadStatus.OPEN, UploadStatus.COMPLETE))).exists()
    return and_(_IS_OPEN_FINAL, or_(~waits, is_broken))
