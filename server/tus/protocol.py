"""tus 1.0.0: a request head and the facts about an upload give a decision, or an error.

Rule: whatever can refuse a request is decided here, from its head alone, before a byte of its body is read. A
decision is a frozen record of what to do; doing it is `uploads.py`'s, saying it `web/tus.py`'s.

Sections in the comments are those of tus.io/protocols/resumable-upload.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime

from server.errors import (
    BodyTooLargeError,
    ContentTypeUnsupportedError,
    ExtensionUnsupportedError,
    MediaTypeUnsupportedError,
    OffsetMismatchError,
    UploadCompleteError,
    UploadGoneError,
    UploadTooLargeError,
    VersionUnsupportedError,
)
from server.lifecycle import UploadStatus
from server.messages import size as shown
from server.tus.headers import Head, file_name, format_expires, parse_metadata

VERSION = "1.0.0"
BODY_TYPE = "application/offset+octet-stream"
# Extensions that a request could ask for and that this server may not offer, by the header that asks.
_ASKING = {
    "Upload-Concat": "concatenation",
    "Upload-Defer-Length": "creation-defer-length",
    "Upload-Checksum": "checksum",
}


@dataclass(frozen=True)
class Facts:
    """What is known of an upload when a request for it is judged. `offset` is the store's, in bytes."""

    id: str
    status: UploadStatus
    offset: int
    length: int | None
    metadata_raw: str | None
    filename: str | None
    media_type: str | None
    expires_at: datetime
    now: datetime
    accepted: str = ""

    @property
    def is_complete(self) -> bool:
        """Whether its task is registered."""
        return self.status is UploadStatus.COMPLETE


@dataclass(frozen=True)
class Create:
    """Make an upload of `length` bytes; then append the body, if there is one, to it."""

    length: int
    metadata_raw: str | None
    filename: str | None
    has_body: bool


@dataclass(frozen=True)
class Append:
    """Add at most `limit` bytes at `offset`. `exact` tells that the body cannot be longer, by its own word."""

    offset: int
    limit: int
    exact: bool


def check_version(head: Head) -> None:
    """Tus-Resumable must be there and be ours, but on OPTIONS and GET (section Tus-Resumable)."""
    if head.method not in ("OPTIONS", "GET") and head.get("Tus-Resumable") != VERSION:
        raise VersionUnsupportedError(supported=VERSION)


def extensions(*, can_append: bool, can_delete: bool) -> str:
    """Tus-Extension. Commas without spaces: TUSKit splits without trimming."""
    names = ["creation", "creation-with-upload"] if can_append else []
    names += ["termination", "expiration"] if can_delete else []
    return ",".join(names)


def decide_create(head: Head, offered: AbstractSet[str], max_size: int) -> Create:
    """POST on the mount (sections Creation and Creation With Upload)."""
    check_version(head)
    _check_asked(head, offered)
    length = head.needed_number("Upload-Length")
    if length > max_size:
        raise UploadTooLargeError(limit=shown(max_size))
    raw = head.get("Upload-Metadata")
    metadata = parse_metadata(raw)
    # A foreign Content-Type without a body is tolerated: aiotus sends application/octet-stream and nothing.
    has_body = head.body_length != 0
    if has_body and head.content_type != BODY_TYPE:
        raise ContentTypeUnsupportedError(expected=BODY_TYPE)
    if (head.body_length or 0) > length:
        raise BodyTooLargeError(room=length)
    return Create(length, raw, file_name(metadata), has_body)


def check_upload(facts: Facts) -> None:
    """Raise for an upload that is no more. None of these errors may carry Upload-Offset."""
    if facts.status is UploadStatus.REJECTED:
        raise MediaTypeUnsupportedError(accepted=facts.accepted)
    gone = facts.status in (UploadStatus.EXPIRED, UploadStatus.TERMINATED)
    if gone or (facts.status is UploadStatus.OPEN and facts.expires_at <= facts.now):
        raise UploadGoneError


def decide_append(head: Head, facts: Facts, offered: AbstractSet[str]) -> Append:
    """PATCH on an upload (section PATCH)."""
    check_version(head)
    if head.content_type != BODY_TYPE:
        raise ContentTypeUnsupportedError(expected=BODY_TYPE)
    _check_asked(head, offered)
    offset = head.needed_number("Upload-Offset")
    check_upload(facts)
    if offset != facts.offset:
        raise OffsetMismatchError(offset=facts.offset)
    room = (facts.length or 0) - facts.offset
    body_length = head.body_length
    if room == 0 and body_length != 0 and facts.is_complete:
        raise UploadCompleteError(offset=facts.offset)
    if body_length is not None and body_length > room:
        raise BodyTooLargeError(room=room)
    return Append(offset, room if body_length is None else body_length, exact=body_length is not None)


def describe(facts: Facts) -> dict[str, str]:
    """The headers that answer HEAD (section HEAD), in part those of POST and PATCH too."""
    check_upload(facts)
    headers = progress(facts)
    if facts.length is None:
        headers["Upload-Defer-Length"] = "1"
    else:
        headers["Upload-Length"] = str(facts.length)
    if facts.metadata_raw is not None:
        # Byte for byte as it came: clients compare.
        headers["Upload-Metadata"] = facts.metadata_raw
    return headers


def progress(facts: Facts) -> dict[str, str]:
    """How far an upload is: where to go on and until when, or which task it became."""
    headers = {"Upload-Offset": str(facts.offset)}
    if facts.is_complete:
        headers["Upload-Task"] = facts.id
    else:
        headers["Upload-Expires"] = format_expires(facts.expires_at)
    return headers


def _check_asked(head: Head, offered: AbstractSet[str]) -> None:
    # An extension that is silently left out would be a promise broken: a checksum unchecked, a part unjoined.
    for header, extension in _ASKING.items():
        if extension not in offered and head.get(header) is not None:
            raise ExtensionUnsupportedError(name=extension)
