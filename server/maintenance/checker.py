"""The inventory: compares the database with the folders, and reports each mismatch.

Rules:

- It changes nothing. A suspected mismatch is checked once more, with the lock of its upload or task held: work in
  progress of a running server is not a finding.
- It reads a batch at a time, so its memory does not grow with the number of uploads, only with that of findings.
- What a sweep is about to do by itself, because it has become due, is not a finding. Interrupted work is one, and a
  sweep ends nearly all of it: see `MismatchKind.is_swept`.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Any, Self

from sqlalchemy import ColumnElement, and_, exists, func, or_, select
from sqlalchemy.orm import Session

from server.database.models import FormAnswer, Task, TaskFile, Upload
from server.database.session import Database
from server.lifecycle import TaskStatus, UploadStatus
from server.settings import Settings
from server.storage.base import UploadStore
from server.storage.locks import UploadLocks
from server.storage.result_store import MAIN, ResultStore
from server.tasks import outbox
from server.tus.headers import is_id

_BATCH = 500
_PATIENCE_SECONDS = 2.0

_SWEPT, _LEFT = True, False


class MismatchKind(StrEnum):
    """Every kind of finding, with its sentence, in English, and whether a sweep ends it."""

    text: str
    is_swept: bool

    def __new__(cls, name: str, is_swept: bool, text: str) -> Self:
        """A member; its value is the name."""
        member = str.__new__(cls, name)
        member._value_ = name
        member.text = text
        member.is_swept = is_swept
        return member

    UPLOAD_UNKNOWN = "upload_unknown", _LEFT, "The folder of uploads has a file without a row."
    UPLOAD_MISSING = "upload_missing", _LEFT, "The row says that there are bytes, but there is no file."
    UPLOAD_SIZE = "upload_size", _LEFT, "The file has another size than the row says."
    UPLOAD_UNREGISTERED = (
        "upload_unregistered",
        _SWEPT,
        "Every byte of this open upload is there, and it was not completed.",
    )
    UPLOAD_UNBORN = "upload_unborn", _SWEPT, "The process that created this upload died before its file was there."
    UPLOAD_HALF_REMOVED = "upload_half_removed", _SWEPT, "The removal of this upload was cut short."
    FORM_ABANDONED = "form_abandoned", _SWEPT, "The form that this upload belongs to is not being received any more."
    UPLOAD_WITHOUT_TASK = "upload_without_task", _LEFT, "The upload is complete, and has no task."
    UPLOAD_OF_ENDED_TASK = (
        "upload_of_ended_task",
        _SWEPT,
        "The upload is open, and the task that it was meant for is over.",
    )
    QUARANTINE_UNKNOWN = "quarantine_unknown", _LEFT, "The quarantine has a file without a row."
    QUARANTINE_MISSING = "quarantine_missing", _LEFT, "The row says that the file is in quarantine, and it is not."
    TASK_WITHOUT_FILES = "task_without_files", _LEFT, "The task has no files."
    FILE_WITHOUT_UPLOAD = "file_without_upload", _LEFT, "The file of a task has no upload."
    FILE_HALF_REMOVED = "file_half_removed", _SWEPT, "The deletion of this file of a task was cut short."
    GROUP_INCONSISTENT = "group_inconsistent", _LEFT, "The group waits, though nothing is left for it to wait for."
    RESULTS_UNKNOWN = "results_unknown", _LEFT, "There are results here without a row."
    RESULTS_MISSING = "results_missing", _LEFT, "The row says that there are results, and some of them are not there."
    WORK_LEFTOVER = "work_leftover", _SWEPT, "An attempt that no worker is running left this."
    FIFO_LEFTOVER = "fifo_leftover", _SWEPT, "A process that died has left this."
    TEMPORARY_LEFTOVER = "temporary_leftover", _SWEPT, "A process that died has left this."
    FORM_ANSWER_UNANSWERED = "form_answer_unanswered", _SWEPT, "The form of this answer is not being received any more."


@dataclass(frozen=True)
class Mismatch:
    """A mismatch: `subject` is an id, or a path below the data folder."""

    kind: MismatchKind
    subject: str


@dataclass(frozen=True, kw_only=True, repr=False)
class Checker:
    """Compares the rows of a database with the folders of one data folder."""

    settings: Settings
    database: Database
    store: UploadStore
    locks: UploadLocks
    results: ResultStore
    node: str

    def find_mismatches(self) -> list[Mismatch]:
        """All mismatches, in the order of the checks. Beside a running server or without. Blocking.

        Raises `OSError` when the store is away: then nothing may be concluded.
        """
        self.store.check()
        checks = (
            self._uploads,
            self._strange_uploads,
            self._stored,
            self._quarantined,
            self._tasks,
            self._results,
            self._work,
            self._leftovers,
            self._form_answers,
        )
        return [finding for check in checks for finding in check()]

    def _uploads(self) -> Iterator[Mismatch]:
        """Uploads whose rows do not match the store."""
        for upload_id, lock in self._rows(select(Upload.id, Upload.lock).where(Upload.has_bytes), Upload.id):
            if self._judge(upload_id) is None:
                continue
            with self.locks.try_hold(lock) as held:
                kind = self._judge(upload_id) if held else None
            if kind is not None:
                yield Mismatch(kind, upload_id)

    def _judge(self, upload_id: str) -> MismatchKind | None:
        """The mismatch of an upload whose row says that it may have bytes; None without one."""
        size = self.store.size(upload_id)
        with self.database.read() as session:
            row = session.get(Upload, upload_id)
            node = session.scalar(select(Task.node).where(Task.id == row.task_id)) if row is not None else None
        if row is None or not row.has_bytes or node not in (None, self.node):
            return None
        # Read before the row: it may have grown since, and that is not a finding.
        match row.status:
            case UploadStatus.OPEN | UploadStatus.COMPLETE:
                found = (_judge_open if row.status is UploadStatus.OPEN else _judge_complete)(row, size)
                is_lost = found is None and size is not None and not self.store.is_intact(upload_id)
                return MismatchKind.UPLOAD_MISSING if is_lost else found
        return MismatchKind.UPLOAD_HALF_REMOVED

    def _strange_uploads(self) -> Iterator[Mismatch]:
        """Uploads whose rows contradict themselves."""
        has_file = exists().where(TaskFile.upload_id == Upload.id)
        is_whole = and_(Upload.status == UploadStatus.COMPLETE, ~Upload.is_partial)
        is_over = exists().where(Task.id == Upload.task_id, Task.finished_at.is_not(None))
        wrong = {
            MismatchKind.UPLOAD_WITHOUT_TASK: and_(is_whole, ~has_file),
            MismatchKind.UPLOAD_OF_ENDED_TASK: and_(Upload.status == UploadStatus.OPEN, is_over),
        }
        for kind, condition in wrong.items():
            yield from self._wrong_rows(kind, Upload.id, condition, Upload.lock)

    def _stored(self) -> Iterator[Mismatch]:
        """Files in the store and in quarantine that no row has."""
        for names in _batches(self.store.ids()):
            for name in self._without_row(names, Upload.has_bytes):
                with self.locks.try_hold(name) as held:
                    known = held and self._without_row([name], Upload.has_bytes)
                    if known and (not is_id(name) or self.store.has_anything(name)):
                        yield Mismatch(
                            MismatchKind.UPLOAD_UNKNOWN,
                            f"uploads/{name[:2]}/{name}" if is_id(name) else f"uploads/{name}",
                        )

    def _quarantined(self) -> Iterator[Mismatch]:
        for names in _batches(self.store.ids_in_quarantine()):
            for name in self._without_row(names, Upload.in_quarantine):
                upload_id = name.removeprefix(".")
                with self.locks.try_hold(upload_id) as held:
                    known = held and self._without_row([name], Upload.in_quarantine)
                    # Copied there from another disk, and not yet whole.
                    if known and (name != upload_id or self.store.size_in_quarantine(name) is not None):
                        yield Mismatch(MismatchKind.QUARANTINE_UNKNOWN, f"quarantine/{name}")
        marked = select(Upload.id, Upload.id).where(Upload.in_quarantine)
        for upload_id, lock in self._rows(marked, Upload.id):
            if self.store.size_in_quarantine(upload_id) is not None:
                continue
            with self.locks.try_hold(lock) as held:
                still = held and not self._without_row([upload_id], Upload.in_quarantine)
                if still and self.store.size_in_quarantine(upload_id) is None:
                    yield Mismatch(MismatchKind.QUARANTINE_MISSING, upload_id)

    def _without_row(self, names: Iterable[str], condition: Any) -> list[str]:
        """The ids for which no row matches."""
        wanted = list(names)
        with self.database.read() as session:
            found = set(session.scalars(select(Upload.id).where(Upload.id.in_(wanted), condition)))
        return [name for name in wanted if name not in found]

    def _tasks(self) -> Iterator[Mismatch]:
        files = exists().where(TaskFile.task_id == Task.id)
        yield from self._wrong_rows(MismatchKind.TASK_WITHOUT_FILES, Task.id, ~files, Task.id)
        without = ~exists().where(Upload.id == TaskFile.upload_id)
        yield from self._wrong_rows(MismatchKind.FILE_WITHOUT_UPLOAD, TaskFile.id, without, TaskFile.id)
        yield from self._half_removed()
        yield from self._wrong_rows(MismatchKind.GROUP_INCONSISTENT, Task.id, _is_strange_group(), Task.id)

    def _half_removed(self) -> Iterator[Mismatch]:
        """Deleted files that may have left something."""
        files = select(TaskFile.id, TaskFile.task_id).join(Task, Task.id == TaskFile.task_id)
        for file_id, task_id in self._rows(files.where(TaskFile.removing, Task.node == self.node), TaskFile.id):
            with ExitStack() as stack:
                # A deletion holds the lock of the upload or that of the task.
                names = sorted({self._upload_of(file_id), task_id})
                held = all(stack.enter_context(self.locks.try_hold(name)) for name in names)
                if held and self._is_removing(file_id):
                    yield Mismatch(MismatchKind.FILE_HALF_REMOVED, file_id)

    def _upload_of(self, file_id: str) -> str:
        with self.database.read() as session:
            return session.scalar(select(TaskFile.upload_id).where(TaskFile.id == file_id)) or file_id

    def _is_removing(self, file_id: str) -> bool:
        with self.database.read() as session:
            return bool(session.scalar(select(TaskFile.removing).where(TaskFile.id == file_id)))

    def _results(self) -> Iterator[Mismatch]:
        """Results without a row, and rows whose results are missing."""
        for names in _batches(self.results.tasks()):
            for task_id in self._without_results(names):
                with self.locks.try_hold(task_id) as held:
                    if held and self._without_results([task_id]) and self.results.has_any(task_id):
                        yield Mismatch(MismatchKind.RESULTS_UNKNOWN, f"results/{task_id}")
        for task_id, what in self.results.strays():
            with self.locks.try_hold(task_id) as held:
                if held:
                    yield Mismatch(MismatchKind.RESULTS_UNKNOWN, what)
        shown = or_(*(getattr(TaskFile, column) for column in MAIN))
        files = select(TaskFile.id, TaskFile.task_id).join(Task, Task.id == TaskFile.task_id)
        for file_id, task_id in self._rows(files.where(shown, Task.node == self.node), TaskFile.id):
            if not self._lacks_results(file_id):
                continue
            with self.locks.try_hold(task_id) as held:
                if held and self._lacks_results(file_id):
                    yield Mismatch(MismatchKind.RESULTS_MISSING, f"results/{task_id}/{file_id}")

    def _without_results(self, names: Iterable[str]) -> list[str]:
        wanted = list(names)
        with self.database.read() as session:
            found = set(session.scalars(select(Task.id).where(Task.id.in_(wanted), Task.has_results)))
        return [name for name in wanted if name not in found]

    def _lacks_results(self, file_id: str) -> bool:
        with self.database.read() as session:
            file = session.get(TaskFile, file_id)
            if file is None:
                return False
            names = [name for column, name in MAIN.items() if getattr(file, column)]
        return self.results.lacks(file.task_id, file_id, names)

    def _work(self) -> Iterator[Mismatch]:
        found = self.results.in_work()  # first: a worker that begins later has claimed its task by then
        with self.database.read() as session:
            working = outbox.active_claims(session, self.node, dead=None)
        left = [name for name, claim in found if claim not in working]
        # A worker ends its claim first, and cleans up afterwards.
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while (left := [name for name in left if self.results.is_in_work(name)]) and time.monotonic() < deadline:
            time.sleep(0.1)
        for name in left:
            yield Mismatch(MismatchKind.WORK_LEFTOVER, f"work/{name}")

    def _leftovers(self) -> Iterator[Mismatch]:
        for fifo in self.locks.stale_fifos():
            yield Mismatch(MismatchKind.FIFO_LEFTOVER, f"locks/{fifo.name}")
        for path in self.settings.data_dir.glob(".node-*"):
            yield Mismatch(MismatchKind.TEMPORARY_LEFTOVER, path.name)

    def _form_answers(self) -> Iterator[Mismatch]:
        waits = FormAnswer.fingerprint.is_(None)
        with self.database.read() as session:
            found = session.scalars(select(FormAnswer.task_id).where(waits)).all()
        for task_id in found:
            with self.locks.try_hold(task_id) as held, self.database.read() as session:
                if held and session.scalar(select(func.count()).where(FormAnswer.task_id == task_id, waits)):
                    yield Mismatch(MismatchKind.FORM_ANSWER_UNANSWERED, task_id)

    def _wrong_rows(
        self, kind: MismatchKind, key: Any, condition: ColumnElement[bool], lock: Any
    ) -> Iterator[Mismatch]:
        """Rows that match this condition, and still match it under their lock."""
        for its_id, its_lock in self._rows(select(key, lock).where(condition), key):
            with self.locks.try_hold(its_lock) as held, self.database.read() as session:
                if held and session.scalar(select(key).where(key == its_id, condition)):
                    yield Mismatch(kind, its_id)

    def _rows(self, query: Any, key: Any) -> Iterator[tuple[str, str]]:
        """Two columns of every row, in the order of the first, a batch at a time."""
        last = ""
        while True:
            with self.database.read() as session:
                found = _page(session, query.where(key > last).order_by(key).limit(_BATCH))
            yield from found
            if len(found) < _BATCH:
                return
            last = found[-1][0]


def _judge_complete(row: Upload, size: int | None) -> MismatchKind | None:
    if size is None:
        return MismatchKind.UPLOAD_MISSING
    length = row.length or 0
    # A final upload that is being joined may share the file of its first part, and appends to it.
    return MismatchKind.UPLOAD_SIZE if size < length or (size > length and not row.is_partial) else None


def _judge_open(row: Upload, size: int | None) -> MismatchKind | None:
    if row.is_of_form:
        return MismatchKind.FORM_ABANDONED  # its lock is free
    if row.is_final:
        return None  # it waits for its parts
    if size is None:
        return MismatchKind.UPLOAD_MISSING if row.received else MismatchKind.UPLOAD_UNBORN
    if row.length is not None and size > row.length:
        return MismatchKind.UPLOAD_SIZE
    return MismatchKind.UPLOAD_UNREGISTERED if size == row.length and row.checked_from is None else None


def _is_strange_group() -> ColumnElement[bool]:
    """A task that gathers although it has ended or is claimed, has too many members, or waits for none."""
    of = select(func.count()).select_from(TaskFile).join(Upload, Upload.id == TaskFile.upload_id)
    mine = of.where(TaskFile.task_id == Task.id)
    coming = mine.where(Upload.status == UploadStatus.OPEN).scalar_subquery()
    gone = mine.where(Upload.status.in_((UploadStatus.TERMINATED, UploadStatus.EXPIRED))).scalar_subquery()
    members = mine.scalar_subquery()
    is_wrong = or_(
        Task.status != TaskStatus.UPLOADED,
        Task.finished_at.is_not(None),
        members > Task.file_count,
        gone > 0,
        and_(members == Task.file_count, coming == 0),
    )
    return and_(Task.gather_until.is_not(None), is_wrong)


def _batches(names: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(names)
    while batch := list(islice(rest, _BATCH)):
        yield batch


def _page(session: Session, query: Any) -> list[tuple[str, str]]:
    return [(row[0], row[1]) for row in session.execute(query)]
