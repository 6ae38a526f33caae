"""GET /api/task/status/<id> and POST /api/task/cancel/<id>, as documented, and DELETE /api/task/<id>.

Rule: a failed task is still a successful response: `success` is about the request, `status` about the task. What a
status has is in `tasks/status.py`.
"""

from sqlalchemy import select
from starlette.responses import JSONResponse, Response

from server.auth.principal import Scope
from server.bootstrap import Services
from server.database.models import Task
from server.errors import MethodNotAllowedError, TaskNotFoundError
from server.messages import sentence
from server.tasks import status_rows
from server.web.access import Access, Right
from server.web.described import DescribedRoute
from server.web.endpoint import Call, endpoint
from server.web.errors import api_response, language
from server.web.middleware.cors import for_api
from server.web.middleware.proxy import base_url
from server.web.openapi import tasks as described
from server.web.status_texts import StatusTexts

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
        self._texts = StatusTexts(services, self._access)
        self._cache = services.events.cache
        self._database = services.database
        self._deletion = services.deletion
        self._removal = services.removal

    async def status(self, call: Call) -> Response:
        right = await self._right(call, Scope.READ, "GET", "HEAD")
        state = await self._cache.find(right.id)
        if state is None:
            raise TaskNotFoundError
        task = status_rows.check(state.rows, right.owner).task
        if right.principal is not None and task.owner != right.principal.owner:
            await self._access.audit(call.scope, "foreign_task_read", right, "task", task.owner)
        text = await self._texts.status(state.rows, state.texts, base_url(call.scope), language(call.scope, "zh"))
        return Response(text, headers=_NO_STORE, media_type="application/json")

    async def cancel(self, call: Call) -> Response:
        right = await self._right(call, Scope.MANAGE, "POST")
        await self._database.run(self._deletion.cancel, right.id, right.owner)
        await self._cache.forget(right.id)
        await self._access.audit(call.scope, "task_cancelled", right, "task", await self._owner(right))
        message = sentence("task_cancelled", {}, language(call.scope, "zh"))
        return JSONResponse({"success": True, "message": message}, headers=_NO_STORE)

    async def remove(self, call: Call) -> Response:
        # The URL of an upload ends that upload, not a task with all its files.
        right = await self._right(call, Scope.MANAGE, "DELETE", by_url=False)
        await self._database.run(self._removal.remove_task, right.id, right.owner)
        await self._cache.forget(right.id)
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
