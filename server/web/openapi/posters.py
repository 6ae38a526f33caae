"""The operations of posters that owners choose."""

from server.errors import (
    BodyTimeoutError,
    FieldInvalidError,
    FrameUnavailableError,
    NotFoundError,
    PictureInvalidError,
    PosterNotReadyError,
    TaskGoneError,
    TaskNotFoundError,
    TooBusyError,
)
from server.web.openapi.operation import JSON, UUID, Answer, Body, Operation, Operations, Tag, number, query, record
from server.web.openapi.schemas import FILE_EXAMPLE, JSON_BODY, NO_STORE, TASK_ID, TASK_STATUS, task_example

MOST_BYTES = 5 << 20
PICTURES = ("image/jpeg", "image/png", "image/webp")

_FILE = query("file", "The file, where the task has several; without it the first.", UUID, FILE_EXAMPLE)
_ANSWERS = (
    Answer(
        status=200,
        description="The task as it is now; `poster_url` has another version.",
        content={JSON: TASK_STATUS},
        headers=(NO_STORE,),
        example=task_example(),
    ),
)
_ALL = (
    TaskNotFoundError,
    TaskGoneError,
    NotFoundError,
    PosterNotReadyError,
    FrameUnavailableError,
    FieldInvalidError,
    TooBusyError,
)

POSTER: Operations = {
    "PUT": Operation(
        id="choosePoster",
        tag=Tag.TASKS,
        summary="Choose the poster of a video",
        description="A frame by its time, as JSON; or an own picture as the body, of the type `image/jpeg`, "
        "`image/png` or `image/webp` and at most 5 MiB. A new JPEG is made of it, and replaces the former one at once.",
        scope="manage",
        parameters=(TASK_ID, _FILE),
        body=Body(
            media_type=JSON,
            schema=record({"seconds": number("The time of the frame.", minimum=0)}),
            description="Or the bytes of a picture.",
            example={"seconds": 12.5},
        ),
        answers=_ANSWERS,
        errors=(
            *_ALL,
            *JSON_BODY[1:],
            PictureInvalidError,
            BodyTimeoutError,
        ),
    ),
    "DELETE": Operation(
        id="resetPoster",
        tag=Tag.TASKS,
        summary="Choose the poster automatically again",
        scope="manage",
        parameters=(TASK_ID, _FILE),
        answers=_ANSWERS,
        errors=_ALL,
    ),
}
