"""tus 1.0.0: a request head and the facts about an upload give a decision, or an error.

Rule: every refusal that needs only the head is decided here, before a byte of the body is read. A decision is a frozen
record of what to do; `uploads/service.py` carries it out, and `web/tus.py` writes the response.

Sections in the comments are those of tus.io/protocols/resumable-upload.
"""

from dataclasses import replace

from server.errors import (
    BodyTooLargeError,
    ContentEncodingUnsupportedError,
    ContentTypeUnsupportedError,
    ExtensionUnsupportedError,
    HeaderInvalidError,
    HeaderMissingError,
    MediaTypeUnsupportedError,
    OffsetMismatchError,
    UploadCompleteError,
    UploadFinalError,
    UploadGoneError,
    UploadTooLargeError,
    VersionUnsupportedError,
)
from server.tus.client_kind import client_kind
from server.tus.group_metadata import parse_group
from server.tus.headers import (
    Checksum,
    Head,
    Part,
    file_name,
    format_expires,
    parse_checksum,
    parse_concat,
    parse_metadata,
    unsigned,
)
from server.tus.passthrough import parse_passthrough
from server.tus.records import PARTIAL as PARTIAL
from server.tus.records import Append as Append
from server.tus.records import Create as Create
from server.tus.records import Facts as Facts
from server.tus.records import Offer as Offer
from server.tus.records import State as State
from server.tus.records import check_algorithm
from server.tus.records import is_final as is_final
from server.tus.records import is_partial as is_partial

VERSION = "1.0.0"
BODY_TYPE = "application/offset+octet-stream"
CHECKSUM_TRAILER = "checksum-trailer"
_CODING_CHARACTERS = 64  # of the value that a refusal quotes
# Characters of metadata and parts in a HEAD response: Node's client reads a response's head of up to 16 KiB in all.
_SHOWN_CHARACTERS = 12 << 10
# Headers that ask for an extension which this server may not offer.
_ASKING = {
    "Upload-Concat": "concatenation",
    "Upload-Defer-Length": "creation-defer-length",
    "Upload-Checksum": "checksum",
}


def check_version(head: Head) -> None:
    """Tus-Resumable must be present and supported, except on OPTIONS and GET (section Tus-Resumable)."""
    if head.method not in ("OPTIONS", "GET") and head.get("Tus-Resumable") != VERSION:
        raise VersionUnsupportedError(supported=VERSION)


def check_content_coding(head: Head) -> None:
    """A body is stored as it comes, so a coded one (gzip) would be stored as the file (RFC 9110 section 8.4)."""
    codings = head.content_codings
    if codings:
        raise ContentEncodingUnsupportedError(coding=", ".join(codings)[:_CODING_CHARACTERS])


def extensions(
    *, can_append: bool, can_delete: bool, can_truncate: bool = False, can_concatenate: bool = False
) -> tuple[str, ...]:
    """Tus-Extension, from what a store can do."""
    names = ["creation", "creation-with-upload", "creation-defer-length"] if can_append else []
    names += ["termination", "expiration"] if can_delete else []
    names += ["checksum"] if can_truncate else []
    names += ["concatenation", "concatenation-unfinished"] if can_concatenate else []
    return tuple(names)


