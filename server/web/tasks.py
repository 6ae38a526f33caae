"""GET /api/task/status/<id> and POST /api/task/cancel/<id>, as documented, and DELETE /api/task/<id>.

Rule: a failed task is still a successful response: `success` is about the request, `status` about the task. What a
status has is in `tasks/status.py`.
"""

from functools import partial

from sqlalchemy import select
from starlette.responses import JSONResponse, Response

from server.auth.principal import Scope
from server.bootstrap import Services
from server.database.models import Task
from server.errors import MethodNotAllowedError
from server.messages import sentence
from server.tasks import status as task_status
from server.web.access import Access, Right
from server.web.described import DescribedRoute
from server.web.endpoint import Call, endpoint
from server.web.errors import api_response, language
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
        found = await self._database.run(partial(self._find, right))
        task, files = found.task, found.files
        places = task_status.Places(
            base_url(call.scope),
            await self._access.signature_of_results(task.id),
            {file.id: await self._access.original(file.upload_id) for file in files} if self._shows_originals else {},
        )
        if right.principal is not None and task.owner != right.principal.owner:
            await self._access.audit(call.scope, "foreign_task_read", right, "task", task.owner)
        content = task_status.as_json(found, places, language(call.scope, "zh"))
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

    def _find(self, right: Right) -> task_status.TaskRows:
        with self._database.read() as session:
            return task_status.find(session, right.id, right.owner)
