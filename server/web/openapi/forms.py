"""The operations of the documented form."""

from dataclasses import replace

from server.errors import (
    ContentEncodingUnsupportedError,
    FieldInvalidError,
    FormStorageFullError,
    FormTimeoutError,
    GrantExpiredError,
    GrantMismatchError,
    GrantUsedError,
    IdempotencyMismatchError,
    IdempotencyRunningError,
    MultipartInvalidError,
    NoFileError,
    NoRoomError,
    NoValidFileError,
    QuotaReachedError,
    QuotaTooSmallError,
    RefusedByBackendError,
    RefusedByHookError,
    TaskTakenError,
    UploadTooLargeError,
)
from server.tus.passthrough import MOST_BYTES
from server.web.openapi.operation import (
    JSON,
    UUID,
    Answer,
    Body,
    Face,
    Header,
    Named,
    Operation,
    Operations,
    Tag,
    Who,
    array,
    header,
    integer,
    nullable,
    path,
    query,
    record,
    text,
    url,
)
from server.web.openapi.schemas import DONE_FLAG, NO_STORE, RATE, REFUSED_FILES, TASK_EXAMPLE

_ACCEPTED = Named(
    name="FormAccepted",
    schema=record(
        {
            "success": DONE_FLAG,
            "message": text("In the reader's language."),
            "task_id": UUID,
            "uploaded_files": integer("Accepted files.", 1),
            "invalid_files": nullable(array(text()), "The names of the refused files."),
            "invalid_details": nullable(REFUSED_FILES),
            "status_url": url("Where to follow the task without a credential; only with authentication."),
        },
        optional=("status_url",),
    ),
)
_REPLAYED = Header(
    name="Idempotent-Replayed",
    description="The answer to an earlier form with the same key.",
    schema={"const": "true"},
)
_OF_PAGE = tuple(
    Header(name=name, description="Only of an answer as a page.", schema=text())
    for name in (
        "Content-Security-Policy",
        "X-Content-Type-Options",
        "Referrer-Policy",
        "X-Frame-Options",
        "Cross-Origin-Opener-Policy",
        "Permissions-Policy",
    )
)
_FORM = Operation(
    id="uploadForm",
    tag=Tag.FORM,
    summary="Upload a form",
    description="Each file is judged separately. The accepted ones become one task; each other one is named with a "
    "code. The answer comes when every byte is stored, before processing starts.",
    scope="upload",
    who=Who.CREATOR,
    parameters=(
        query(
            "answer",
            "`page`: a browser, which accepts `text/html`, gets the answer as a page; for forms without a script.",
            text(),
        ),
        header(
            "Idempotency-Key",
            "A key of the client's own, such as a UUID. The same form with the same key becomes one task only.",
            text(minLength=1, maxLength=514),
            example='"8e03978e-40d5-43e8-bc93-6894a57f9324"',
        ),
    ),
    body=Body(
        media_type="multipart/form-data",
        schema={
            "type": "object",
            "properties": {
                "videos": array({"type": "string", "contentMediaType": "application/octet-stream"}, minItems=1),
                "passthrough": text("Comes back in the status; at most 1 KiB of UTF-8.", maxLength=MOST_BYTES),
            },
            "required": ["videos"],
        },
        description="Files in the field `videos`. Fields other than these two are ignored.",
    ),
    answers=(
        Answer(
            status=200,
            description="At least one file was accepted.",
            content={JSON: _ACCEPTED, "text/html": text()},
            headers=(NO_STORE,),
            example={
                "success": True,
                "message": "视频上传成功",
                "task_id": TASK_EXAMPLE,
                "uploaded_files": 1,
                "invalid_files": ["notes.mp4"],
                "invalid_details": [
                    {
                        "name": "notes.mp4",
                        "code": "media_type_mismatch",
                        "message": "文件内容与扩展名不符，或不是视频（支持 mp4, mov, avi, mkv, wmv, flv, 3gp）",
                    }
                ],
            },
        ),
    ),
    errors=(
        NoFileError,
        NoValidFileError,
        (NoValidFileError, 413),
        MultipartInvalidError,
        FieldInvalidError,
        ContentEncodingUnsupportedError,
        FormTimeoutError,
        FormStorageFullError,
        NoRoomError,
        UploadTooLargeError,
        QuotaTooSmallError,
        QuotaReachedError,
        IdempotencyRunningError,
        IdempotencyMismatchError,
        TaskTakenError,
        GrantExpiredError,
        GrantMismatchError,
        GrantUsedError,
        RefusedByBackendError,
        RefusedByHookError,
    ),
    face=Face.FORM,
    headers=(*RATE, _REPLAYED, *_OF_PAGE),
)
_GRANT = path("grant", "The token of an upload grant.", text(minLength=1), "vdg_0123456789ab_…")

FORM: Operations = {"POST": _FORM}
FORM_OF_GRANT: Operations = {
    "POST": replace(
        _FORM, id="uploadFormByGrant", summary="Upload a form by a grant", parameters=(_GRANT, *_FORM.parameters)
    )
}
