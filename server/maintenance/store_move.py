"""Moves complete uploads and results from the former store to the one that the settings want.

Rules:

- It moves what does not change: complete uploads, and results of tasks that have ended. An open upload stays where it
  is until it is complete, and what is in quarantine until it is deleted; a later run moves the first.
- A lock is held for the moment of the switch only. An upload that a worker reads, or that a join waits for, is left to
  a later run.
- It may die anywhere, and starts again from the rows. One run at a time.
"""

import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from threading import Lock
from typing import Any

import structlog
from sqlalchemy import ColumnElement, exists, func, select
from sqlalchemy.orm import Session, aliased

from server.database.models import Task, TaskFile, Upload, UploadPart
from server.database.part_models import S3Upload
from server.database.session import Database
from server.errors import StartError, StorageFullError, UnavailableError
from server.lifecycle import TaskStatus, UploadStatus
from server.storage.carrying import CopyDiffersError
from server.storage.locks import UploadLocks
from server.storage.pair import PairStore
from server.storage.result_store import CHOSEN_ATTEMPTS, step_of
from server.storage.s3.ledger import LedgerLostError
from server.storage.s3.result_ledger import ResultSet, SetStatus
from server.storage.s3.results import BucketResults
from server.tus.headers import is_id

_LOCK = "migrate-store"
_BATCH = 500
_log = structlog.stdlib.get_logger("videodock.maintenance")


@dataclass(kw_only=True)
class MoveReport:
    """What a run did, or with `dry_run` would do; sizes are bytes."""

    uploads: int = 0
    upload_bytes: int = 0
    results: int = 0
    """Files of tasks whose results moved."""
    failed: list[str] = field(default_factory=list)
    """Uploads and tasks that could not be moved; the log says why."""
    open_uploads: int = 0
    busy: int = 0
    """Uploads that were in use."""
    in_quarantine: int = 0

    @property
    def left(self) -> int:
        """What is still in the former store."""
        return len(self.failed) + self.open_uploads + self.busy + self.in_quarantine


Progress = Callable[[MoveReport, int, int], None]
"""Is told what is done, and the number and bytes of all uploads to be moved. From any thread, one at a time."""


