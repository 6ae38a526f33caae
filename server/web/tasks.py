"""GET /api/task/status/<id> and POST /api/task/cancel/<id>, as documented, and DELETE /api/task/<id>.

Rule: the status values, keys and Chinese sentences are a contract with clients that cannot be changed. A failed task
is still a successful response: `success` is about the request, `status` about the task. A removed task is `cancelled`
for clients that know only the documented values, and has `removed: true` for all others.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial

from sqlalchemy import select
from starlette.responses import JSONResponse, Response

from server.auth.principal import Scope
from server.bootstrap import Services
from server.database.models import Task, TaskFile, TaskStep
from server.errors import MethodNotAllowedError, Param
from server.lifecycle import FileStatus, TaskStatus
from server.messages import Language, sentence
from server.tasks import file_steps, queue
from server.uploads import groups
from server.web.access import Access, Right
from server.web.described import DescribedRoute
from server.web.endpoint import Call, endpoint
from server.web.errors import api_response, language
from server.web.media import Places, is_shown, urls
from server.web.middleware.cors import for_api
from server.web.middleware.proxy import base_url
from server.web.openapi import tasks as described

_NO_STORE = {"Cache-Control": "no-store"}


def routes(services: Services) -> list[DescribedRoute]:
    """Status, cancel and removal."""
    tasks = _Tasks(services)
    made = []
    for path, handle, operations in (
        ("/api/task/status/{task_id}", tasks.status, described.STATUS),
        ("/api/task/cancel/{task_id}", tasks.cancel, described.CANCEL),
        ("/api/task/{task_id}", tasks.remove, described.TASK),  # last: it would match the others too
    ):
        cors = for_api(services.settings, *operations)
        served = endpoint(handle, api_response, route=path, intake=services.intake, cors=cors)
        # An id with a slash in it is an unknown id, not an unknown address.
        made.append(DescribedRoute(path.replace("}", ":path}"), served, operations, preflight=True))
    return made


class _Tasks:
    def __init__(self, services: Services) -> None:
        self._access = Access(services)
        # Without authentication the URL of the upload is that of the original.
        self._shows_originals = services.settings.downloads == "on" and services.settings.auth == "on"
        self._database = services.database
        self._deletion = services.deletion
        self._removal = services.removal

    async def status(self, call: Call) -> Response:
        right = await self._right(call, Scope.READ, "GET", "HEAD")
        task, files, steps, arrived = await self._database.run(partial(self._find, right))
        places = Places(
            base_url(call.scope),
            await self._access.signature_of_results(task.id),
            {file.id: await self._access.original(file.upload_id) for file in files} if self._shows_originals else {},
        )
        if right.principal is not None and task.owner != right.principal.owner:
            await self._access.audit(call.scope, "foreign_task_read", right, "task", task.owner)
        content = _status(task, files, steps, arrived, places, language(call.scope, "zh"))
        return JSONResponse(content, headers=_NO_STORE)

    async def cancel(self, call: Call) -> Response:
        right = await self._right(call, Scope.MANAGE, "POST")
        await self._database.run(self._deletion.cancel, right.id, right.owner)
        await self._access.audit(call.scope, "task_cancelled", right, "task", await self._owner(right))
        message = sentence("task_cancelled", {}, language(call.scope, "zh"))
        return JSONResponse({"success": True, "message": message}, headers=_NO_STORE)

    async def remove(self, call: Call) -> Response:
        # The URL of an upload ends that upload, not a task with all its files.
        right = await self._right(call, Scope.MANAGE, "DELETE", by_url=False)
        await self._database.run(self._removal.remove_task, right.id, right.owner)
        await self._access.audit(call.scope, "task_removed", right, "task", await self._owner(right))
        message = sentence("task_removed", {}, language(call.scope, "zh"))
        return JSONResponse({"success": True, "message": message}, headers=_NO_STORE)

    async def _owner(self, right: Right) -> str | None:
        """Whose task it is, where the right does not come from owning it."""
        if right.owner is not None:
            return right.owner

        def look() -> str | None:
            with self._database.look() as connection:
                return connection.scalar(select(Task.owner).where(Task.id == right.id))

        return await self._database.run(look)

    async def _right(self, call: Call, needed: Scope, *methods: str, by_url: bool = True) -> Right:
        if call.head.method not in methods:
            raise MethodNotAllowedError(method=call.head.method, allowed=", ".join([*methods, "OPTIONS"]))
        return await self._access.task(call.scope, str(call.request.path_params["task_id"]), needed, by_url=by_url)

    def _find(self, right: Right) -> tuple[Task, Sequence[TaskFile], Mapping[str, Sequence[TaskStep]], int]:
        with self._database.read() as session:
            task, found = queue.find(session, right.id, right.owner)
            steps = file_steps.steps_of_task(session, right.id)
            arrived = groups.count_completed(session, right.id) if task.gather_until else len(found)
            session.expunge_all()
            return task, found, steps, arrived


def _status(
    task: Task,
    ones: Sequence[TaskFile],
    steps: Mapping[str, Sequence[TaskStep]],
    arrived: int,
    places: Places,
    reader: Language,
) -> dict[str, object]:
    created_at = _documented(task.created_at)
    is_removed = task.status is TaskStatus.REMOVED
    return {
        "success": True,
        "task_id": task.id,
        "status": TaskStatus.CANCELLED.value if is_removed else task.status.value,
        "removed": is_removed,
        "message": _message(task, arrived, reader),
        "progress": task.progress,
        "partial": task.partial,
        "playable": task.playable and all(is_shown(file, steps.get(file.id, ())) for file in ones if file.playable),
        "step": task.step,
        "eta_seconds": task.eta_seconds,
        "waiting": _error(task.waiting_code, task.waiting_params, reader),
        "files": [_file(file, steps.get(file.id, ()), places, reader) for file in ones],
        "created_at": created_at,
        "created_at_utc": created_at + "Z",
    }


def _message(task: Task, arrived: int, reader: Language) -> str:
    match task.status:
        case TaskStatus.UPLOADED if task.gather_until:
            return sentence("task_gathering", {"arrived": arrived, "files": task.file_count}, reader)
        case TaskStatus.PROCESSING if task.waiting_code:
            reason = sentence(task.waiting_code, task.waiting_params or {}, reader)
            return sentence("task_waiting", {"reason": reason}, reader)
        case TaskStatus.PROCESSING:
            current = max(1, task.current_file)
            return sentence("task_processing", {"current": current, "total": task.file_count}, reader)
        case TaskStatus.ERROR:
            reason = sentence(task.error_code or "not_found", task.error_params or {}, reader)
            return sentence("task_error", {"reason": reason}, reader)
        case other:
            return sentence(f"task_{other.value}", {}, reader)


def _file(file: TaskFile, steps: Sequence[TaskStep], places: Places, reader: Language) -> dict[str, object]:
    shown = is_shown(file, steps)
    # An earlier failure of a removed task is for reports only.
    why = ("file_removed", None) if file.status is FileStatus.REMOVED else (file.error_code, file.error_params)
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
        "audio_tracks": file.audio_tracks,
        "hdr": file.hdr,
        "variable_frame_rate": file.variable_frame_rate,
        "scan": file.scan,
        "playable": shown and file.playable,
        **urls(places, file, shown=shown),
        "steps": [
            {
                "name": step.name,
                "status": step.status.value,
                "progress": step.progress,
                "error": _error(step.error_code, step.error_params, reader),
            }
            for step in steps
        ],
        "remarks": [{"code": code, "message": sentence(code, {}, reader)} for code in file.remarks],
        "error": _error(*why, reader),
    }


def _error(code: str | None, params: Mapping[str, Param] | None, reader: Language) -> dict[str, str] | None:
    return {"code": code, "message": sentence(code, params or {}, reader)} if code else None


def _documented(moment: datetime) -> str:
    """UTC to the second, without a zone, as the document has it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S")
