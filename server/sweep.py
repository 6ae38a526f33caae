"""The sweep: ends what was cut short, and removes what nobody will finish.

Rules: it reads rows, never folders, to find uploads; it waits for nobody and disturbs nobody (a lock that is
held is passed over until the next time); it may run twice at once, or be killed anywhere.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog
from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.orm import aliased

from server import media_types
from server.database.models import Task, TaskFile, Upload, UploadPart
from server.database.session import AWAY
from server.errors import MediaTypeUnsupportedError
from server.finals import FinalService
from server.lifecycle import FileStatus, TaskStatus, UploadStatus
from server.tus.protocol import PARTIAL
from server.uploads import UploadService

_BATCH = 500
_log = structlog.get_logger(__name__)


@dataclass
class SweepReport:
    """What a sweep did, in numbers of uploads."""

    expired: int = 0  # unfinished for too long, removed
    finished: int = 0  # complete, but not yet announced: announced
    abandoned: int = 0  # left by a request or process that died, removed
    removed: int = 0  # removals that had been cut short, ended
    quarantined: int = 0  # infected, and still among the others: put aside
    missing: int = 0  # open, but their bytes are gone from the store: reported, not touched
    dropped: int = 0  # originals that are not needed any more, removed
    failed: int = 0  # could not be settled this time: logged, tried again by the next sweep


def sweep(uploads: UploadService) -> SweepReport:
    """One pass over all uploads that are open or being removed. Blocking."""
    report = SweepReport()
    uploads.store.check()  # a store that is away has no bytes of anybody: nothing may be concluded from that
    uploads.locks.clean()
    open_ones = Upload.status == UploadStatus.OPEN
    being_removed = and_(Upload.has_bytes, Upload.status.not_in((UploadStatus.OPEN, UploadStatus.COMPLETE)))
    for row in _rows(uploads, being_removed):
        with _one(uploads, row.id, row.id, report) as held:
            if held:
                if row.protocol == "tus" or row.completed_at is not None:  # a task speaks of the row
                    uploads.delete_bytes(row.id)
                else:
                    uploads.forget([row.id])
                report.removed += 1
    _quarantine(uploads, report)
    is_final = and_(Upload.concat.is_not(None), Upload.concat != PARTIAL)
    # Finals last: a part that is finished by this very sweep may be the one that a final waits for.
    for condition in (and_(open_ones, ~is_final), and_(open_ones, is_final)):
        for row in _rows(uploads, condition):
            # Uploads of a form are covered by the lock of their task (`forms.py`).
            with _one(uploads, row.id, row.id if row.protocol == "tus" else row.task_id, report) as held:
                if held:
                    _settle(uploads, row.id, report)
    for target, condition in ((UploadStatus.TERMINATED, _is_joined()), (UploadStatus.EXPIRED, _is_stale(uploads))):
        for row in _rows(uploads, condition):
            with _one(uploads, row.id, row.id, report) as held:
                if held and uploads.remove(row.id, target):
                    report.removed += 1
    drop_originals(uploads, report)
    return report


def drop_originals(uploads: UploadService, report: SweepReport, task_id: str | None = None) -> None:
    """Remove the originals that the setting `originals` does not keep, of one task or of all. Blocking.

    Their rows stay complete: a client that asks again whether its upload arrived is told that it did.
    """
    if uploads.settings.originals == "keep":
        return
    for row in _rows(uploads, _is_dispensable(uploads, task_id)):
        with _one(uploads, row.id, row.id if row.protocol == "tus" else row.task_id, report) as held:
            if held:
                uploads.delete_bytes(row.id)
                report.dropped += 1


def _is_dispensable(uploads: UploadService, task_id: str | None) -> ColumnElement[bool]:
    """Originals in this data folder whose task is completed and whose file can be played without them.

    A file that is completed is never read again, not by an operator's retry of its task either, and its results are on
    the disk before its row tells of them. A removal that was cut short is found by this again.
    """
    asked = () if task_id is None else (Task.id == task_id,)
    ended = (Task.status == TaskStatus.COMPLETED, Task.node == uploads.hooks.node, *asked)
    mine = (TaskFile.upload_id == Upload.id, TaskFile.status == FileStatus.COMPLETED)
    can_play = (TaskFile.playable, or_(TaskFile.has_mp4, TaskFile.has_hls))
    found = select(TaskFile.id).join(Task, Task.id == TaskFile.task_id).where(*mine, *can_play, *ended)
    return and_(Upload.has_bytes, Upload.status == UploadStatus.COMPLETE, found.exists())


def _quarantine(uploads: UploadService, report: SweepReport) -> None:
    for row in _rows(uploads, _is_infected(uploads)):
        with _one(uploads, row.id, row.id, report) as held:
            if held:
                uploads.quarantine(row.id)
                report.quarantined += 1


def _is_infected(uploads: UploadService) -> ColumnElement[bool]:
    """Uploads in this data folder in which a virus was found, and whose worker did not live to put them aside."""
    mine = (TaskFile.upload_id == Upload.id, TaskFile.scan == "infected", Task.node == uploads.hooks.node)
    found = select(TaskFile.id).join(Task, Task.id == TaskFile.task_id).where(*mine)
    return and_(Upload.has_bytes, Upload.status == UploadStatus.COMPLETE, found.exists())


def _is_joined() -> ColumnElement[bool]:
    """Partial uploads whose bytes are in a complete final one, and in no final that still waits."""
    final = aliased(Upload)
    uses = select(UploadPart.final_id).join(final, final.id == UploadPart.final_id)
    mine = UploadPart.part_id == Upload.id
    return and_(
        Upload.status == UploadStatus.COMPLETE,
        Upload.concat == PARTIAL,
        uses.where(mine, final.status == UploadStatus.COMPLETE).exists(),
        ~uses.where(mine, final.status == UploadStatus.OPEN).exists(),
    )


def _is_stale(uploads: UploadService) -> ColumnElement[bool]:
    """Partial uploads that nobody joined in time."""
    return and_(Upload.status == UploadStatus.COMPLETE, Upload.concat == PARTIAL, Upload.expires_at <= uploads.clock())


@contextmanager
def _one(uploads: UploadService, upload_id: str, lock: str, report: SweepReport) -> Iterator[bool]:
    """The lock of one upload, if it is free; what goes wrong with it does not stop the sweep of the others."""
    try:
        with uploads.locks.try_hold(lock) as held:
            yield held
    except AWAY:
        raise  # it is nothing about this upload
    except Exception:
        _log.exception("sweep_failed_for", upload=upload_id)
        report.failed += 1


def _rows(uploads: UploadService, condition: ColumnElement[bool]) -> Iterator[Upload]:
    last = ""
    while True:
        with uploads.database.read() as session:
            query = select(Upload).where(Upload.id > last, condition).order_by(Upload.id).limit(_BATCH)
            rows = session.scalars(query).all()
        yield from rows
        if len(rows) < _BATCH:
            return
        last = rows[-1].id


def _settle(uploads: UploadService, upload_id: str, report: SweepReport) -> None:
    uploads.reconcile(upload_id)
    with uploads.database.read() as session:
        row = session.get(Upload, upload_id)  # again, now that the lock is held
    if row is None or row.status is not UploadStatus.OPEN:
        return
    size = uploads.store.size(upload_id)
    if row.protocol != "tus":
        uploads.forget([upload_id])
        report.abandoned += 1
    elif row.concat not in (None, PARTIAL) and _join(uploads, row.id):
        report.finished += 1
    elif row.concat in (None, PARTIAL) and size is not None and size == row.length:
        _finish(uploads, row, report)  # however late: every byte is there
    elif uploads.expiry_of(row) <= uploads.clock():
        report.expired += uploads.remove(upload_id, UploadStatus.EXPIRED)
    elif row.concat not in (None, PARTIAL):
        return  # it waits for its parts
    elif size is None and row.received == 0:
        # The process died between row and file; no client was ever told of this upload.
        report.abandoned += uploads.remove(upload_id, UploadStatus.TERMINATED)
    elif size is None:
        _log.error("upload_bytes_missing", upload=upload_id, received=row.received)
        report.missing += 1


def _join(uploads: UploadService, final_id: str) -> bool:
    try:
        return FinalService(uploads).join(final_id)
    except MediaTypeUnsupportedError:
        return False  # it is rejected now


def _finish(uploads: UploadService, row: Upload, report: SweepReport) -> None:
    try:
        media_type = row.media_type
        if media_type is None and row.concat is None:
            head = uploads.store.head(row.id, media_types.SNIFF_BYTES)
            media_type = uploads.hooks.check_content(row.filename, head)
    except MediaTypeUnsupportedError:
        uploads.remove(row.id, UploadStatus.REJECTED)
        return
    uploads.store.finish(row.id)
    uploads.complete([row.id], row.id, {row.id: media_type})
    report.finished += 1
