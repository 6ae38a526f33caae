"""The operations of tasks."""

from server.errors import TaskEndedError, TaskNotFoundError
from server.web.openapi.operation import JSON, Answer, Operation, Operations, Tag, Who
from server.web.openapi.schemas import DONE, NO_STORE, TASK_ID, TASK_STATUS, task_example

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
    "request is a success, too.",
    scope="manage",
    parameters=(TASK_ID,),
    answers=(
        Answer(
            status=200,
            description="It is deleted.",
            content={JSON: DONE},
            headers=(NO_STORE,),
            example={"success": True, "message": "任务已删除"},
        ),
    ),
    errors=(TaskNotFoundError,),
)

STATUS: Operations = {"GET": _STATUS, "HEAD": _STATUS.as_head("taskStatusHead")}
CANCEL: Operations = {"POST": _CANCEL}
TASK: Operations = {"DELETE": _REMOVE}
