"""The operations of the tus mount: the collection, the address of a grant, and an upload.

Rule: the methods here are those of the mount's tables in `web/tus.py`; a test compares them. Sections in the
descriptions are those of tus 1.0.0.
"""

from dataclasses import replace

from server.errors import (
    BodyTimeoutError,
    BodyTooLargeError,
    ChecksumMismatchError,
    ChecksumUnsupportedError,
    ContentEncodingUnsupportedError,
    ContentTypeUnsupportedError,
    DownloadsOffError,
    ExtensionUnsupportedError,
    FieldInvalidError,
    FileEmptyError,
    GrantExpiredError,
    GrantMismatchError,
    GrantUsedError,
    GroupDiffersError,
    GroupEndedError,
    GroupFullError,
    GroupPlaceTakenError,
    HeaderMissingError,
    MediaTypeMismatchError,
    MediaTypeUnsupportedError,
    MetadataInvalidError,
    MethodNotAllowedError,
    NoRoomError,
    OffsetMismatchError,
    PartInvalidError,
    PartRepeatedError,
    PlaybackExpiredError,
    PreconditionFailedError,
    QuotaReachedError,
    QuotaTooSmallError,
    RangeUnsatisfiableError,
    RefusedByBackendError,
    RefusedByHookError,
    StorageFullError,
    TaskTakenError,
    TooLargeToScanError,
    TooManyFinalsError,
    UploadCompleteError,
    UploadFinalError,
    UploadGoneError,
    UploadIncompleteError,
    UploadInfectedError,
    UploadLockedError,
    UploadNotFoundError,
    UploadPartialError,
    UploadTooLargeError,
    UploadUnscannedError,
    VersionUnsupportedError,
)
from server.web.openapi.files import DOWNLOAD_QUERY, NOSNIFF, RANGE_HEADERS, RANGED, file_answers
from server.web.openapi.operation import (
    UUID,
    Answer,
    Body,
    Face,
    Header,
    Operation,
    Operations,
    Parameter,
    Refusal,
    Schema,
    Tag,
    Who,
    header,
    integer,
    one_of,
    path,
    text,
)
from server.web.openapi.preflight import PREFLIGHT_HEADERS
from server.web.openapi.schemas import NO_STORE, RATE, TASK_EXAMPLE, UPLOAD_OFFSET

_MOST = (1 << 63) - 1
_BYTES = integer("Bytes.", 0, _MOST)
_DATE: Schema = text(pattern=r"^[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT$")
_OCTETS = "application/offset+octet-stream"
_METADATA_EXAMPLE = "filename aG9saWRheS5tcDQ="

# Requests

_VERSION = header("Tus-Resumable", "The version of the protocol.", {"const": "1.0.0"}, required=True, example="1.0.0")
_VERSION_OR_NOT = replace(_VERSION, required=False)
_CHECKSUM = header(
    "Upload-Checksum",
    "Algorithm and base64 digest of the body (section Checksum). The bytes count only after the check. With "
    "`Trailer: Upload-Checksum` it may follow the body.",
    text(pattern="^[!-~]+ [A-Za-z0-9+/=]+$"),
    example="sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=",
)
_LENGTH = header("Upload-Length", "Bytes of the whole upload.", _BYTES, example=353519)
_CREATE_PARAMETERS = (
    _VERSION,
    _LENGTH,
    header("Upload-Defer-Length", "`1`: the length follows with a PATCH.", {"const": "1"}),
    header(
        "Upload-Metadata",
        "Keys and base64 values (section Creation). `filename` (or `name`) decides the type together with the first "
        "bytes; `task`, `task_files` and `task_file` join several uploads into one task.",
        text(maxLength=16384),
        example=_METADATA_EXAMPLE,
    ),
    header(
        "Upload-Concat",
        "`partial`, or `final;` and the URLs of the parts, separated by blanks (section Concatenation).",
        text(),
    ),
    _CHECKSUM,
)
_GRANT = path("grant", "The token of an upload grant.", text(minLength=1), "vdg_0123456789ab_…")
_UPLOAD_ID = path(
    "upload_id",
    "The last segment of the URL of an upload: its id, and with authentication a signature, `<id>~<signature>`.",
    text(minLength=1),
    TASK_EXAMPLE,
)
_BODY = Body(
    media_type=_OCTETS,
    schema={"type": "string", "contentMediaType": _OCTETS},
    description="The first bytes of the file.",
    required=False,
)

# Answers

