"""The operations of tasks."""

from server.errors import (
    FieldInvalidError,
    QuotaReachedError,
    TaskEndedError,
    TaskGoneError,
    TaskNotEndedError,
    TaskNotFoundError,
    TaskNotRetriedError,
    TaskRunningError,
)
from server.tasks.changes import TITLE_CHARACTERS
from server.tus.passthrough import MOST_BYTES
from server.web.openapi.operation import (
    JSON,
    Answer,
    Body,
    Operation,
    Operations,
    Tag,
    Who,
    array,
    nullable,
    one_of,
    query,
    record,
    text,
)
from server.web.openapi.schemas import DONE, DONE_FLAG, JSON_BODY, NO_STORE, TASK_ID, TASK_STATUS, task_example

_STATUS = Operation(
    id="taskStatus",
    tag=Tag.TASKS,
    summary="Ask for the status",
    description="A failed task is a successful answer: `success` is about the request, `status` about the task. A file "
    "is `playable` before its task is `completed`.",
    scope="read",
    who=Who.URL,
    parameters=(TASK_ID,),
    answers=(
        Answer(
            status=200,
            description="The task with its files.",
            content={JSON: TASK_STATUS},
            headers=(NO_STORE,),
            example=task_example(),
        ),
    ),
    errors=(TaskNotFoundError,),
)
_CANCEL = Operation(
    id="cancelTask",
    tag=Tag.TASKS,
    summary="Cancel a task",
    description="From then on its status is `cancelled`; a running step stops within two seconds. A repeated request "
    "is a success, too.",
    scope="manage",
    who=Who.URL,
    parameters=(TASK_ID,),
    answers=(
        Answer(
            status=200,
            description="It is cancelled.",
            content={JSON: DONE},
            headers=(NO_STORE,),
            example={"success": True, "message": "任务已取消"},
        ),
    ),
    errors=(TaskNotFoundError, TaskEndedError),
)
_REMOVE = Operation(
    id="deleteTask",
    tag=Tag.TASKS,
    summary="Delete a task",
    description="With its originals and everything made from them. Its status stays, with `removed: true`. A repeated "
    "request is a success, too. A task that is being processed is deleted with `cancel=1` only.",
    scope="manage",
    parameters=(TASK_ID, query("cancel", "`1`: also while it is processed.", one_of(("0", "1", "false", "true")), "1")),
    answers=(
        Answer(
            status=200,
            description="It is deleted.",
            content={JSON: DONE},
            headers=(NO_STORE,),
            example={"success": True, "message": "任务已删除"},
        ),
    ),
    errors=(FieldInvalidError, TaskNotFoundError, TaskRunningError),
)
_RETRY = Operation(
    id="retryTask",
    tag=Tag.TASKS,
    summary="Retry a task",
    description="What failed in an ended task waits again. Files that are completed stay as they are; of a cancelled "
    "task, all files are processed again. A file whose original is gone stays failed.",
    scope="manage",
    parameters=(TASK_ID,),
    answers=(
        Answer(
            status=200,
            description="It waits for processing.",
            content={
                JSON: record(
                    {
                        "success": DONE_FLAG,
                        "message": text("What happened, in the reader's language."),
                        "retried_files": array(text(), "Names of the files that are processed again."),
                        "failed_files": array(text(), "Names of those that stay failed: their originals are gone."),
                    }
                )
            },
            headers=(NO_STORE,),
            example={
                "success": True,
                "message": "任务将重新处理",
                "retried_files": ["holiday.mp4"],
                "failed_files": [],
            },
        ),
    ),
    errors=(TaskNotFoundError, TaskNotEndedError, TaskNotRetriedError, TaskGoneError, QuotaReachedError),
)
_CHANGE = Operation(
    id="changeTask",
    tag=Tag.TASKS,
    summary="Change title and passthrough",
    description="What the body lacks stays as it is, `null` clears. Controls are dropped from a title.",
    scope="manage",
    parameters=(TASK_ID,),
    body=Body(
        media_type=JSON,
        schema=record(
            {
                "title": nullable(text(maxLength=TITLE_CHARACTERS), "What its owner calls it."),
                "passthrough": nullable(text(maxLength=MOST_BYTES), "At most 1 KiB of UTF-8 without NUL."),
            },
            optional=("title", "passthrough"),
        ),
        example={"title": "Holiday 2026", "passthrough": "order-4711"},
    ),
    answers=(
        Answer(
            status=200,
            description="The task as it is now.",
            content={JSON: TASK_STATUS},
            headers=(NO_STORE,),
            example={**task_example(), "title": "Holiday 2026"},
        ),
    ),
    errors=(*JSON_BODY, TaskNotFoundError, TaskGoneError),
)

STATUS: Operations = {"GET": _STATUS, "HEAD": _STATUS.as_head("taskStatusHead")}
CANCEL: Operations = {"POST": _CANCEL}
RETRY: Operations = {"POST": _RETRY}
TASK: Operations = {"DELETE": _REMOVE, "PATCH": _CHANGE}
