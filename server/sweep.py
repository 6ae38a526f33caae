"""The sweep: ends what was cut short, and removes what nobody will finish.

Rules: it reads rows, never folders, to find uploads; it waits for nobody and disturbs nobody (a lock that is
held is passed over until the next time); it may run twice at once, or be killed anywhere.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog
from sqlalchemy import ColumnElement, and_, select
from sqlalchemy.orm import aliased

from server import media_types
from server.database.models import Upload, UploadPart
from server.database.session import AWAY
from server.errors import MediaTypeUnsupportedError
from server.finals import FinalService
from server.lifecycle import UploadStatus
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
    missing: int = 0  # open, but their bytes are gone from the store: reported, not touched
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
                if row.protocol == "tus":
                    uploads.delete_bytes(row.id)
                else:
                    uploads.forget([row.id])
                report.removed += 1
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
    return report


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