_APPEND_SIZE = r"^max-append-size=\d+$"
_EVERY = (
    Header(name="Tus-Resumable", description="The version of the protocol.", schema={"const": "1.0.0"}, required=True),
    NOSNIFF,
    NO_STORE,
    # Only with the setting `advised_chunk_size`.
    Header(name="Upload-Limit", description="Bytes of a PATCH at most, as advice.", schema=text(pattern=_APPEND_SIZE)),
    Header(name="Tus-Max-Chunk-Size", description="The same number.", schema=_BYTES),
)
_LOCATION = Header(name="Location", description="The URL of the upload.", schema=text(pattern="^https?://"))
_PROGRESS = (
    UPLOAD_OFFSET,
    Header(
        name="Upload-Task",
        description="The id of the task that the upload has become, or will be a part of.",
        schema=UUID,
    ),
    Header(name="Upload-Expires", description="When it is removed, unless more bytes come.", schema=_DATE),
)
_FACTS = (
    Header(name="Upload-Length", description="Bytes of the whole upload.", schema=_BYTES),
    Header(name="Upload-Defer-Length", description="The length is not declared yet.", schema={"const": "1"}),
    Header(name="Upload-Metadata", description="As it came, byte for byte.", schema=text()),
    Header(
        name="Upload-Concat",
        description="`partial`, or `final;` and the parts; without them where they would make the head too long.",
        schema=text(),
    ),
)
_OFFER = (
    Header(name="Tus-Version", description="Versions of the protocol.", schema=text(), required=True),
    Header(name="Tus-Extension", description="Extensions, separated by commas.", schema=text(), required=True),
    Header(name="Tus-Max-Size", description="Most bytes of an upload.", schema=_BYTES, required=True),
    Header(name="Tus-Checksum-Algorithm", description="Separated by commas.", schema=text(), required=True),
    Header(
        name="Upload-Extensions",
        description="Accepted file name extensions, separated by commas; `*`: all.",
        schema=text(),
        required=True,
    ),
)

# Refusals

_OF_HEAD: tuple[Refusal, ...] = (VersionUnsupportedError, HeaderMissingError)
_OF_UPLOAD: tuple[Refusal, ...] = (UploadNotFoundError, UploadGoneError, UploadLockedError)
_OF_BODY: tuple[Refusal, ...] = (
    ContentTypeUnsupportedError,
    ContentEncodingUnsupportedError,
    ExtensionUnsupportedError,
    ChecksumUnsupportedError,
    ChecksumMismatchError,
    BodyTooLargeError,
    BodyTimeoutError,
    MediaTypeUnsupportedError,
    MediaTypeMismatchError,
    FileEmptyError,
    UploadTooLargeError,
    OffsetMismatchError,
    UploadCompleteError,
    StorageFullError,
    # An upload that becomes complete is judged by its size, too, and becomes a task.
    TooLargeToScanError,
    QuotaTooSmallError,
    QuotaReachedError,
    NoRoomError,
)
_OF_CREATION: tuple[Refusal, ...] = (
    MetadataInvalidError,
    MethodNotAllowedError,
    TaskTakenError,
    GroupDiffersError,
    GroupFullError,
    GroupPlaceTakenError,
    GroupEndedError,
    PartInvalidError,
    PartRepeatedError,
    TooManyFinalsError,
)
_OF_GRANT: tuple[Refusal, ...] = (GrantExpiredError, GrantMismatchError, GrantUsedError)