def decide_create(head: Head, offer: Offer) -> Create:
    """POST on the mount (sections Creation, Creation With Upload, Upload-Defer-Length, Concatenation).

    A chunked body counts as one with bytes. When it turns out to be empty, a request that was refused for its body
    may be accepted as `head.without_body()`.
    """
    check_version(head)
    check_content_coding(head)
    _check_asked(head, offer)
    raw = head.get("Upload-Metadata")
    metadata = parse_metadata(raw)
    concat = head.get("Upload-Concat")
    parts = parse_concat(concat) if concat is not None else None
    client = client_kind(head.get("User-Agent"))
    if parts is not None:
        final = _decide_final(head, raw, file_name(metadata), unsigned(concat), parts)
        group, passthrough = parse_group(metadata, offer.max_files), parse_passthrough(metadata)
        return replace(final, group=group, passthrough=passthrough, client=client)
    length = _declared_length(head, offer)
    # Another Content-Type without a body is tolerated: aiotus sends application/octet-stream and no byte.
    has_body = head.body_length != 0
    if has_body and head.content_type != BODY_TYPE:
        raise ContentTypeUnsupportedError(expected=BODY_TYPE)
    room = offer.max_size if length is None else length
    if (head.body_length or 0) > room:
        raise BodyTooLargeError(room=room)
    checksum = _checksum(head, offer) if has_body else None
    trailing = has_body and checksum is None and _is_trailing(head, offer)
    # A part belongs to no task; the upload that it becomes part of may.
    group = None if concat is not None else parse_group(metadata, offer.max_files)
    return Create(
        length,
        raw,
        file_name(metadata),
        has_body,
        head.body_length,
        checksum,
        trailing,
        concat,
        group=group,
        passthrough=parse_passthrough(metadata),
        client=client,
    )


def check_upload(facts: Facts) -> None:
    """Raise for an upload that is gone. None of these errors may carry Upload-Offset."""
    if facts.is_rejected:
        raise MediaTypeUnsupportedError(accepted=facts.accepted)
    if facts.state is State.GONE or (facts.is_open and facts.expires_at <= facts.now):
        raise UploadGoneError


def decide_append(head: Head, facts: Facts, offer: Offer) -> Append:
    """PATCH on an upload (sections PATCH, Upload-Defer-Length, Checksum, Concatenation).

    On a complete upload a chunked body gives an Append of no bytes that is not exact: good if the body is empty.
    """
    check_version(head)
    check_content_coding(head)
    if head.content_type != BODY_TYPE:
        raise ContentTypeUnsupportedError(expected=BODY_TYPE)
    # `Upload-Concat: partial` may come here too; it has no new information.
    checksum = _checksum(head, offer)
    offset = head.needed_number("Upload-Offset")
    length = head.number("Upload-Length")
    check_upload(facts)
    if facts.is_final:
        raise UploadFinalError
    if offset != facts.offset:
        raise OffsetMismatchError(offset=facts.offset)
    _check_length(length, facts, offer)
    whole = facts.length if facts.length is not None else length
    room = (_max_size(facts, offer) if whole is None else whole) - facts.offset
    body_length = head.body_length
    if room == 0 and body_length and facts.is_complete:
        raise UploadCompleteError(offset=facts.offset)
    if body_length is not None and body_length > room:
        raise BodyTooLargeError(room=room)
    limit = room if body_length is None else body_length
    return Append(
        offset,
        limit,
        exact=body_length is not None,
        length=length if facts.length is None else None,
        checksum=checksum,
        trailing=checksum is None and _is_trailing(head, offer),
        algorithms=offer.algorithms,
    )


def first_append(decision: Create, facts: Facts, offer: Offer) -> Append:
    """The body of a creation (section Creation With Upload)."""
    if not facts.is_open:
        check_upload(facts)
    if facts.offset:
        # The creation was repeated, and the first one has brought bytes meanwhile.
        raise OffsetMismatchError(offset=facts.offset)
    room = _max_size(facts, offer) if decision.length is None else decision.length
    limit = room if decision.body_length is None else decision.body_length
    return Append(
        facts.offset,
        limit,
        exact=decision.body_length is not None,
        checksum=decision.checksum,
        trailing=decision.trailing,
        algorithms=offer.algorithms,
    )


