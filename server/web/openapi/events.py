"""The operations of live events."""

from server.errors import FieldInvalidError, TaskNotFoundError, TooManyStreamsError
from server.events.types import DESCRIPTIONS
from server.web.openapi.operation import (
    Answer,
    Header,
    Operation,
    Operations,
    Tag,
    Who,
    header,
    one_of,
    query,
    text,
)
from server.web.openapi.schemas import NO_STORE, TASK_ID

_TYPES = "\n".join(f"- `{name}`: {meaning}" for name, meaning in DESCRIPTIONS.items())
_MESSAGES = (
    "Each message has an `event:` of the list below, and `data:` with a JSON object: `type`, `task_id`, `at`, for "
    "uploads `upload_id`, and `status`, the status of the task as `taskStatus` answers it, in its state when the "
    "message was made; `null` before the task exists. Messages with an `id:` are kept: a client that sends the last "
    "one as `Last-Event-ID` gets what came after it, each once and in order. A comment line comes every 15 seconds.\n\n"
    + _TYPES
)
_PARAMETERS = (
    header("Last-Event-ID", "The `id` of the last message that was received.", text(pattern=r"^[0-9]+$"), example="17"),
    query("last_event_id", "The same, for clients that cannot send the header.", text(pattern=r"^[0-9]+$")),
    query("lang", "Language of the sentences, instead of `Accept-Language`.", one_of(("zh", "en"))),
)
_STREAM = Answer(
    status=200,
    description="The messages, until the client or the server ends the stream.",
    content={"text/event-stream": text("Server-sent events.")},
    headers=(
        NO_STORE,
        Header(name="X-Accel-Buffering", description="nginx passes it on at once.", schema={"const": "no"}),
    ),
    example='id: 17\nevent: upload.expired\ndata: {"type":"upload.expired","task_id":"…","at":"…","status":null}\n\n',
)
_OVER = Answer(status=204, description="The task has ended, and there is nothing new.", headers=(NO_STORE,))
_OF_TASK = Operation(
    id="followTask",
    tag=Tag.LIVE,
    summary="Follow a task",
    description="The events of a task and of its uploads, from its first upload on, as server-sent events. It begins "
    "with the status (`task.status`), and ends after the task has ended: after that a client that comes back with the "
    "last `id` gets 204.\n\n" + _MESSAGES,
    scope="read",
    who=Who.URL,
    parameters=(TASK_ID, *_PARAMETERS),
    answers=(
        _STREAM,
        Answer(status=204, description="The task has ended, and there is nothing new.", headers=(NO_STORE,)),
    ),
    errors=(TaskNotFoundError, FieldInvalidError, TooManyStreamsError),
)
_ALL = Operation(
    id="followEvents",
    tag=Tag.LIVE,
    summary="Follow all tasks of an owner",
    description="The events of all tasks and uploads of the caller, from now on, as server-sent events; for a "
    "credential with the scope `admin` those of every owner. It does not end by itself.\n\n" + _MESSAGES,
    scope="read",
    parameters=(*_PARAMETERS, query("owner", "With the scope `admin`: the events of this owner alone.", text())),
    answers=(_STREAM,),
    errors=(FieldInvalidError, TooManyStreamsError),
)

TASK: Operations = {"GET": _OF_TASK}
ALL: Operations = {"GET": _ALL}