OFFER = Operation(
    id="tusOptions",
    tag=Tag.TUS,
    summary="What the server offers",
    description="Versions, extensions, the largest size and the accepted types; for browsers the preflight, too.",
    answers=(Answer(status=204, description="The offer, in headers.", headers=(*_OFFER, *PREFLIGHT_HEADERS)),),
    face=Face.TUS,
    who=Who.EVERYBODY,
    headers=_EVERY,
)
CREATE = Operation(
    id="tusCreate",
    tag=Tag.TUS,
    summary="Create an upload",
    description="With a body (section Creation With Upload), it is the first part of the file. After an error of the "
    "body the answer has `Location` all the same, and the upload continues there. A repeated creation of a group "
    "member or a final upload gets the same `Location`.",
    scope="upload",
    who=Who.CREATOR,
    parameters=_CREATE_PARAMETERS,
    body=_BODY,
    answers=(
        Answer(
            status=201,
            description="The upload exists.",
            headers=(replace(_LOCATION, required=True), *_PROGRESS),
        ),
    ),
    errors=(*_OF_HEAD, *_OF_CREATION, *_OF_BODY, *_OF_UPLOAD, *_OF_GRANT, RefusedByBackendError, RefusedByHookError),
    face=Face.TUS,
    headers=(*_EVERY, _LOCATION, *RATE),
)
HEAD = Operation(
    id="tusHead",
    tag=Tag.TUS,
    summary="Ask for the offset",
    description="Without `Tus-Resumable`, and with the setting `downloads`, the answer is the head of the GET.",
    scope="upload",
    who=Who.URL,
    parameters=(_VERSION_OR_NOT, *RANGED[1:]),
    answers=(
        Answer(
            status=200,
            description="Where to continue. A final upload has no offset until its parts are joined.",
            headers=(*_PROGRESS, *_FACTS, *RANGE_HEADERS),
        ),
        Answer(status=304, description="Of a download: unchanged.", headers=RANGE_HEADERS),
    ),
    errors=(
        VersionUnsupportedError,
        *_OF_UPLOAD,
        *_OF_CREATION,
        *_OF_GRANT,
        MediaTypeUnsupportedError,
        QuotaTooSmallError,
        QuotaReachedError,
        NoRoomError,
        UploadPartialError,
        UploadIncompleteError,
        UploadUnscannedError,
        UploadInfectedError,
        PreconditionFailedError,
        PlaybackExpiredError,
    ),
    face=Face.TUS,
    headers=_EVERY,
)
APPEND = Operation(
    id="tusPatch",
    tag=Tag.TUS,
    summary="Send bytes",
    description="The response to the last one has the id of the task in `Upload-Task`. A request that comes for an "
    "upload which another one is writing makes the other one end.",
    scope="upload",
    who=Who.URL,
    parameters=(
        _VERSION,
        header("Upload-Offset", "Bytes that the upload has.", _BYTES, required=True, example=0),
        replace(_LENGTH, description="Declares a deferred length."),
        _CHECKSUM,
    ),
    body=replace(_BODY, description="The bytes from the offset on.", required=True),
    answers=(Answer(status=204, description="They are stored.", headers=_PROGRESS),),
    errors=(
        *_OF_HEAD,
        *_OF_BODY,
        *_OF_UPLOAD,
        *_OF_CREATION,
        *_OF_GRANT,
        UploadFinalError,
    ),
    face=Face.TUS,
    headers=_EVERY,
)
TERMINATE = Operation(
    id="tusDelete",
    tag=Tag.TUS,
    summary="Remove an upload",
    description="Whatever it has become: the original and everything made from it. The other files of its task "
    "continue; with its last file, the task is deleted.",
    scope="manage",
    who=Who.URL,
    parameters=(_VERSION,),
    answers=(Answer(status=204, description="It is gone."),),
    errors=(VersionUnsupportedError, *_OF_UPLOAD, MediaTypeUnsupportedError),
    face=Face.TUS,
    headers=_EVERY,
)
DOWNLOAD = Operation(
    id="downloadOriginal",
    tag=Tag.TUS,
    summary="Download the original",
    description="Whole or in ranges, if the setting `downloads` is `on`. The status has its signed URL.",
    scope="read",
    who=Who.URL,
    parameters=(DOWNLOAD_QUERY, *RANGED),
    answers=file_answers("The original.", "video/*", "application/mxf", "application/octet-stream"),
    errors=(
        DownloadsOffError,
        FieldInvalidError,
        UploadNotFoundError,
        UploadGoneError,
        UploadPartialError,
        UploadIncompleteError,
        UploadUnscannedError,
        UploadInfectedError,
        PlaybackExpiredError,
        PreconditionFailedError,
        RangeUnsatisfiableError,
    ),
    face=Face.TUS,
    headers=_EVERY,
)


def _override(of: Operations) -> Operation:
    """POST on an upload: the method that the header names."""
    answers: dict[int, Answer] = {}
    for answer in (answer for one in of.values() for answer in one.answers):
        earlier = answers.get(answer.status, Answer(status=answer.status, description=""))
        headers = {one.name: replace(one, required=False) for one in (*earlier.headers, *answer.headers)}
        answers[answer.status] = Answer(
            status=answer.status,
            description=f"{earlier.description} {answer.description}".strip(),
            content={**(earlier.content or {}), **(answer.content or {})} or None,
            headers=tuple(headers.values()),
        )
    sent = {one.name: replace(one, required=False) for each in of.values() for one in each.parameters}
    return Operation(
        id="tusOverride",
        tag=Tag.TUS,
        summary="PATCH, HEAD, DELETE or GET by POST",
        description="For clients and proxies that know only GET and POST (section X-HTTP-Method-Override). The answer "
        "is that of the named method; without the header it is 405.",
        who=Who.URL,
        parameters=(
            _UPLOAD_ID,
            header("X-HTTP-Method-Override", "The method that counts.", one_of(tuple(of)), required=True),
            *(one for one in sent.values() if one.where == "header"),
        ),
        body=_BODY,
        answers=tuple(answers.values()),
        errors=(*dict.fromkeys(error for one in of.values() for error in one.errors), MethodNotAllowedError),
        face=Face.TUS,
        headers=_EVERY,
    )


def _of(place: Parameter, operation: Operation, name: str | None = None) -> Operation:
    return replace(operation, id=name or operation.id, parameters=(place, *operation.parameters))


_UPLOAD = {
    "HEAD": _of(_UPLOAD_ID, HEAD),
    "GET": _of(_UPLOAD_ID, DOWNLOAD),
    "PATCH": _of(_UPLOAD_ID, APPEND),
    "DELETE": _of(_UPLOAD_ID, TERMINATE),
}

COLLECTION: Operations = {"OPTIONS": OFFER, "POST": CREATE}
OF_GRANT: Operations = {
    "OPTIONS": _of(_GRANT, OFFER, "grantOptions"),
    "POST": replace(_of(_GRANT, CREATE, "grantCreate"), summary="Create an upload by a grant"),
}
UPLOAD: Operations = {
    **_UPLOAD,
    "POST": _override(_UPLOAD),
    "OPTIONS": _of(_UPLOAD_ID, OFFER, "uploadOptions"),
}