def describe(facts: Facts) -> dict[str, str]:
    """The headers that answer HEAD (section HEAD).

    Upload-Concat of a final upload is `final;` without the URLs of its parts where these would make the head too long
    for clients.
    """
    check_upload(facts)
    headers = progress(facts)
    if facts.length is not None:
        headers["Upload-Length"] = str(facts.length)
    elif not facts.is_final:
        headers["Upload-Defer-Length"] = "1"
    if facts.metadata_raw is not None:
        # Byte for byte as it came: clients compare.
        headers["Upload-Metadata"] = facts.metadata_raw
    if facts.concat is not None:
        is_long = len(facts.concat) + len(facts.metadata_raw or "") > _SHOWN_CHARACTERS
        headers["Upload-Concat"] = "final;" if is_long and facts.is_final else facts.concat
    return headers


def progress(facts: Facts) -> dict[str, str]:
    """The headers of an upload's progress: where to resume and until when, or which task it became."""
    headers = {}
    if facts.is_complete or not facts.is_final:
        # A final upload has no offset before it is joined (section Concatenation).
        headers["Upload-Offset"] = str(facts.offset)
    if facts.group is not None or facts.has_task:
        headers["Upload-Task"] = facts.group or facts.id
    if not facts.has_task:
        headers["Upload-Expires"] = format_expires(facts.expires_at)
    return headers


def _decide_final(
    head: Head, raw: str | None, filename: str | None, concat: str | None, parts: tuple[Part, ...]
) -> Create:
    # "The Client MUST NOT include the Upload-Length header in the final upload creation."
    for header in ("Upload-Length", "Upload-Defer-Length"):
        if head.get(header) is not None:
            raise HeaderInvalidError(name=header, reason="concat_length")
    if head.body_length != 0:
        raise BodyTooLargeError(room=0)
    ids, signatures = zip(*parts, strict=True)
    return Create(None, raw, filename, has_body=False, concat=concat, parts=ids, signatures=signatures)


def _declared_length(head: Head, offer: Offer) -> int | None:
    length = head.number("Upload-Length")
    deferred = head.get("Upload-Defer-Length")
    if deferred is not None:
        if deferred != "1":
            raise HeaderInvalidError(name="Upload-Defer-Length", reason="defer_value")
        if length is not None:
            raise HeaderInvalidError(name="Upload-Defer-Length", reason="defer_length")
        return None
    if length is None:
        raise HeaderMissingError(name="Upload-Length")
    if length > offer.max_size:
        raise UploadTooLargeError(limit=offer.max_size)
    return length


def _check_length(length: int | None, facts: Facts, offer: Offer) -> None:
    """A deferred length is declared once; the same length again is harmless, another one is refused."""
    if length is None:
        return
    if facts.length is not None:
        if length != facts.length:
            raise HeaderInvalidError(name="Upload-Length", reason="length_set", length=facts.length)
        return
    if length > _max_size(facts, offer):
        raise UploadTooLargeError(limit=_max_size(facts, offer))
    if length < facts.offset:
        raise HeaderInvalidError(name="Upload-Length", reason="length_short", offset=facts.offset)


def _max_size(facts: Facts, offer: Offer) -> int:
    return offer.max_size if facts.max_size is None else min(offer.max_size, facts.max_size)


def _checksum(head: Head, offer: Offer) -> Checksum | None:
    raw = head.get("Upload-Checksum")
    if raw is None:
        return None
    _check_asked(head, offer)
    return check_algorithm(parse_checksum(raw), offer.algorithms)


def _is_trailing(head: Head, offer: Offer) -> bool:
    announced = {name.strip().lower() for name in (head.get("Trailer") or "").split(",")}
    if "upload-checksum" not in announced:
        return False
    if CHECKSUM_TRAILER not in offer.extensions:
        raise ExtensionUnsupportedError(name=CHECKSUM_TRAILER)
    return True


def _check_asked(head: Head, offer: Offer) -> None:
    # An extension that is silently ignored would do harm: a checksum unchecked, a part unjoined.
    for header, extension in _ASKING.items():
        if extension not in offer.extensions and head.get(header) is not None:
            raise ExtensionUnsupportedError(name=extension)
