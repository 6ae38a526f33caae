"""The operations of lists."""

from server.errors import CursorInvalidError, FieldInvalidError
from server.lifecycle import TaskStatus, UploadStatus
from server.tasks.listing import MOST_EXAMINED
from server.tasks.sorting import MOST_SORTED, Order, Sort
from server.web.openapi.operation import (
    JSON,
    UUID,
    Answer,
    AnySchema,
    Named,
    Operation,
    Operations,
    Parameter,
    Schema,
    Tag,
    array,
    boolean,
    integer,
    moment,
    nullable,
    one_of,
    query,
    record,
    text,
    url,
)
from server.web.openapi.schemas import (
    DONE_FLAG,
    LISTED_FILE,
    NO_STORE,
    TASK_EXAMPLE,
    TASK_FIELDS,
    task_example,
)

LIMIT, MOST = 50, 200
NAME_CHARACTERS = 255

_CURSOR = "MDYyN2Y0ZTItMGYyNy00ZTI0LWFiZDAtOGZlNGY1NDM"
_COMMON: tuple[Parameter, ...] = (
    query("from", "Created at this time or later; ISO 8601, UTC without a zone.", text(format="date-time")),
    query("to", "Created before this time.", text(format="date-time")),
    query("owner", "Of this owner; of another than one's own only with the scope `admin`.", text()),
    query("limit", "Most entries of a page.", {**integer(least=1, most=MOST), "default": LIMIT}),
    query("cursor", "`next` of the page before, with the same filters; `limit` may differ.", text()),
)
_NEXT: Schema = nullable(text(), "The cursor of the page that follows; `null` on the last one.")
_OWNER = text("Whose it is; only for a credential with the scope `admin`.")
_ERRORS = (FieldInvalidError, CursorInvalidError)


def _status(states: type[TaskStatus] | type[UploadStatus], description: str) -> Parameter:
    return query("status", f"{description} May be repeated, or have several words with commas.", array(one_of(states)))


def _page(what: str, one: AnySchema, example: object, *, truncated: bool = False) -> Answer:
    fields: dict[str, AnySchema] = {"success": DONE_FLAG, what: array(one), "next": _NEXT}
    if truncated:
        fields["truncated"] = boolean("Of a list in another order: there are more tasks, which it did not look at.")
    return Answer(
        status=200,
        description="A page.",
        content={JSON: record(fields, optional=("truncated",) if truncated else ())},
        headers=(NO_STORE,),
        example={"success": True, what: [example], "next": _CURSOR},
    )


def _task_example() -> dict[str, object]:
    example = task_example()
    del example["success"]
    return {**example, "files": [{key: file[key] for key in file if key != "steps"} for file in example["files"]]}


_TASK = Named(
    name="ListedTask",
    schema=record({**TASK_FIELDS, "files": array(LISTED_FILE), "owner": _OWNER}, optional=("owner",)),
)
_UPLOAD = Named(
    name="Upload",
    schema=record(
        {
            "id": UUID,
            "url": nullable(
                url(),
                "Of an open or complete tus upload. It has its signature for a credential with the scopes `upload` and "
                "`manage`: a client with that URL may continue and end the upload.",
            ),
            "filename": nullable(text()),
            "size": nullable(integer("Bytes of the whole file; `null` while unknown.", 0)),
            "offset": integer("Bytes that are stored.", 0),
            "status": one_of(UploadStatus),
            "protocol": one_of(("tus", "multipart")),
            "partial": boolean("A part of an upload to come (`Upload-Concat: partial`)."),
            "task_id": nullable(UUID, "The task that it becomes, unknown until then; `null` of a part."),
            "passthrough": nullable(text()),
            "created_at": moment(),
            "completed_at": nullable(moment()),
            "expires_at": nullable(moment("When it is removed unless bytes come; of open uploads only.")),
            "owner": _OWNER,
        },
        optional=("owner",),
    ),
)
_UPLOAD_EXAMPLE = {
    "id": TASK_EXAMPLE,
    "url": f"https://video.example/files/{TASK_EXAMPLE}~k3x9dLh2v0Yw8mQ1nB5tRc7sEw",
    "filename": "holiday.mp4",
    "size": 353519,
    "offset": 131072,
    "status": "open",
    "protocol": "tus",
    "partial": False,
    "task_id": TASK_EXAMPLE,
    "passthrough": "order-4711",
    "created_at": "2026-11-22T11:23:18Z",
    "completed_at": None,
    "expires_at": "2026-11-29T11:24:02Z",
}
_TASKS = Operation(
    id="listTasks",
    tag=Tag.TASKS,
    summary="List tasks",
    description="The newest first, as the status has them but without `steps`. Deleted tasks are listed only with "
    f"`removed=1` or `status=removed`. A search by `name` examines at most {MOST_EXAMINED:,} tasks a request, so a "
    "page may be short, and even empty, and still have a `next`.",
    scope="read",
    parameters=(
        _status(TaskStatus, "In one of these states."),
        query("name", "Part of a file's name or of the title; case does not matter.", text(maxLength=NAME_CHARACTERS)),
        query("removed", "`1`: deleted tasks, too.", one_of(("0", "1", "false", "true"))),
        query(
            "sort",
            f"Everything but `created` with `desc` sorts the newest {MOST_SORTED:,} tasks for each page.",
            one_of(Sort) | {"default": Sort.CREATED.value},
        ),
        query("order", "The largest first, or the smallest.", one_of(Order) | {"default": Order.DESC.value}),
        *_COMMON,
    ),
    answers=(_page("tasks", _TASK, _task_example(), truncated=True),),
    errors=_ERRORS,
)
_UPLOADS = Operation(
    id="listUploads",
    tag=Tag.TASKS,
    summary="List uploads",
    description="The newest first: open, complete and rejected ones; expired and terminated ones only by `status`.",
    scope="read",
    parameters=(_status(UploadStatus, "In one of these states."), *_COMMON),
    answers=(_page("uploads", _UPLOAD, _UPLOAD_EXAMPLE),),
    errors=_ERRORS,
)

TASKS: Operations = {"GET": _TASKS, "HEAD": _TASKS.as_head("listTasksHead")}
UPLOADS: Operations = {"GET": _UPLOADS, "HEAD": _UPLOADS.as_head("listUploadsHead")}