@dataclass(frozen=True, kw_only=True, repr=False)
class StoreMove:
    """One direction of it: into the bucket, or out of it."""

    database: Database
    store: PairStore
    locks: UploadLocks
    results: BucketResults
    parallel: int
    """Uploads that move at once."""

    def run(self, progress: Progress, *, dry_run: bool) -> MoveReport:
        """Move everything that can be moved now. Blocking, for as long as that takes.

        Raises `StartError` while another run is under way.
        """
        report = MoveReport()
        with self.locks.try_hold(_LOCK) as is_mine:
            if not is_mine:
                raise StartError("Another `videodock migrate-store` is running, or its host died a moment ago.")
            number, total = self._total()
            if dry_run:
                report.uploads, report.upload_bytes = number, total
                report.results = sum(1 for _ in self._files())
            else:
                self._move_uploads(report, progress, number, total)
                self._move_results(report)
                if self.store.into_bucket:
                    self._drop_moved_files()
            self._count_left(report, number if dry_run else 0)
        return report

    # Uploads

    def _move_uploads(self, report: MoveReport, progress: Progress, number: int, total: int) -> None:
        guard = Lock()

        def moved(count: int) -> None:
            with guard:
                report.upload_bytes += count
                progress(report, number, total)

        def move(upload_id: str, lock: str, length: int) -> None:
            outcome = self._move(upload_id, lock, length, moved)
            with guard:
                report.uploads += outcome is True
                if outcome is False:
                    report.failed.append(upload_id)
                progress(report, number, total)

        with ThreadPoolExecutor(self.parallel, thread_name_prefix="move") as pool:
            for batch in self._candidates():
                for future in [pool.submit(move, *one) for one in batch]:
                    future.result()

    def _move(self, upload_id: str, lock: str, length: int, moved: Callable[[int], None]) -> bool | None:
        """Whether it moved; None when it is in use, or is gone."""
        carrier = self.store.carrier
        try:
            if self.store.into_bucket:
                carrier.copy_to_bucket(upload_id, length, moved)
            else:
                carrier.copy_to_disk(upload_id, moved)
            with self.locks.try_hold(lock) as held:
                if not held:
                    return None
                if not self._is_movable(upload_id):
                    carrier.drop_copies(upload_id)
                    return None
                if self.store.into_bucket:
                    carrier.switch_to_bucket(upload_id)
                else:
                    carrier.switch_to_disk(upload_id)
        except LedgerLostError:
            return None  # a join moves it, or it was deleted
        except (FileNotFoundError, CopyDiffersError, UnavailableError, StorageFullError, OSError) as error:
            if not self._is_movable(upload_id):
                return None
            _log.warning("move_failed", upload=upload_id, reason=type(error).__name__, exc_info=True)
            return False
        return True

    def _candidates(self) -> Iterator[list[tuple[str, str, int]]]:
        last = ""
        query = select(Upload.id, Upload.lock, Upload.length).where(*self._movable()).order_by(Upload.id).limit(_BATCH)
        while True:
            with self.database.read() as session:
                found = [(row[0], row[1], row[2] or 0) for row in session.execute(query.where(Upload.id > last))]
            yield found
            if len(found) < _BATCH:
                return
            last = found[-1][0]

    def _is_movable(self, upload_id: str) -> bool:
        with self.database.read() as session:
            return session.scalar(select(Upload.id).where(Upload.id == upload_id, *self._movable())) is not None

    def _movable(self) -> list[ColumnElement[bool]]:
        final = aliased(Upload)
        wanted = (
            select(UploadPart.part_id)
            .join(final, final.id == UploadPart.final_id)
            .where(UploadPart.part_id == Upload.id, final.status == UploadStatus.OPEN)
        )
        claimed = select(Task.id).where(Task.id == Upload.task_id, Task.lease_expires_at.is_not(None))
        return [
            *self._here(),
            Upload.status == UploadStatus.COMPLETE,
            ~Upload.in_quarantine,
            ~exists(wanted),
            ~exists(claimed),
        ]

    def _here(self) -> list[ColumnElement[bool]]:
        """Uploads that the former store has, or whose move out of the bucket was cut short."""
        row = exists().where(S3Upload.upload_id == Upload.id)
        place = ~row.where(~S3Upload.on_disk) if self.store.into_bucket else row
        return [Upload.has_bytes.is_(True), place]

    def _total(self) -> tuple[int, int]:
        query = select(func.count(), func.coalesce(func.sum(Upload.length), 0)).where(*self._movable())
        with self.database.read() as session:
            number, total = session.execute(query).one()
        return number or 0, total or 0

    def _count_left(self, report: MoveReport, would_move: int) -> None:
        def count(session: Session, *conditions: ColumnElement[bool]) -> int:
            return session.scalar(select(func.count()).select_from(Upload).where(*conditions)) or 0

        with self.database.read() as session:
            complete = count(session, *self._here(), ~Upload.in_quarantine, Upload.status == UploadStatus.COMPLETE)
            report.open_uploads = count(session, *self._here(), Upload.status == UploadStatus.OPEN)
            quarantined = select(S3Upload.upload_id).where(S3Upload.is_quarantined)
            is_in_bucket = Upload.id.in_(quarantined)
            place = ~is_in_bucket if self.store.into_bucket else is_in_bucket
            report.in_quarantine = count(session, Upload.in_quarantine.is_(True), place)
        report.busy = max(0, complete - would_move - len(report.failed))

    def _drop_moved_files(self) -> None:
        """Delete files of uploads that the bucket has: the process died after the switch."""
        for upload_id in filter(is_id, self.store.disk.ids()):
            with self.locks.try_hold(upload_id) as held:
                if held and self.store.is_in_bucket(upload_id):
                    self.store.disk.delete(upload_id)

    # Results

    def _move_results(self, report: MoveReport) -> None:
        for task_id, file_id in self._files():
            try:
                if self.store.into_bucket:
                    self._to_bucket(task_id, file_id)
                else:
                    self._to_disk(task_id, file_id)
                report.results += 1
            except (UnavailableError, StorageFullError, OSError):
                _log.warning("move_failed", task=task_id, exc_info=True)
                report.failed.append(task_id)

    def _files(self) -> Iterator[tuple[str, str]]:
        """Task and file of results in the former store, of tasks that have ended."""
        place = self.results.local if self.store.into_bucket else self.results.ledger
        for task_id in filter(is_id, set(place.tasks())):
            query = select(TaskFile.id).join(Task, Task.id == TaskFile.task_id)
            query = query.where(Task.id == task_id, Task.finished_at.is_not(None), Task.status != TaskStatus.REMOVED)
            with self.database.read() as session:
                found = list(session.scalars(query))
            for file_id in found:
                if self.store.into_bucket:
                    is_here = bool(self.results.local.names(task_id, file_id))
                else:
                    is_here = any(True for _ in self._published(task_id, file_id))
                if is_here:
                    yield task_id, file_id

    def _published(self, task_id: str, file_id: str, step: str | None = None) -> Iterator[ResultSet]:
        for made in self.results.ledger.sets(task_id, file_id):
            if made.status is SetStatus.PUBLISHED and step in (None, made.step):
                yield made

    def _to_bucket(self, task_id: str, file_id: str) -> None:
        local, attempt = self.results.local, CHOSEN_ATTEMPTS + secrets.randbits(40)
        try:
            for step, names in groupby(sorted(local.names(task_id, file_id), key=step_of), key=step_of):
                where = (task_id, attempt, file_id, step)
                folder = self.results.begin(*where)
                for name in names:
                    source, target = local.find(task_id, file_id, name), folder / name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    if source is not None:
                        target.hardlink_to(source)
                self.results.seal(*where)
                with self.database.write() as session:
                    # A poster that its owner chose meanwhile is newer.
                    if _lives(session, task_id) and not any(self._published(task_id, file_id, step)):
                        self.results.publish(*where, session)
            for made in self._published(task_id, file_id):
                for one in self.results.ledger.objects(made):
                    for _ in self.results.verified(made.folder + one.name, one):
                        pass
            local.delete(task_id, file_id)
            local.remove_empty(task_id)
        finally:
            self.results.discard(task_id, attempt)

    def _to_disk(self, task_id: str, file_id: str) -> None:
        local, attempt = self.results.local, CHOSEN_ATTEMPTS + secrets.randbits(40)
        try:
            for made in list(self._published(task_id, file_id)):
                where = (task_id, attempt, file_id, made.step)
                folder = local.begin(*where)
                for one in self.results.ledger.objects(made):
                    _write(folder / one.name, self.results.verified(made.folder + one.name, one))
                local.seal(*where)
                with self.database.write() as session:
                    if _lives(session, task_id) and made in self._published(task_id, file_id):
                        self.results.publish(*where, session)
            self.results.remove(task_id, file_id)
        finally:
            local.discard(task_id, attempt)


def _lives(session: Session, task_id: str) -> bool:
    """Whether the task is still there; its row is locked until the end of the transaction."""
    query: Any = select(Task.status).where(Task.id == task_id).with_for_update()
    return session.scalar(query) not in (None, TaskStatus.REMOVED)


def _write(path: Path, pieces: Iterator[bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        path.unlink()
    with path.open("wb") as file:
        for piece in pieces:
            file.write(piece)
