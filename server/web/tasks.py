"""GET /api/task/status/<id> and POST /api/task/cancel/<id>, as documented.

Rule: the words, keys and Chinese sentences are a contract with clients that cannot be changed. A task that failed
is a successful answer: `success` speaks of the request, `status` of the task.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import partial

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from server.database.models import DEFAULT_OWNER, Task, TaskFile
from server.errors import MethodNotAllowedError, TaskNotFoundError
from server.lifecycle import TaskStatus
from server.messages import Language, sentence
from server.services import Services
from server.tasks import queue
from server.tus.headers import is_id
from server.web.endpoint import Call, endpoint
from server.web.errors import api_response, language
from server.web.media import poster_url
from server.web.proxy import base_url

_NO_STORE = {"Cache-Control": "no-store"}


def routes(services: Services) -> list[Route]:
    """Status and cancel."""
    tasks = _Tasks(services)
    made = []
    for path, handle in (
        ("/api/task/status/{task_id}", tasks.status),
        ("/api/task/cancel/{task_id}", tasks.cancel),
    ):
        # An id with a slash in it is an unknown id, not an unknown address.
        made.append(
            Route(path.replace("}", ":path}"), endpoint(handle, api_response, route=path, intake=services.intake))
        )
    return made


class _Tasks:
    def __init__(self, services: Services) -> None:
        self._database = services.database
        self._clock = services.uploads.clock

    async def status(self, call: Call) -> Response:
        task_id = _checked(call, "GET", "HEAD")
        task, files = await self._database.run(partial(self._find, task_id))
        return JSONResponse(_status(task, files, base_url(call.scope), language(call.scope, "zh")), headers=_NO_STORE)

    async def cancel(self, call: Call) -> Response:
        task_id = _checked(call, "POST")
        await self._database.run(partial(self._cancel, task_id))
        message = sentence("task_cancelled", {}, language(call.scope, "zh"))
        return JSONResponse({"success": True, "message": message}, headers=_NO_STORE)

    def _find(self, task_id: str) -> tuple[Task, Sequence[TaskFile]]:
        with self._database.read() as session:
            found = queue.find(session, task_id, DEFAULT_OWNER)
            session.expunge_all()
            return found

    def _cancel(self, task_id: str) -> None:
        with self._database.write() as session:
            queue.cancel(session, task_id, DEFAULT_OWNER, now=self._clock())


def _checked(call: Call, *methods: str) -> str:
    if call.head.method not in methods:
        raise MethodNotAllowedError(method=call.head.method, allowed=", ".join(methods))
    task_id = str(call.request.path_params["task_id"])
    if not is_id(task_id):
        raise TaskNotFoundError
    return task_id


def _status(task: Task, files: Sequence[TaskFile], base: str, reader: Language) -> dict[str, object]:
    created_at = _documented(task.created_at)
    return {
        "success": True,
        "task_id": task.id,
        "status": task.status.value,
        "message": _message(task, reader),
        "progress": task.progress,
        "partial": task.partial,
        "files": [_file(file, base, reader) for file in files],
        "created_at": created_at,
        "created_at_utc": created_at + "Z",
    }


def _message(task: Task, reader: Language) -> str:
    match task.status:
        case TaskStatus.PROCESSING:
            current = max(1, task.current_file)
            return sentence("task_processing", {"current": current, "total": task.file_count}, reader)
        case TaskStatus.ERROR:
            reason = sentence(task.error_code or "not_found", task.error_params or {}, reader)
            return sentence("task_error", {"reason": reason}, reader)
        case other:
            return sentence(f"task_{other.value}", {}, reader)


def _file(file: TaskFile, base: str, reader: Language) -> dict[str, object]:
    error = None
    if file.error_code:
        message = sentence(file.error_code, file.error_params or {}, reader)
        error = {"code": file.error_code, "message": message}
    return {
        "id": file.id,
        "name": file.name,
        "size": file.size,
        "status": file.status.value,
        "progress": file.progress,
        "duration": file.duration,
        "width": file.width,
        "height": file.height,
        "frame_rate": file.frame_rate,
        "container": file.container,
        "video_codec": file.video_codec,
        "audio_codec": file.audio_codec,
        "poster_url": poster_url(base, file) if file.has_poster else None,
        "error": error,
    }


def _documented(moment: datetime) -> str:
    """UTC to the second, without a zone, as the document has it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S")
