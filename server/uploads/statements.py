"""The statements of small requests on `uploads`, each made once.

Rule: they change one row by its key, and say in their condition which state it must have.
"""

from typing import cast

from sqlalchemy import Table, bindparam, func, insert, select, update

from server.database.models import Upload
from server.database.prepared import Prepared
from server.database.types import UtcDateTime
from server.lifecycle import UploadStatus
from server.uploads.new_upload import NewUpload

_uploads = cast("Table", Upload.__table__)
_this = _uploads.c.id == bindparam("upload")
_is_open = _uploads.c.status == UploadStatus.OPEN

FIND = Prepared(select(_uploads).where(_this), by_name=True)
INSERT = Prepared(insert(_uploads), NewUpload.COLUMNS)
RECORD_RECEIVED = Prepared(
    update(_uploads).where(_this, _is_open).values(received=bindparam("size"), expires_at=bindparam("until"))
)
START_CHECKED = Prepared(update(_uploads).where(_this).values(checked_from=bindparam("offset")))
END_CHECKED = Prepared(
    update(_uploads)
    .where(_this, _is_open)
    .values(
        received=bindparam("size"),
        updated_at=bindparam("now"),
        expires_at=bindparam("until"),
        media_type=func.coalesce(bindparam("type"), _uploads.c.media_type),
        checked_from=None,
    )
)
COMPLETE = Prepared(
    update(_uploads)
    .where(_this, _is_open)
    .values(
        status=UploadStatus.COMPLETE,
        updated_at=bindparam("now"),
        completed_at=bindparam("now"),
        expires_at=bindparam("until"),
        length=bindparam("size"),
        received=bindparam("size"),
        media_type=bindparam("type"),
        first_byte_at=func.coalesce(_uploads.c.first_byte_at, bindparam("first", type_=UtcDateTime())),
    )
)
TERMINATE = Prepared(
    update(_uploads)
    .where(_this, _is_open)
    .values(status=UploadStatus.TERMINATED, updated_at=bindparam("now"), received=bindparam("size"))
)
CLEAR_HAS_BYTES = Prepared(update(_uploads).where(_this).values(has_bytes=False))
CLEAR_RESERVED = Prepared(update(_uploads).where(_this).values(reserved=0, received=bindparam("size")))
