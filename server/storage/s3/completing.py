"""Completes an upload: one object has all of its bytes.

Rule: it may be repeated. A completion whose answer was lost has made the object, and the object says so by its size.
"""

import structlog

from server.errors import UnavailableError
from server.storage.s3.bucket import MultipartGoneError
from server.storage.s3.checksum import crc32c
from server.storage.s3.ledger import Change, Part, PartLedger, StoredUpload
from server.storage.s3.objects import Objects, key_of

_log = structlog.stdlib.get_logger("videodock.storage")


def make_object(upload: StoredUpload, objects: Objects, ledger: PartLedger) -> str:
    """Make one object of the parts and pieces; returns its key. Blocking.

    Raises `LedgerLostError`, `PartLostError`, `UnavailableError`.
    """
    bucket, pieces, key = objects.bucket, upload.current_pieces, key_of(upload.id)
    if not upload.parts:
        if len(pieces) == 1:
            return pieces[0].key
        data = objects.read_pieces(pieces)
        bucket.put(key, data, crc32c(data))
        return key
    parts = list(upload.parts)
    try:
        if pieces:
            parts.append(_last_part(upload, objects, ledger))
        bucket.complete(key, upload.multipart_id or "", parts)
    except MultipartGoneError:
        if bucket.size(key) != upload.size:
            _log.exception("bucket_multipart_gone", upload=upload.id)
            raise UnavailableError(part="store") from None
    return key


def _last_part(upload: StoredUpload, objects: Objects, ledger: PartLedger) -> Part:
    """The pieces after the last part become one, which is counted."""
    data = objects.read_pieces(upload.current_pieces)
    number, checksum = upload.parts[-1].number + 1, crc32c(data)
    etag = objects.bucket.put_part(key_of(upload.id), upload.multipart_id or "", number, data, checksum)
    part = Part(start=upload.parts_end, size=len(data), number=number, etag=etag, crc32c=checksum)
    ledger.change(upload.id, upload.version, Change(parts=[part]))
    return part
