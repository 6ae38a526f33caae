"""Partial uploads that are made by a grant: how many, and how large together.

Rule: `admit` runs in the transaction that inserts the row. A part takes no place of its grant, its final does: without
this, a grant of one small upload would store as many parts of that size as its client likes.
"""

from typing import cast

from sqlalchemy import Connection, Table, func, select

from server.database.access_models import Grant, GrantPlace
from server.database.models import Upload
from server.errors import GrantMismatchError, GrantUsedError, UploadTooLargeError
from server.lifecycle import UploadStatus
from server.tus.protocol import PARTIAL
from server.uploads.new_upload import NewUpload

MOST_PARTS = 128
"""Live parts for each place that is free."""

_TIMES = 2
"""So often the size of a place: a client that loses a response creates the same part again."""

_uploads, _places = cast("Table", Upload.__table__), cast("Table", GrantPlace.__table__)


def admit(connection: Connection, new: NewUpload, largest: int) -> None:
    """Raise unless the grant may have this part; `largest` is the most bytes of one of its uploads.

    Raises `GrantUsedError`, `UploadTooLargeError`, and `GrantMismatchError` for a part of unknown length where the
    grant has a size.
    """
    grant = new.terms.grant_id
    if new.terms.max_size is not None and new.length is None:
        raise GrantMismatchError(reason="grant_size", limit=new.terms.max_size)
    # Of creations at once by this grant, the others wait here.
    connection.execute(select(Grant.id).where(Grant.id == grant).with_for_update())
    free = select(func.count()).where(_places.c.grant_id == grant, _places.c.fingerprint.is_(None))
    places = connection.execute(free).scalar_one()
    live = (UploadStatus.OPEN, UploadStatus.COMPLETE)
    sums = select(func.count(), func.coalesce(func.sum(func.coalesce(_uploads.c.length, _uploads.c.received)), 0))
    parts = (_uploads.c.grant_id == grant, _uploads.c.concat == PARTIAL, _uploads.c.status.in_(live))
    count, size = connection.execute(sums.where(*parts)).one()
    if count >= MOST_PARTS * places:
        raise GrantUsedError(uploads=new.terms.max_files or 1)
    if size + (new.length or 0) > _TIMES * places * largest:
        raise UploadTooLargeError(limit=largest)
