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
from server.web.openapi.files import DOWNLOAD_QUERY, RANGE_HEADERS, RANGED, file_answers
from server.web.openapi.operation import (
    Answer,
    Face,
    Operation,
    Operations,
    Parameter,
    Refusal,
    Tag,
    Who,
    header,
    one_of,
)
from server.web.openapi.preflight import PREFLIGHT_HEADERS
from server.web.openapi.schemas import RATE
from server.web.openapi.tus_headers import (
    BODY,
    BYTES,
    CHECKSUM,
    CREATE_PARAMETERS,
    FACTS,
    GRANT,
    LENGTH,
    LOCATION,
    OFFER_HEADERS,
    ON_EVERY_ANSWER,
    PROGRESS,
    UPLOAD_ID,
    VERSION,
    VERSION_OR_NOT,
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
    answers=(Answer(status=204, description="The offer, in headers.", headers=(*OFFER_HEADERS, *PREFLIGHT_HEADERS)),),
    face=Face.TUS,
    who=Who.EVERYBODY,
    headers=ON_EVERY_ANSWER,
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
    parameters=CREATE_PARAMETERS,
    body=BODY,
    answers=(
        Answer(
            status=201,
            description="The upload exists.",
            headers=(replace(LOCATION, required=True), *PROGRESS),
        ),
    ),
    errors=(*_OF_HEAD, *_OF_CREATION, *_OF_BODY, *_OF_UPLOAD, *_OF_GRANT, RefusedByBackendError, RefusedByHookError),
    face=Face.TUS,
    headers=(*ON_EVERY_ANSWER, LOCATION, *RATE),
)
HEAD = Operation(
    id="tusHead",
    tag=Tag.TUS,
    summary="Ask for the offset",
    description="Without `Tus-Resumable`, and with the setting `downloads`, the answer is the head of the GET.",
    scope="upload",
    who=Who.URL,
    parameters=(VERSION_OR_NOT, *RANGED[1:]),
    answers=(
        Answer(
            status=200,
            description="Where to continue. A final upload has no offset until its parts are joined.",
            headers=(*PROGRESS, *FACTS, *RANGE_HEADERS),
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
    headers=ON_EVERY_ANSWER,
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
        VERSION,
        header("Upload-Offset", "Bytes that the upload has.", BYTES, required=True, example=0),
        replace(LENGTH, description="Declares a deferred length."),
        CHECKSUM,
    ),
    body=replace(BODY, description="The bytes from the offset on.", required=True),
    answers=(Answer(status=204, description="They are stored.", headers=PROGRESS),),
    errors=(
        *_OF_HEAD,
        *_OF_BODY,
        *_OF_UPLOAD,
        *_OF_CREATION,
        *_OF_GRANT,
        UploadFinalError,
    ),
    face=Face.TUS,
    headers=ON_EVERY_ANSWER,
)
TERMINATE = Operation(
    id="tusDelete",
    tag=Tag.TUS,
    summary="Remove an upload",
    description="Whatever it has become: the original and everything made from it. The other files of its task "
    "continue; with its last file, the task is deleted.",
    scope="manage",
    who=Who.URL,
    parameters=(VERSION,),
    answers=(Answer(status=204, description="It is gone."),),
    errors=(VersionUnsupportedError, *_OF_UPLOAD, MediaTypeUnsupportedError),
    face=Face.TUS,
    headers=ON_EVERY_ANSWER,
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
    headers=ON_EVERY_ANSWER,
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
            UPLOAD_ID,
            header("X-HTTP-Method-Override", "The method that counts.", one_of(tuple(of)), required=True),
            *(one for one in sent.values() if one.where == "header"),
        ),
        body=BODY,
        answers=tuple(answers.values()),
        errors=(*dict.fromkeys(error for one in of.values() for error in one.errors), MethodNotAllowedError),
        face=Face.TUS,
        headers=ON_EVERY_ANSWER,
    )


def _of(place: Parameter, operation: Operation, name: str | None = None) -> Operation:
    return replace(operation, id=name or operation.id, parameters=(place, *operation.parameters))


_UPLOAD = {
    "HEAD": _of(UPLOAD_ID, HEAD),
    "GET": _of(UPLOAD_ID, DOWNLOAD),
    "PATCH": _of(UPLOAD_ID, APPEND),
    "DELETE": _of(UPLOAD_ID, TERMINATE),
}

COLLECTION: Operations = {"OPTIONS": OFFER, "POST": CREATE}
OF_GRANT: Operations = {
    "OPTIONS": _of(GRANT, OFFER, "grantOptions"),
    "POST": replace(_of(GRANT, CREATE, "grantCreate"), summary="Create an upload by a grant"),
}
UPLOAD: Operations = {
    **_UPLOAD,
    "POST": _override(_UPLOAD),
    "OPTIONS": _of(UPLOAD_ID, OFFER, "uploadOptions"),
}
