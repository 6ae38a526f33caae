"""The operations of results, health, metrics, the page and the description itself."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from server.errors import (
    FieldInvalidError,
    NotFoundError,
    PlaybackExpiredError,
    PreconditionFailedError,
    RangeUnsatisfiableError,
    ShareExpiredError,
    ShareNotFoundError,
    ShareRevokedError,
    ShareVideoGoneError,
)
from server.web.openapi.files import DOWNLOAD_QUERY, NOSNIFF, RANGED, file_answers
from server.web.openapi.operation import (
    JSON,
    TEXT,
    UUID,
    Answer,
    Face,
    Header,
    Operation,
    Operations,
    Parameter,
    Tag,
    Who,
    integer,
    path,
    record,
    text,
)
from server.web.openapi.schemas import FILE_EXAMPLE, NO_STORE, TASK_EXAMPLE

# Results

_PLACE = (
    path("task_id", "The task.", UUID, TASK_EXAMPLE),
    path("file_id", "Its file.", UUID, FILE_EXAMPLE),
    path(
        "name",
        "`poster.jpg`, `video.mp4`, `storyboard.vtt`, or what a playlist or storyboard refers to; it may have a slash.",
        text(minLength=1),
        "poster.jpg",
    ),
)
_RESULT = Operation(
    id="result",
    tag=Tag.RESULTS,
    summary="Get a poster, a video, a playlist or thumbnails",
    description="The status has the URLs. Players may ask for ranges.",
    scope="read",
    parameters=(*_PLACE, DOWNLOAD_QUERY, *RANGED),
    answers=file_answers(
        "The file.", "image/jpeg", "video/mp4", "video/iso.segment", "text/vtt", "application/vnd.apple.mpegurl"
    ),
    errors=(
        NotFoundError,
        FieldInvalidError,
        PlaybackExpiredError,
        PreconditionFailedError,
        RangeUnsatisfiableError,
    ),
    headers=(replace(NOSNIFF, required=False),),
)
_SIGNED = replace(
    _RESULT,
    id="signedResult",
    summary="The same by a signed URL",
    who=Who.EVERYBODY,
    scope="",
    parameters=(path("signature", "What the status put there.", text(minLength=1)), *_RESULT.parameters),
)
_SHARED = replace(
    _RESULT,
    id="sharedResult",
    summary="The same of a shared video",
    description="`GET /api/shared/<token>` has the URLs. They are valid as long as the share.",
    who=Who.EVERYBODY,
    scope="",
    parameters=(
        path("token", "The last part of the link.", text(minLength=1)),
        path("number", "The place of the file in its task, from 1.", integer(least=1)),
        *_RESULT.parameters[2:],
    ),
    errors=(
        *(error for error in _RESULT.errors if error is not PlaybackExpiredError),
        ShareNotFoundError,
        ShareExpiredError,
        ShareRevokedError,
        ShareVideoGoneError,
    ),
)
SHARED_RESULT: Operations = {"GET": _SHARED, "HEAD": _SHARED.as_head("sharedResultHead")}
RESULT: Operations = {"GET": _RESULT, "HEAD": _RESULT.as_head("resultHead")}
SIGNED_RESULT: Operations = {"GET": _SIGNED, "HEAD": _SIGNED.as_head("signedResultHead")}

# Health

_ALIVE = Operation(
    id="alive",
    tag=Tag.SERVER,
    summary="Does the process run?",
    who=Who.EVERYBODY,
    answers=(
        Answer(
            status=200,
            description="Yes.",
            content={JSON: record({"status": {"const": "alive"}})},
            headers=(NO_STORE,),
            example={"status": "alive"},
        ),
    ),
    face=Face.BARE,
)
_CHECKS = {
    "type": "object",
    "additionalProperties": text(),
    "description": "`ok`, or what is wrong, by part.",
}
_READY = Operation(
    id="ready",
    tag=Tag.SERVER,
    summary="Can the server work?",
    description="A part that only limits the server, such as a full disk, is named with 200.",
    who=Who.EVERYBODY,
    answers=(
        Answer(
            status=200,
            description="Yes.",
            content={JSON: record({"status": {"const": "ready"}, "checks": _CHECKS})},
            headers=(NO_STORE,),
            example={"status": "ready", "checks": {"database": "ok", "store": "ok", "space": "ok"}},
        ),
        Answer(
            status=503,
            description="No.",
            content={JSON: record({"status": {"const": "not ready"}, "checks": _CHECKS})},
            headers=(NO_STORE,),
            example={"status": "not ready", "checks": {"database": "cannot be reached", "store": "ok"}},
        ),
    ),
    face=Face.BARE,
)
_METRICS = Operation(
    id="metrics",
    tag=Tag.SERVER,
    summary="Metrics for Prometheus",
    scope="admin",
    answers=(
        Answer(status=200, description="The text format of Prometheus.", content={TEXT: text()}, headers=(NO_STORE,)),
    ),
)
HEALTHZ: Operations = {"GET": _ALIVE, "HEAD": _ALIVE.as_head("aliveHead")}
READYZ: Operations = {"GET": _READY, "HEAD": _READY.as_head("readyHead")}
METRICS: Operations = {"GET": _METRICS, "HEAD": _METRICS.as_head("metricsHead")}

# The page

_RARE = ("Strict-Transport-Security", "Vary", "Content-Encoding", "X-Robots-Tag", "X-Frame-Options", "ETag")

_OF_PAGE = (
    NOSNIFF,
    *(
        Header(name=name, description=description, schema=text(), required=name not in _RARE)
        for name, description in (
            ("Content-Security-Policy", "The page loads nothing from other hosts."),
            ("Referrer-Policy", "Other sites do not learn of the page."),
            ("X-Frame-Options", "No other page frames it."),
            ("Cross-Origin-Opener-Policy", "No other page gets hold of its window."),
            ("Permissions-Policy", "It needs no camera and no microphone."),
            ("Cache-Control", "Whether a copy may be shown without a question."),
            ("ETag", "The version."),
            ("Vary", "Of a file that may be compressed."),
            ("Content-Encoding", "Of a compressed file."),
            ("Strict-Transport-Security", "Only over https."),
            ("X-Robots-Tag", "No search engine lists shared videos."),
        )
    ),
    Header(name="Last-Modified", description="When the file was made.", schema=text()),
)


def _content(media_types: tuple[str, ...]) -> dict[str, Any]:
    return {"type": "object"} if media_types == (JSON,) else text()


def page(
    name: str,
    summary: str,
    *media_types: str,
    file: bool = False,
    may_lack: bool = False,
    parameters: tuple[Parameter, ...] = (),
) -> Operations:
    """The operations of a page, or of the files that belong to it; `may_lack` where a setting takes it away, and
    `parameters` are those of its path."""
    found = Operation(
        id=name,
        tag=Tag.SERVER,
        summary=summary,
        who=Who.EVERYBODY,
        parameters=(path("name", "The file.", text(minLength=1)),) if file else parameters,
        answers=(
            Answer(
                status=200,
                description="It.",
                content=dict.fromkeys(media_types, _content(media_types)),
                headers=_OF_PAGE,
            ),
            Answer(status=304, description="The browser has it already.", headers=_OF_PAGE),
        ),
        errors=(NotFoundError,) if file or may_lack else (),
        face=Face.API if file or may_lack else Face.BARE,
    )
    return {"GET": found, "HEAD": found.as_head(f"{name}Head")}


_TASK = path("task_id", "The id of the task. The page itself asks whether its visitor may see it.", text(minLength=1))
_TOKEN = path("token", "The token of a share.", text(minLength=1))
_ROOM = path("room", "Such as `uploads`, `owners` or `audit`.", text(minLength=1))
_EMBEDDED = path("name", "The token of a share, or the id of a task.", text(minLength=1))
VIEWS: Mapping[str, Operations] = {
    "/": page("uploadPage", "The page for uploads", "text/html"),
    "/videos": page("videosPage", "The page with all videos", "text/html"),
    "/numbers": page("numbersPage", "The page with the numbers", "text/html"),
    "/v/{task_id}": page("videoPage", "The page of a video", "text/html", parameters=(_TASK,)),
    "/admin": page("adminPage", "The page of the operator", "text/html"),
    "/admin/{room}": page("adminRoomPage", "A room of it, such as `keys`", "text/html", parameters=(_ROOM,)),
    "/s/{token}": page("sharedPage", "The page of a shared video", "text/html", parameters=(_TOKEN,)),
    "/embed/{name}": page("embedPage", "A player for frames in other pages", "text/html", parameters=(_EMBEDDED,)),
}
"""The views of the page by their path: each is the same document."""
PAGE_FILE = page(
    "pageFile", "A file of the page", "text/css", "text/javascript", "image/svg+xml", "image/png", file=True
)

# The description

VIEWER = page("viewer", "A viewer for this description", "text/html", may_lack=True)
VIEWER_FILE = page("viewerFile", "A file of the viewer", "text/css", "text/javascript", file=True)
_DESCRIPTION = page("description", "This description", JSON, may_lack=True)
DESCRIPTION: Operations = {
    method: replace(operation, description="For everybody, unless the setting `docs` is `off`.")
    for method, operation in _DESCRIPTION.items()
}
