"""Retention: deletes originals, results, quarantine, events and rows after the times in the settings.

Rules:

- It deletes only what belongs to a task that has ended, and holds the task's row meanwhile: an operator's retry
  comes either first, and nothing is deleted, or later, and sees what is gone.
- Results go as uploads do: first the rows stop referring to them, then they leave their place, then the disk, and then
  `has_results` is cleared. After an interruption `has_results` is still true, and the next look ends the removal.
- Rows go last, when nothing on the disk needs them.
- What is due is found along an index of end times, from where the last look of this process stopped. A whole look
  follows every six hours, for what was missed: so a look costs what has become due, and not what there is.
- A clock that leaps ahead is ignored for a day (`guarded_clock.py`): not everything becomes due at once.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, case, delete, exists, false, func, literal_column, or_, select, update
from sqlalchemy.orm import Session

from server.auth import audit
from server.database.models import Task, TaskEvent, TaskFile, Upload, UploadPart
from server.database.session import Database, changed
from server.events import deliveries
from server.lifecycle import TASK_MOVES, FileStatus, TaskStatus, UploadStatus, ends
from server.maintenance import conditions
from server.maintenance.guarded_clock import GuardedClock
from server.maintenance.sweep_report import SweepKind, SweepRound
from server.settings import Settings
from server.storage.base import UploadStore
from server.storage.result_store import MAIN, ResultStore
from server.uploads.deletion import UploadDeletion

_BATCH = 500
_ROWS = 100  # tasks whose rows go in one transaction
_WHOLE_LOOK_SECONDS = 6 * 3600
_AGAIN_SECONDS = 600  # after something failed
# For rows that were committed after a look with an end time before it, whichever clock set that.
_OVERLAP = timedelta(minutes=10)

_FLAGS = dict.fromkeys(MAIN, False)
_ENDED = ends(TASK_MOVES)
_FAILED = (FileStatus.ERROR, FileStatus.CANCELLED)


@dataclass(frozen=True)
class _EndedTask:
    """A task that has ended, as it was when it was found."""

    id: str
    status: TaskStatus


class Retention:
    """Retention in one process: its looks, and where the last one stopped."""

    def __init__(
        self,
        *,
        settings: Settings,
        database: Database,
        store: UploadStore,
        results: ResultStore,
        deletion: UploadDeletion,
        node: str,
        clock: Callable[[], datetime],
    ) -> None:
        self._settings = settings
        self._database = database
        self._store = store
        self._results = results
        self._deletion = deletion
        self._node = node
        self._clock = GuardedClock(clock)
        self._seen: dict[str, datetime] = {}
        self._whole_look_at = 0.0
        self._looking = threading.Lock()

    def purge_due(self, this: SweepRound) -> None:
        """Delete what is due, or count it; does nothing while another thread does. Blocking."""
        if self._looking.acquire(blocking=False):
            try:
                self._purge(this)
            finally:
                self._looking.release()

    def _purge(self, this: SweepRound) -> None:
        if not this.dry_run and time.monotonic() >= self._whole_look_at:
            self._seen.clear()
            self._whole_look_at = time.monotonic() + _WHOLE_LOOK_SECONDS
        failed = this.report.counts[SweepKind.FAILED]
        settings, now = self._settings, self._clock.now()
        looks: tuple[tuple[str, int | None, Callable[[SweepRound, datetime, Sequence[_EndedTask]], None]], ...] = (
            ("rows", settings.row_retention or None, self._rows),
            ("events", settings.event_retention or None, self._events),
            ("results", settings.result_retention or None, self._old_results),
            ("failed", settings.failed_retention or None, self._failed_originals),
            ("hidden", 0, self._hidden_results),
            ("originals", settings.original_retention or None, self._old_originals),
        )
        if settings.row_retention:
            self._upload_rows(this, now - timedelta(seconds=settings.row_retention))
        for kind, seconds, look in looks:
            if seconds is None:
                continue
            until = now - timedelta(seconds=seconds)
            for batch in self._ended(kind, until):
                look(this, until, batch)
            self._note(this, kind, until)
        if settings.quarantine_retention:
            self._old_quarantine(this, now - timedelta(seconds=settings.quarantine_retention))
        if settings.event_retention:
            until = now - timedelta(seconds=settings.event_retention)
            this.report.add(SweepKind.OLD_DELIVERIES, deliveries.purge(self._database, until, dry_run=this.dry_run))
        if settings.audit_retention:
            until = now - timedelta(seconds=settings.audit_retention)
            this.report.add(SweepKind.OLD_AUDIT, audit.purge(self._database, until, dry_run=this.dry_run))
        if this.report.counts[SweepKind.FAILED] > failed:
            self._whole_look_at = min(self._whole_look_at, time.monotonic() + _AGAIN_SECONDS)

    # What is due

    def _note(self, this: SweepRound, kind: str, until: datetime) -> None:
        if not this.dry_run:
            self._seen[kind] = max(until - _OVERLAP, self._seen.get(kind, until - _OVERLAP))

    def _ended(self, kind: str, until: datetime) -> Iterator[Sequence[_EndedTask]]:
        """Tasks of this data folder that had ended by then, in order, from where the last look stopped."""
        columns = (Task.finished_at, Task.id, Task.status)
        mine = and_(Task.node == self._node, Task.finished_at.is_not(None), Task.finished_at <= until)
        query = select(*columns).where(mine).order_by(Task.finished_at, Task.id).limit(_BATCH)
        after = Task.finished_at >= self._seen[kind] if kind in self._seen else None
        while True:
            with self._database.read() as session:
                rows = session.execute(query if after is None else query.where(after)).all()
            if rows:
                yield [_EndedTask(row.id, row.status) for row in rows]
            if len(rows) < _BATCH:
                return
            after = _after(Task.finished_at, Task.id, rows[-1])

    # Originals

    def _failed_originals(self, this: SweepRound, until: datetime, tasks: Sequence[_EndedTask]) -> None:
        self._originals(this, until, tasks, SweepKind.FAILED_ORIGINALS, TaskFile.status.in_(_FAILED))
        if this.dry_run:
            # Their originals are counted, and still there.
            self._hidden(this, until, tasks, TaskFile.status.in_(_FAILED))
        else:
            self._hidden(this, until, tasks, conditions.is_lost())

    def _old_originals(self, this: SweepRound, until: datetime, tasks: Sequence[_EndedTask]) -> None:
        settings, counted = self._settings, []
        if this.dry_run and settings.failed_retention:  # counted already
            due = self._clock.now() - timedelta(seconds=settings.failed_retention)
            counted.append(~and_(TaskFile.status.in_(_FAILED), Task.finished_at <= due))
        if settings.originals != "keep":  # counted later
            can_play = and_(TaskFile.playable, or_(TaskFile.has_mp4, TaskFile.has_hls))
            dropped = and_(Task.status == TaskStatus.COMPLETED, TaskFile.status == FileStatus.COMPLETED, can_play)
            counted.append(~dropped)
        self._originals(this, until, tasks, SweepKind.OLD_ORIGINALS, *counted)

    def _originals(
        self, this: SweepRound, until: datetime, tasks: Sequence[_EndedTask], kind: SweepKind, *of: ColumnElement[bool]
    ) -> None:
        is_there = and_(
            Upload.has_bytes,
            Upload.status == UploadStatus.COMPLETE,
            # An upload on its way into quarantine has the retention of quarantine.
            func.coalesce(TaskFile.scan, "") != "infected",
            *of,
        )
        query = (
            select(Upload)
            .join(TaskFile, TaskFile.upload_id == Upload.id)
            .join(Task, Task.id == TaskFile.task_id)
            .where(TaskFile.task_id.in_([task.id for task in tasks]), is_there)
            .order_by(Upload.id)
        )
        with self._database.read() as session:
            found = session.scalars(query).all()
        for row in found:
            with this.one(row.id, row.lock) as held:
                if held:
                    size = this.size(row.id)
                    if this.dry_run or self._remove_original(row, until):
                        this.report.add(kind, size=size)

    def _remove_original(self, row: Upload, until: datetime) -> bool:
        """Delete the bytes while the task's row is held: a retry finds them there and keeps them, or finds them gone.

        After an interruption the row has bytes that are gone: a retry reads the store, and the next look ends it.
        """
        if not self._store.is_local:
            return self._remove_far_original(row, until)
        with ExitStack() as stack:
            with suppress(OSError):
                # Held open: the blocks of a large file are freed after the transaction, for which others wait.
                stack.enter_context(self._store.local_path(row.id).open("rb"))
            with self._database.write() as session:
                if self._hold(session, row.task_id, until) is None:
                    return False
                self._store.delete(row.id)
                changed(session, update(Upload).where(Upload.id == row.id).values(has_bytes=False))
        return True

    def _remove_far_original(self, row: Upload, until: datetime) -> bool:
        """The same where the bytes are far: first the row says that they are gone, so that no retry wants them.

        After an interruption the store's own rows show what is left (`sweep`).
        """
        with self._database.write() as session:
            if self._hold(session, row.task_id, until) is None:
                return False
            changed(session, update(Upload).where(Upload.id == row.id).values(has_bytes=False))
        self._store.delete(row.id)
        return True

    def _old_quarantine(self, this: SweepRound, until: datetime) -> None:
        aside: ColumnElement[bool] = literal_column("uploads.in_quarantine")
        due = and_(Task.finished_at <= until, Task.node == self._node)
        of = select(TaskFile.upload_id).join(Task, Task.id == TaskFile.task_id).where(due)
        for row in this.rows(and_(aside, of.where(TaskFile.upload_id == Upload.id).exists())):
            with this.one(row.id, row.lock) as held:
                if held:
                    size = self._store.size_in_quarantine(row.id) or 0
                    if not this.dry_run:
                        self._deletion.delete_from_quarantine(row.id)
                    this.report.add(SweepKind.OLD_QUARANTINE, size=size)

    # Results

    def _old_results(self, this: SweepRound, until: datetime, tasks: Sequence[_EndedTask]) -> None:
        """The results of completed files, and hidden results of the others."""
        completed = [task.id for task in tasks if task.status is TaskStatus.COMPLETED]
        self._remove_results(
            this,
            until,
            SweepKind.OLD_RESULTS,
            completed,
            or_(TaskFile.status == FileStatus.COMPLETED, conditions.is_lost()),
        )

    def _hidden_results(self, this: SweepRound, until: datetime, tasks: Sequence[_EndedTask]) -> None:
        """Hidden results: of cancelled tasks, and of files that failed and cannot be tried again."""
        if this.dry_run and self._settings.failed_retention:
            due = self._clock.now() - timedelta(seconds=self._settings.failed_retention)
            with self._database.read() as session:
                query = select(Task.id).where(Task.id.in_([task.id for task in tasks]), Task.finished_at <= due)
                counted = set(session.scalars(query))
            tasks = [task for task in tasks if task.id not in counted]
        self._hidden(this, until, tasks, conditions.is_lost())

    def _hidden(
        self, this: SweepRound, until: datetime, tasks: Sequence[_EndedTask], lost: ColumnElement[bool]
    ) -> None:
        over = [task.id for task in tasks if task.status is not TaskStatus.COMPLETED]
        partly = [task.id for task in tasks if task.status is TaskStatus.COMPLETED]
        self._remove_results(this, until, SweepKind.HIDDEN_RESULTS, over, lost)
        self._remove_results(this, until, SweepKind.HIDDEN_RESULTS, partly, lost)

    def _remove_results(
        self, this: SweepRound, until: datetime, kind: SweepKind, tasks: Sequence[str], of: ColumnElement[bool]
    ) -> None:
        """Remove the results of these files, and what is left of the folder of their task."""
        query = select(TaskFile.task_id, TaskFile.id).join(Task, Task.id == TaskFile.task_id)
        query = query.where(TaskFile.task_id.in_(tasks), Task.has_results, of).order_by(TaskFile.task_id)
        with self._database.read() as session:
            found: dict[str, list[str]] = {}
            for task_id, file_id in session.execute(query):
                found.setdefault(task_id, []).append(file_id)
        for task_id, files in found.items():
            with this.one(task_id, task_id) as held:
                if held:
                    there = [file_id for file_id in files if self._results.has_any(task_id, file_id)]
                    size = sum(self._results.bytes_of(task_id, file_id) for file_id in there)
                    if (this.dry_run or self._remove_results_of(task_id, until, of)) and there:
                        this.report.add(kind, size=size)

    def _remove_results_of(self, task_id: str, until: datetime, of: ColumnElement[bool]) -> bool:
        files = self._mark_results_removed(task_id, until, of)
        for file_id in files:
            self._results.remove(task_id, file_id)  # left by an interrupted removal
        with self._database.write() as session:
            if self._hold(session, task_id, until) is None:
                return False  # tried again: the folder may have results of the new attempt
            for file_id in files:
                self._results.hide(task_id, file_id, session)
        for file_id in files:
            self._results.remove(task_id, file_id)
        self._mark_empty(task_id, until)
        return bool(files)

    def _mark_empty(self, task_id: str, until: datetime) -> None:
        with self._database.write() as session:
            # No worker publishes while the row is held.
            if self._hold(session, task_id, until) is not None and self._results.remove_empty(task_id, session):
                changed(session, update(Task).where(Task.id == task_id).values(has_results=False))

    def _mark_results_removed(self, task_id: str, until: datetime, of: ColumnElement[bool]) -> Sequence[str]:
        """Clear the rows' results before these are deleted; the ids of the files that had some."""
        with self._database.write() as session:
            if self._hold(session, task_id, until) is None:
                return ()
            query = select(TaskFile.id).join(Task, Task.id == TaskFile.task_id).where(TaskFile.task_id == task_id, of)
            files = session.scalars(query).all()
            values = {**_FLAGS, "playable": False}
            changed(session, update(TaskFile).where(TaskFile.id.in_(files)).values(**values))
            plays = exists().where(TaskFile.task_id == task_id, TaskFile.playable)
            kept = case((plays, Task.playable), else_=false())
            changed(session, update(Task).where(Task.id == task_id).values(playable=kept))
        return files

    # Rows

    def _events(self, this: SweepRound, until: datetime, tasks: Sequence[_EndedTask]) -> None:
        of = and_(TaskEvent.task_id.in_([task.id for task in tasks]), TaskEvent.at <= until)
        with self._database.read() as session:
            number = session.scalar(select(func.count()).select_from(TaskEvent).where(of)) or 0
        if number and not this.dry_run:
            with self._database.write(lazy=True) as session:
                over = exists().where(Task.id == TaskEvent.task_id, Task.finished_at <= until)
                number = changed(session, delete(TaskEvent).where(of, over))
        this.report.add(SweepKind.OLD_EVENTS, number)

    def _rows(self, this: SweepRound, until: datetime, tasks: Sequence[_EndedTask]) -> None:
        ids = [task.id for task in tasks]
        for start in range(0, len(ids), _ROWS):
            some = and_(Task.id.in_(ids[start : start + _ROWS]), Task.finished_at <= until, conditions.is_bare())
            if this.dry_run:
                with self._database.read() as session:
                    number = session.scalar(select(func.count()).select_from(Task).where(some)) or 0
            else:
                number = self._remove_rows(some)
            this.report.add(SweepKind.OLD_TASKS, number)

    def _remove_rows(self, of: ColumnElement[bool]) -> int:
        """Tasks with files, steps and events, and then their uploads, which the files refer to."""
        with self._database.write(lazy=True) as session:
            ids = session.scalars(select(Task.id).where(of).with_for_update(skip_locked=True)).all()
            if ids:
                changed(session, delete(Task).where(Task.id.in_(ids)))
                changed(session, delete(TaskEvent).where(TaskEvent.task_id.in_(ids)))
                changed(session, delete(Upload).where(Upload.task_id.in_(ids)))
        return len(ids)

    def _upload_rows(self, this: SweepRound, until: datetime) -> None:
        """Rows of uploads that never became a task; of a partial one, when no final refers to it any more."""
        ended = (UploadStatus.REJECTED, UploadStatus.EXPIRED, UploadStatus.TERMINATED)
        due = and_(
            conditions.HAS_NO_BYTES,
            Upload.updated_at <= until,
            Upload.status.in_(ended),
            ~Upload.in_quarantine,
            ~exists().where(TaskFile.upload_id == Upload.id),
            ~exists().where(UploadPart.part_id == Upload.id),
            ~exists().where(Task.id == Upload.task_id, Task.finished_at.is_(None)),
        )
        # Finals last: what would need a second pass is left to the next whole look.
        for kind, condition in (("parts", Upload.is_partial), ("uploads", ~Upload.is_partial)):
            for ids in self._uploads_ended(kind, and_(due, condition)):
                if not this.dry_run:
                    with self._database.write(lazy=True) as session:
                        of = select(Upload.task_id).where(Upload.id.in_(ids), due)
                        alone = (TaskEvent.task_id.in_(of), ~exists().where(Task.id == TaskEvent.task_id))
                        changed(session, delete(TaskEvent).where(*alone))
                        changed(session, delete(Upload).where(Upload.id.in_(ids), due))
                this.report.add(SweepKind.OLD_UPLOADS, len(ids))
            self._note(this, kind, until)

    def _uploads_ended(self, kind: str, due: ColumnElement[bool]) -> Iterator[Sequence[str]]:
        query = select(Upload.updated_at, Upload.id).where(due).order_by(Upload.updated_at, Upload.id).limit(_BATCH)
        after = Upload.updated_at >= self._seen[kind] if kind in self._seen else None
        while True:
            with self._database.read() as session:
                rows = session.execute(query if after is None else query.where(after)).all()
            if rows:
                yield [row.id for row in rows]
            if len(rows) < _BATCH:
                return
            after = _after(Upload.updated_at, Upload.id, rows[-1])

    def _hold(self, session: Session, task_id: str, until: datetime) -> str | None:
        """Lock a task's row until the end of the transaction; its id, if it had ended by then and still has."""
        due = (Task.status.in_(_ENDED), Task.finished_at <= until)
        return session.scalar(select(Task.id).where(Task.id == task_id, *due).with_for_update())


def _after(at: Any, key: Any, last: Any) -> ColumnElement[bool]:
    """The condition for rows after this one. Its first part is the one that an index can use."""
    return and_(at >= last[0], or_(at > last[0], key > last[1]))
