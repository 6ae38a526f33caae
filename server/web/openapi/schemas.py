"""Schemas, headers and parameters that several operations share.

Rule: what is said here is what the handlers send; the tests check every answer that they see against it.
"""

from typing import Any

from server.errors import BodyTooLargeError, ContentTypeUnsupportedError, FieldInvalidError
from server.lifecycle import FileStatus, StepStatus, TaskStatus
from server.web.openapi.operation import (
    UUID,
    AnySchema,
    Header,
    Named,
    Refusal,
    Schema,
    array,
    boolean,
    integer,
    moment,
    nullable,
    number,
    one_of,
    path,
    record,
    text,
    url,
)

TASK_EXAMPLE = "123e4567-e89b-42d3-a456-426614174000"
FILE_EXAMPLE = "0b8a5f0e-6c3d-4e0b-9d9a-1f2e3d4c5b6a"
KEY_EXAMPLE = "vdk_7Jr0…"

JSON_BODY: tuple[Refusal, ...] = (FieldInvalidError, ContentTypeUnsupportedError, BodyTooLargeError)
"""What `json_body.read_object` refuses."""

# Headers of answers

NO_STORE = Header(name="Cache-Control", description="No copy is kept.", schema={"const": "no-store"}, required=True)
REQUEST_ID = Header(
    name="X-Request-ID",
    description="The id under which the log has this request: the request's own, or a new one.",
    schema=text(),
    required=True,
)
RETRY_AFTER = Header(name="Retry-After", description="Seconds after which to try again.", schema=integer(least=0))
UPLOAD_OFFSET = Header(
    name="Upload-Offset", description="Bytes of the upload that are stored.", schema=integer(least=0)
)
RATE = (
    Header(
        name="RateLimit",
        description="Creations that are left, where the settings limit them (draft-ietf-httpapi-ratelimit-headers).",
        schema=text(),
    ),
    Header(name="RateLimit-Policy", description="The limits themselves.", schema=text()),
)

# JSON

DONE_FLAG: Schema = {"const": True, "description": "The request succeeded."}
REASON = Named(
    name="Reason",
    schema=record(
        {
            "code": text("Stable; [all codes](#section/Errors)."),
            "message": text("The sentence, in the reader's language."),
        },
        description="Why something is as it is.",
    ),
)
DONE = Named(
    name="Done",
    schema=record({"success": DONE_FLAG, "message": text("What happened, in the reader's language.")}),
)
REFUSED_FILES = array(
    record({"name": text(), "code": text(), "message": text()}), "Each refused file, with its code and sentence."
)

# Tasks

TASK_ID = path(
    "task_id",
    "The id of a task; or the last segment of the URL of one of its uploads, which needs no credential. "
    "Upper case is read as lower case.",
    text(minLength=1),
    TASK_EXAMPLE,
)
_STEP = Named(
    name="Step",
    schema=record(
        {
            "name": one_of(("scan", "probe", "mp4", "poster", "hls", "storyboard")),
            "status": one_of(StepStatus),
            "progress": integer("Percent.", 0, 100),
            "seconds": nullable(number("How long it took, with its repetitions; null until it has ended.")),
            "error": nullable(REASON),
        }
    ),
)
_FILE: dict[str, AnySchema] = {
    "id": UUID,
    "name": text("As the client named it, made safe to show."),
    "size": integer("Bytes.", 0),
    "status": one_of(FileStatus),
    "progress": integer("Percent.", 0, 100),
    "duration": nullable(number("Seconds.")),
    "width": nullable(integer("Pixels, upright.", 0)),
    "height": nullable(integer("Pixels, upright.", 0)),
    "frame_rate": nullable(number("Frames a second.")),
    "container": nullable(text()),
    "video_codec": nullable(text()),
    "audio_codec": nullable(text()),
    "audio_tracks": nullable(integer(least=0)),
    "hdr": nullable(boolean()),
    "variable_frame_rate": nullable(boolean()),
    "scan": nullable(one_of(("clean", "infected", "skipped", "too_large")), "The virus scan; `null` until it ends."),
    "playable": boolean("The video can be played already."),
    "poster": one_of(("automatic", "frame", "picture"), "Where the poster is from: its owner may choose another one."),
    "poster_url": nullable(url()),
    "mp4_url": nullable(url()),
    "hls_url": nullable(url()),
    "storyboard_url": nullable(url()),
    "original_url": nullable(url(), "Only with the setting `downloads`."),
    "steps": array(_STEP, "Empty until processing starts."),
    "remarks": array(REASON, "Problems of a completed file that its owner should know."),
    "error": nullable(REASON),
}
_WITHOUT_STEPS = {key: schema for key, schema in _FILE.items() if key != "steps"}
FILE = Named(name="File", schema=record(_FILE, optional=("original_url",)))
LISTED_FILE = Named(name="ListedFile", schema=record(_WITHOUT_STEPS, optional=("original_url",)))

