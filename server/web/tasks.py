"""What is asked of one task: its status; and to cancel, retry, change or delete it.

Rule: a failed task is still a successful response: `success` is about the request, `status` about the task. What a
status has is in `tasks/status.py`.
"""

from functools import partial

from sqlalchemy import select
from starlette.responses import JSONResponse, Response

from server.auth.principal import Scope
from server.bootstrap import Services
from server.database.models import Task
from server.errors import FieldInvalidError, MethodNotAllowedError, TaskNotFoundError
from server.filenames import without_controls
from server.messages import sentence
from server.tasks import changes, status, status_rows
from server.tasks.retry import Retried
from server.tasks.retry import retry as move_again
from server.tus import passthrough
from server.web.access import Access, Right
from server.web.described import DescribedRoute
from server.web.endpoint import Call, endpoint
from server.web.errors import api_response, language
from server.web.json_body import read_object
from server.web.middleware.cors import for_api
from server.web.middleware.proxy import base_url
from server.web.openapi import tasks as described
from server.web.query import Query
from server.web.status_texts import StatusTexts, Texts

_NO_STORE = {"Cache-Control": "no-store"}
_TITLE = "title"


def routes(services: Services) -> list[DescribedRoute]:
    """The routes of one task."""
    tasks = _Tasks(services)
    made = []
    for path, handle, operations in (
        ("/api/task/status/{task_id}", tasks.status, described.STATUS),
        ("/api/task/cancel/{task_id}", tasks.cancel, described.CANCEL),
        ("/api/task/retry/{task_id}", tasks.retry, described.RETRY),
        ("/api/task/{task_id}", tasks.change_or_remove, described.TASK),  # last: it would match the others too
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
        self._clock = services.clock
        self._database = services.database
        self._deletion = services.deletion
        self._node = services.node
        self._quotas = services.quotas
        self._removal = services.removal
        self._store = services.store
        self._wake = services.wake

    async def status(self, call: Call) -> Response:
        right = await self._right(call, Scope.READ, "GET", "HEAD")
        state = await self._cache.find(right.id)
        if state is None:
            raise TaskNotFoundError
        task = status_rows.check(state.rows, right.owner).task
        if right.principal is not None and task.owner != right.principal.owner:
            await self._access.audit(call.scope, "foreign_task_read", right, "task", task.owner)
        return await self._told(call, state.rows, state.texts)

    async def cancel(self, call: Call) -> Response:
        right = await self._right(call, Scope.MANAGE, "POST")
        await self._database.run(self._deletion.cancel, right.id, right.owner)
        await self._cache.forget(right.id)
        await self._access.audit(call.scope, "task_cancelled", right, "task", await self._owner(right))
        return _done(call, "task_cancelled")

    async def retry(self, call: Call) -> Response:
        # Processing costs much more than the URL of an upload is good for.
        right = await self._right(call, Scope.MANAGE, "POST", by_url=False, by_grant=False)
        done = await self._database.run(self._retry, right)
        await self._cache.forget(right.id)
        self._wake.notify()
        await self._access.audit(call.scope, "task_retried", right, "task", await self._owner(right))
        return _done(call, "task_retried", retried_files=list(done.waiting), failed_files=list(done.left))

    def _retry(self, right: Right) -> Retried:
        def has_bytes(upload_id: str) -> bool:
            return self._store.size(upload_id) is not None

        now = self._clock()
        with self._database.write() as session:
            done = move_again(session, right.id, right.owner, node=self._node, has_bytes=has_bytes, now=now)
            if right.owner is not None:
                self._quotas.admit_retry(session.connection(), right.owner, now)
        return done

    async def change_or_remove(self, call: Call) -> Response:
        if call.head.method == "PATCH":
            return await self._change(call)
        # The URL of an upload ends that upload, not a task with all its files.
        right = await self._right(call, Scope.MANAGE, "DELETE", "PATCH", by_url=False)
        even_running = Query(call.request).flag("cancel")
        await self._database.run(partial(self._removal.remove_task, even_running=even_running), right.id, right.owner)
        await self._cache.forget(right.id)
        await self._access.audit(call.scope, "task_removed", right, "task", await self._owner(right))
        return _done(call, "task_removed")

    async def _change(self, call: Call) -> Response:
        # What a grant passes through is its backend's to choose, not its client's.
        right = await self._right(call, Scope.MANAGE, "PATCH", by_url=False, by_grant=False)
        values = _values(await read_object(call))

        def change() -> status_rows.TaskRows:
            with self._database.write() as session:
                changes.change(session, right.id, right.owner, values, now=self._clock())
                return status.find(session, right.id, right.owner)

        found = await self._database.run(change)
        await self._cache.forget(right.id)
        if values:
            await self._access.audit(call.scope, "task_changed", right, "task", found.task.owner)
        return await self._told(call, found, {})

    async def _told(self, call: Call, found: status_rows.TaskRows, texts: Texts) -> Response:
        text = await self._texts.status(found, texts, base_url(call.scope), language(call.scope, "zh"))
        return Response(text, headers=_NO_STORE, media_type="application/json")

    async def _owner(self, right: Right) -> str | None:
        """Whose task it is, where the right does not come from owning it."""
        if right.owner is not None:
            return right.owner

        def look() -> str | None:
            with self._database.look() as connection:
                return connection.scalar(select(Task.owner).where(Task.id == right.id))

        return await self._database.run(look)

    async def _right(
        self, call: Call, needed: Scope, *methods: str, by_url: bool = True, by_grant: bool = True
    ) -> Right:
        if call.head.method not in methods:
            raise MethodNotAllowedError(method=call.head.method, allowed=", ".join([*methods, "OPTIONS"]))
        task_id = str(call.request.path_params["task_id"])
        return await self._access.task(call.scope, task_id, needed, by_url=by_url, by_grant=by_grant)


def _done(call: Call, code: str, **more: object) -> Response:
    message = sentence(code, {}, language(call.scope, "zh"))
    return JSONResponse({"success": True, "message": message, **more}, headers=_NO_STORE)


def _values(body: dict[str, object]) -> dict[str, str | None]:
    """The columns that a change sets. Raises `FieldInvalidError`."""
    values: dict[str, str | None] = {}
    for field, value in body.items():
        if field not in (_TITLE, passthrough.KEY):
            raise FieldInvalidError(field=without_controls(field[:64]), reason="field_unknown")
        if value is not None and not isinstance(value, str):
            raise FieldInvalidError(field=field, reason="field_type", expected='"text", null')
        if value is None:
            values[field] = None
        else:
            values[field] = passthrough.of_field(value) if field == passthrough.KEY else _title(value)
    return values


def _title(value: str) -> str | None:
    """A title without what would break a line, as names of files are shown; an empty one is none."""
    title = without_controls(value).strip()
    if len(title) > changes.TITLE_CHARACTERS:
        raise FieldInvalidError(field=_TITLE, reason="text_length", most=changes.TITLE_CHARACTERS)
    return title or None
