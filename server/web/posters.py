"""`/api/task/<id>/poster`: its owner chooses the poster of a video, by a time or by a picture.

Rule: one poster at a time is made in a process, since each takes a processor and memory; a few requests wait, and more
are refused.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from starlette.responses import Response

from server import threads
from server.auth.principal import Scope
from server.bootstrap import Services
from server.errors import (
    BodyTimeoutError,
    BodyTooLargeError,
    ContentTypeUnsupportedError,
    FieldInvalidError,
    MethodNotAllowedError,
    NotFoundError,
    TooBusyError,
)
from server.tasks import status, status_rows
from server.tasks.posters import Posters
from server.transport.body import End
from server.tus.headers import is_id
from server.uploads.service import ClientGoneError
from server.web.access import Access, Right
from server.web.described import DescribedRoute
from server.web.endpoint import Call, endpoint
from server.web.errors import api_response, language
from server.web.json_body import read_object
from server.web.middleware.cors import for_api
from server.web.middleware.proxy import base_url
from server.web.openapi.posters import MOST_BYTES, PICTURES, POSTER
from server.web.query import Query
from server.web.status_texts import StatusTexts

PATH = "/api/task/{task_id}/poster"
_JSON = "application/json"
_FIELD = "seconds"
_MOST_WAITING = 4
_MOST_SECONDS = 1e9
_NO_STORE = {"Cache-Control": "no-store"}

_Change = Callable[[str, str | None, str | None], None]


def routes(services: Services) -> list[DescribedRoute]:
    """The one route; before those of tasks, one of which has every address below `/api/task/`."""
    cors = for_api(services.settings, *POSTER)
    served = endpoint(_PosterRoute(services).answer, api_response, route=PATH, intake=services.intake, cors=cors)
    return [DescribedRoute(PATH, served, POSTER, preflight=True)]


class _PosterRoute:
    def __init__(self, services: Services) -> None:
        self._access = Access(services)
        self._texts = StatusTexts(services, self._access)
        self._cache = services.events.cache
        self._database = services.database
        self._posters = Posters(
            settings=services.settings,
            database=services.database,
            store=services.store,
            results=services.results,
            clock=services.clock,
        )
        self._pool = ThreadPoolExecutor(1, "poster")
        self._at_work = 0

    async def answer(self, call: Call) -> Response:
        method = call.head.method
        if method not in ("PUT", "DELETE"):
            raise MethodNotAllowedError(method=method, allowed="PUT, DELETE, OPTIONS")
        task_id = str(call.request.path_params["task_id"])
        right = await self._access.task(call.scope, task_id, Scope.MANAGE, by_url=False, by_grant=False)
        file_id = _file_id(call)
        change = self._posters.choose_again if method == "DELETE" else await self._chosen(call)
        await self._run(partial(change, right.id, right.owner, file_id))
        await self._cache.forget(right.id)
        return await self._told(call, right)

    async def _chosen(self, call: Call) -> _Change:
        """What the body asks for."""
        kind = call.head.content_type
        if kind in PICTURES:
            data = await _read(call)
            return lambda task_id, owner, file_id: self._posters.take_picture(task_id, owner, file_id, data)
        if kind != _JSON:
            raise ContentTypeUnsupportedError(expected=", ".join((_JSON, *PICTURES)))
        at = _seconds(await read_object(call))
        return lambda task_id, owner, file_id: self._posters.take_frame(task_id, owner, file_id, at)

    async def _run(self, work: Callable[[], None]) -> None:
        if self._at_work > _MOST_WAITING:
            raise TooBusyError
        self._at_work += 1
        try:
            await threads.run(work, pool=self._pool)
        finally:
            self._at_work -= 1

    async def _told(self, call: Call, right: Right) -> Response:
        def look() -> status_rows.TaskRows:
            with self._database.read() as session:
                return status.find(session, right.id, right.owner)

        found = await self._database.run(look)
        await self._access.audit(call.scope, "poster_changed", right, "task", found.task.owner)
        text = await self._texts.status(found, {}, base_url(call.scope), language(call.scope, "zh"))
        return Response(text, headers=_NO_STORE, media_type=_JSON)


def _file_id(call: Call) -> str | None:
    given = Query(call.request).one("file")
    if given is None:
        return None
    if not is_id(given.lower()):
        raise NotFoundError
    return given.lower()


def _seconds(body: dict[str, Any]) -> float:
    for name in body:
        if name != _FIELD:
            raise FieldInvalidError(field=name[:64], reason="field_unknown")
    value = body.get(_FIELD)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < _MOST_SECONDS:
        raise FieldInvalidError(field=_FIELD, reason="field_type", expected="0, 12.5, …")
    return float(value)


async def _read(call: Call) -> bytes:
    """The picture in the body. Raises `BodyTooLargeError`, `BodyTimeoutError`, `ClientGoneError`."""
    length = call.head.get("Content-Length") or ""
    if length.isdigit() and int(length) > MOST_BYTES:
        raise BodyTooLargeError(room=MOST_BYTES)
    buffer = bytearray(MOST_BYTES + 1)
    moved = await call.body.read_into(memoryview(buffer))
    if moved.end is End.LIMIT:
        raise BodyTooLargeError(room=MOST_BYTES)
    if moved.end is End.IDLE:
        raise BodyTimeoutError
    if moved.end is not End.COMPLETE:
        raise ClientGoneError
    return bytes(memoryview(buffer)[: moved.count])