TASK_FIELDS: dict[str, AnySchema] = {
    "task_id": UUID,
    "status": one_of(tuple(status.value for status in TaskStatus if status is not TaskStatus.REMOVED)),
    "removed": boolean("Deleted; `status` is then `cancelled`."),
    "message": text("The state as a sentence, in the reader's language."),
    "title": nullable(text(), "What its owner calls it."),
    "passthrough": nullable(text(), "The text that came with the upload, unchanged."),
    "progress": integer("Percent of the whole task: the share of its time that is over. It never falls.", 0, 100),
    "partial": boolean("Some of the files failed."),
    "playable": boolean("Every file that has not failed can be played."),
    "step": nullable(text(), "The current or last step."),
    "eta_seconds": nullable(number(minimum=0), "Seconds until its end; `null` while there is no ground for a number."),
    "waiting": nullable(REASON, "Why the task is postponed; it continues by itself."),
    "created_at": text(
        "UTC, without a zone, as legacy clients expect it.", pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d$"
    ),
    "created_at_utc": moment("The same time with its zone."),
}
"""What a task has in the status, in lists, in events and in webhooks."""

TASK = Named(name="Task", schema=record({**TASK_FIELDS, "files": array(LISTED_FILE)}))
TASK_STATUS = Named(name="TaskStatus", schema=record({"success": DONE_FLAG, **TASK_FIELDS, "files": array(FILE)}))


def task_example() -> dict[str, Any]:
    """The status of a completed task."""
    place = f"https://video.example/media/{TASK_EXAMPLE}/{FILE_EXAMPLE}/"
    steps = ("scan", "probe", "mp4", "poster", "hls", "storyboard")
    skipped = ("scan", "hls")
    return {
        "success": True,
        "task_id": TASK_EXAMPLE,
        "status": "completed",
        "removed": False,
        "message": "处理完成",
        "title": None,
        "passthrough": "order-4711",
        "progress": 100,
        "partial": False,
        "playable": True,
        "step": "storyboard",
        "eta_seconds": None,
        "waiting": None,
        "files": [
            {
                "id": FILE_EXAMPLE,
                "name": "holiday.mp4",
                "size": 353519,
                "status": "completed",
                "progress": 100,
                "duration": 3.0,
                "width": 640,
                "height": 480,
                "frame_rate": 25.0,
                "container": "mp4",
                "video_codec": "h264",
                "audio_codec": "aac",
                "audio_tracks": 1,
                "hdr": False,
                "variable_frame_rate": False,
                "scan": "skipped",
                "playable": True,
                "poster": "automatic",
                "poster_url": place + "poster.jpg",
                "mp4_url": place + "video.mp4",
                "hls_url": None,
                "storyboard_url": place + "storyboard.vtt",
                "steps": [
                    {
                        "name": name,
                        "status": "skipped" if name in skipped else "completed",
                        "progress": 0 if name in skipped else 100,
                        "seconds": None if name in skipped else 0.42,
                        "error": None,
                    }
                    for name in steps
                ],
                "remarks": [],
                "error": None,
            }
        ],
        "created_at": "2026-11-22T11:23:18",
        "created_at_utc": "2026-11-22T11:23:18Z",
    }
