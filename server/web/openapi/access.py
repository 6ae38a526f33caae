"""The operations of grants and of the page's sign-in."""

from server.errors import (
    BodyTimeoutError,
    ContentTypeUnsupportedError,
    GrantExpiredError,
    GrantMismatchError,
    MediaTypeUnsupportedError,
    NotFoundError,
    SignInInvalidError,
    UploadTooLargeError,
)
from server.web.openapi.operation import (
    JSON,
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
    boolean,
    integer,
    moment,
    nullable,
    number,
    one_of,
    record,
    text,
    url,
)
from server.web.openapi.schemas import DONE_FLAG, JSON_BODY, NO_STORE, RATE, TASK_EXAMPLE

_MOST = (1 << 63) - 1
_TEXT = text(minLength=1, maxLength=1024)
_ASKED = Named(
    name="GrantTerms",
    schema={
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "filename": nullable(_TEXT, "The only name that the file may have; an upload without one gets it."),
            "size": nullable(integer(least=1, most=_MOST), "Exact bytes: the upload has its length from the start."),
            "max_size": nullable(integer(least=1, most=_MOST), "Most bytes."),
            "max_duration": nullable(number(exclusiveMinimum=0, maximum=1e9), "Most seconds of the video."),
            "types": nullable(array(text(), minItems=1, maxItems=50), "Extensions, such as `mp4`."),
            "task": nullable(text(), "The id (UUID, version 4) of the task that the uploads become."),
            "metadata": {
                "type": "object",
                "description": "Added to the metadata of the uploads.",
                "additionalProperties": text(maxLength=1024),
                "propertyNames": {
                    "pattern": "^[A-Za-z0-9_.-]{1,64}$",
                    "not": {"enum": ["filename", "name", "task", "task_file", "task_files"]},
                },
                "maxProperties": 20,
                "default": {},
            },
            "passthrough": nullable(_TEXT, "A text of your own, added to the metadata."),
            "expires_in": integer("Seconds.", 60, 604800) | {"default": 3600},
            "uploads": integer("How many uploads.", 1, 50) | {"default": 1},
            "allowed_origin": nullable(
                text(pattern=r"^https?://[^/\s]{1,255}$"), "The only web origin from which the grant may be used."
            ),
        },
    },
)
_MADE = Named(
    name="Grant",
    schema=record(
        {
            "success": DONE_FLAG,
            "grant_id": text(),
            "token": text("For `Authorization: Bearer`; it is shown only here."),
            "upload_url": url("For a client that starts with HEAD or PATCH."),
            "tus_endpoint": url("For a tus client that creates the upload itself."),
            "form_url": url("For a form."),
            "status_url": url("The status of the task; 404 until the upload is complete."),
            "expires_at": moment(),
        }
    ),
)
_GRANT_EXAMPLE = {
    "success": True,
    "grant_id": "0123456789ab",
    "token": "vdg_0123456789ab_…",
    "upload_url": f"https://video.example/files/{TASK_EXAMPLE}~1.…",
    "tus_endpoint": "https://video.example/files/g/vdg_0123456789ab_…",
    "form_url": "https://video.example/api/upload/videos/g/vdg_0123456789ab_…",
    "status_url": f"https://video.example/api/task/status/{TASK_EXAMPLE}~1.…",
    "expires_at": "2026-11-22T12:23:18Z",
}
_GRANT = Operation(
    id="createGrant",
    tag=Tag.GRANTS,
    summary="Create an upload grant",
    description="Hand one of the URLs to a phone, which then needs no credential.",
    scope="upload",
    body=Body(media_type=JSON, schema=_ASKED, required=False, example={"filename": "holiday.mp4", "expires_in": 900}),
    answers=(
        Answer(
            status=201,
            description="The grant with its URLs.",
            content={JSON: _MADE},
            headers=(NO_STORE,),
            example=_GRANT_EXAMPLE,
        ),
    ),
    errors=(*JSON_BODY, MediaTypeUnsupportedError, UploadTooLargeError, GrantExpiredError, GrantMismatchError),
    headers=RATE,
)
GRANTS: Operations = {"POST": _GRANT}

_SESSION = Named(
    name="Session",
    schema=record(
        {
            "success": DONE_FLAG,
            "auth": one_of(("off", "on"), "The setting."),
            "signed_in": boolean(),
            "owner": nullable(text()),
            "scopes": array(one_of(("admin", "manage", "read", "upload"))),
        }
    ),
)
_SIGNED_IN = {
    "success": True,
    "auth": "on",
    "signed_in": True,
    "owner": "ann",
    "scopes": ["manage", "read", "upload"],
}
_SIGNED_OUT = {"success": True, "auth": "on", "signed_in": False, "owner": None, "scopes": []}
_COOKIE = Header(name="Set-Cookie", description="The session.", schema=text(), required=True)
_WHO = Operation(
    id="whoIsSignedIn",
    tag=Tag.SESSION,
    summary="Ask who is signed in",
    who=Who.EVERYBODY,
    answers=(
        Answer(
            status=200,
            description="Who, and what they may.",
            content={JSON: _SESSION},
            headers=(NO_STORE,),
            example=_SIGNED_IN,
        ),
    ),
    face=Face.SESSION,
)
_SIGN_IN = Operation(
    id="signIn",
    tag=Tag.SESSION,
    summary="Sign in",
    description="With a key or a token. Ends the session that the browser had before.",
    who=Who.PAGE,
    body=Body(
        media_type=JSON,
        schema={
            "type": "object",
            "properties": {"key": text("`vdk_…`", minLength=1), "token": text("A JWT.", minLength=1)},
            "minProperties": 1,
            "maxProperties": 1,
            "additionalProperties": False,
        },
        description="At most 16 KiB.",
        example={"key": "vdk_0123456789ab_…"},
    ),
    answers=(
        Answer(
            status=200,
            description="Signed in.",
            content={JSON: _SESSION},
            headers=(NO_STORE, _COOKIE),
            example=_SIGNED_IN,
        ),
    ),
    errors=(
        SignInInvalidError,
        (SignInInvalidError, 413),
        ContentTypeUnsupportedError,
        NotFoundError,  # with `auth` off
        BodyTimeoutError,
    ),
    face=Face.SESSION,
)
_SIGN_OUT = Operation(
    id="signOut",
    tag=Tag.SESSION,
    summary="Sign out",
    description="Succeeds without a sign-in too.",
    who=Who.PAGE,
    answers=(
        Answer(
            status=200,
            description="Signed out.",
            content={JSON: _SESSION},
            headers=(NO_STORE, _COOKIE),
            example=_SIGNED_OUT,
        ),
    ),
    face=Face.SESSION,
)
SESSION: Operations = {
    "GET": _WHO,
    "HEAD": _WHO.as_head("whoIsSignedInHead"),
    "POST": _SIGN_IN,
    "DELETE": _SIGN_OUT,
}
