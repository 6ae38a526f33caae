"""GET /media/<task>/<file>/poster.jpg: what was made of a video.

Rule: the row says whether there is a result, and the path is built from ids that were checked, never from what a
client wrote.
"""

import os
from email.utils import formatdate
from pathlib import Path

from sqlalchemy import select
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Scope

from server import threads
from server.database.models import DEFAULT_OWNER, Task, TaskFile
from server.errors import MethodNotAllowedError, NotFoundError, RangeUnsatisfiableError
from server.services import Services
from server.tus.headers import is_id
from server.web.endpoint import Call, endpoint
from server.web.errors import api_response, known
from server.web.files import FileAnswer, ranges

_POSTER = "poster.jpg"


def poster_url(base: str, file: TaskFile) -> str:
    """The absolute URL of a file's poster."""
    return f"{base}/media/{file.task_id}/{file.id}/{_POSTER}"


def routes(services: Services) -> list[Route]:
    """The one route."""
    path = "/media/{task_id}/{file_id}/{name}"
    return [Route(path, endpoint(_Media(services).result, api_response, route=path, intake=services.intake))]


def _refuse(error: OSError, scope: Scope) -> Response:
    return api_response(NotFoundError() if isinstance(error, FileNotFoundError) else known(error, scope), scope)


class _Media:
    def __init__(self, services: Services) -> None:
        self._settings = services.settings
        self._database = services.database
        self._results = services.results

    async def result(self, call: Call) -> Response:
        if call.head.method not in ("GET", "HEAD"):
            raise MethodNotAllowedError(method=call.head.method, allowed="GET, HEAD")
        task_id, file_id, name = (call.request.path_params[key] for key in ("task_id", "file_id", "name"))
        if not (is_id(task_id) and is_id(file_id)):
            raise NotFoundError
        path = await self._database.run(self._find, task_id, file_id, name)
        if path is None:
            raise NotFoundError
        try:
            stat = await threads.run(os.stat, path)
        except FileNotFoundError:
            raise NotFoundError from None
        headers = {
            "ETag": f'"{stat.st_ino:x}-{stat.st_size:x}-{stat.st_mtime_ns:x}"',
            "Last-Modified": formatdate(stat.st_mtime, usegmt=True),
            "Cache-Control": "private, max-age=3600",
            "X-Content-Type-Options": "nosniff",
        }
        found = ranges(call.head, stat.st_size, headers["ETag"], headers["Last-Modified"])
        if found is not None and not found:
            refusal = api_response(RangeUnsatisfiableError(size=stat.st_size), call.scope)
            refusal.headers["Content-Range"] = f"bytes */{stat.st_size}"
            return refusal
        return FileAnswer(path, stat, "image/jpeg", headers, found, _refuse, self._settings)

    def _find(self, task_id: str, file_id: str, name: str) -> Path | None:
        with self._database.read() as session:
            has_poster = session.scalar(
                select(TaskFile.has_poster)
                .join(Task)
                .where(Task.id == task_id, Task.owner == DEFAULT_OWNER, TaskFile.id == file_id)
            )
        return self._results.find(task_id, file_id, name) if has_poster else None
