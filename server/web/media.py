"""GET /media/<task>/<file>/<name>: the results of a video; GET /media/s/<token>/<number>/<name>: those of a shared one.

Rule: the row decides whether there is a result, and the path is built from ids that were checked, never from the
client's text.
"""

from dataclasses import dataclass
from email.utils import format_datetime
from pathlib import Path

from sqlalchemy import ColumnElement, and_, false, func, select
from starlette.responses import Response
from starlette.types import Scope

from server.bootstrap import Services
from server.database.models import Task, TaskFile, TaskStep
from server.errors import MethodNotAllowedError, NotFoundError, RangeUnsatisfiableError, VideodockError
from server.storage.result_store import MEDIA_TYPES
from server.storage.stored_file import StoredFile
from server.tasks.file_steps import INFECTED, SCAN
from server.tasks.status import HIDDEN, RESULT_URLS, UNENDED
from server.tus.headers import is_id
from server.web.access import Access
from server.web.described import DescribedRoute
from server.web.downloads import disposition, download_name, is_unchanged
from server.web.endpoint import Call, endpoint
from server.web.errors import api_response, known
from server.web.file_response import ranges
from server.web.middleware.cors import CrossOrigin
from server.web.openapi.server import RESULT, SHARED_RESULT, SIGNED_RESULT
from server.web.query import Query
from server.web.shared_video import MEDIA
from server.web.stored_response import respond

# Request and response headers of players on pages of other origins.
_ALLOW_HEADERS = "Authorization, Range, If-Range, If-None-Match, If-Modified-Since, X-Request-ID, X-Requested-With"
_EXPOSE_HEADERS = "Content-Length, Content-Range, Accept-Ranges, ETag, Last-Modified, X-Request-ID"
_METHODS = "GET, HEAD, OPTIONS"
_SHARED_SECONDS = 60
_CACHE_SECONDS = 3600  # for which a browser may show a result without asking again


@dataclass(frozen=True)
class _Found:
    """A result, and its name as a download."""

    file: StoredFile
    media_type: str
    download_name: str


def _may_be_seen() -> ColumnElement[bool]:
    """`is_shown` in SQL."""
    scans = select(TaskStep.name).where(TaskStep.file_id == TaskFile.id, TaskStep.name == SCAN)
    return and_(
        ~scans.where(TaskStep.status.in_(UNENDED)).exists(),
        func.coalesce(TaskFile.scan, "") != INFECTED,
        TaskFile.status.not_in(HIDDEN),
    )


def _shown_by(name: str) -> ColumnElement[bool]:
    """The condition under which a result of this name may be shown."""
    folder, _, rest = name.partition("/")
    main = f"{folder}/index.m3u8" if rest else f"{Path(name).stem}.vtt" if name == "storyboard.jpg" else name
    return next((column.is_(True) for column, found in RESULT_URLS.values() if found == main), false())


def routes(services: Services) -> list[DescribedRoute]:
    """The one route: with the token of a share in its path, with a signature, and without."""
    media = _MediaRoutes(services)
    made = []
    for path, operations in (
        # First: `s` would be a task otherwise.
        (f"{MEDIA}/{{token}}/{{number}}/{{name:path}}", SHARED_RESULT),
        ("/media/~{signature}/{task_id}/{file_id}/{name:path}", SIGNED_RESULT),
        ("/media/{task_id}/{file_id}/{name:path}", RESULT),
    ):
        served = endpoint(media.answer, media.refuse, route=path, intake=services.intake)
        made.append(DescribedRoute(path, served, operations, preflight=True))
    return made


class _MediaRoutes:
    def __init__(self, services: Services) -> None:
        self._access = Access(services)
        self._settings = services.settings
        self._database = services.database
        self._results = services.results
        self._shares = services.auth.shares
        self._cors = CrossOrigin(services.settings, methods=_METHODS, allow=_ALLOW_HEADERS, expose=_EXPOSE_HEADERS)

    async def answer(self, call: Call) -> Response:
        """Answer a request for a result."""
        if call.head.method == "OPTIONS":
            return self._dressed(Response(status_code=204, headers=self._cors.preflight(call.scope)), call.scope)
        if call.head.method not in ("GET", "HEAD"):
            raise MethodNotAllowedError(method=call.head.method, allowed=_METHODS)
        return self._dressed(await self._result(call), call.scope)

    def refuse(self, error: VideodockError, scope: Scope) -> Response:
        """A refusal that every page may read that may read results."""
        return self._dressed(api_response(error, scope), scope)

    def _dressed(self, response: Response, scope: Scope) -> Response:
        self._cors.dress(response, scope)
        return response

    def _refuse_open(self, error: Exception, scope: Scope) -> Response:
        return self.refuse(NotFoundError() if isinstance(error, FileNotFoundError) else known(error, scope), scope)

    async def _result(self, call: Call) -> Response:
        download = Query(call.request).flag("download")
        found, seconds = await (self._shared if "token" in call.request.path_params else self._own)(call)
        if found is None:
            raise NotFoundError
        file = found.file
        headers = {
            "ETag": file.tag,
            "Last-Modified": format_datetime(file.modified, usegmt=True),
            "Cache-Control": f"private, max-age={_CACHE_SECONDS if seconds is None else min(seconds, _CACHE_SECONDS)}",
            "X-Content-Type-Options": "nosniff",
        }
        if download:
            headers["Content-Disposition"] = disposition(found.download_name)
        if is_unchanged(call.head, file.tag, file.modified):
            return Response(status_code=304, headers=headers)
        parts = ranges(call.head, file.size, file.tag, headers["Last-Modified"])
        if parts is not None and not parts:
            refusal = api_response(RangeUnsatisfiableError(size=file.size), call.scope)
            refusal.headers["Content-Range"] = f"bytes */{file.size}"
            return refusal
        right, method = None if "token" in call.request.path_params else seconds, call.head.method
        return await respond(
            file,
            found.media_type,
            headers,
            parts,
            self._refuse_open,
            self._settings,
            method=method,
            seconds=right,
        )

    async def _own(self, call: Call) -> tuple[_Found | None, int | None]:
        """A result by the ids in its path, and for how many seconds its URL is valid; None for ever."""
        task_id, file_id, name = (call.request.path_params[key] for key in ("task_id", "file_id", "name"))
        if not (is_id(task_id) and is_id(file_id)):
            raise NotFoundError
        signature = call.request.path_params.get("signature")
        owner, seconds = await self._access.results(call.scope, task_id, signature)
        of = TaskFile.id == file_id
        return await self._database.run(self._find, task_id, of, name, owner), seconds

    async def _shared(self, call: Call) -> tuple[_Found | None, int]:
        """The same by the token of a share. Raises as `Shares.find`."""
        token, number, name = (str(call.request.path_params[key]) for key in ("token", "number", "name"))
        share = await self._shares.find(token)
        if not (number.isascii() and number.isdigit() and len(number) < 5):
            raise NotFoundError
        of = TaskFile.position == int(number)
        # A viewer must not see more of a video for long after the share has ended.
        return await self._database.run(self._find, share.task_id, of, name, None), _SHARED_SECONDS

    def _find(self, task_id: str, of: ColumnElement[bool], name: str, owner: str | None) -> _Found | None:
        query = select(TaskFile.id, TaskFile.name, Task.title, Task.file_count).join(Task).where(Task.id == task_id, of)
        query = query.where(_shown_by(name), _may_be_seen())
        with self._database.read() as session:
            row = session.execute(query if owner is None else query.where(Task.owner == owner)).one_or_none()
        file = None if row is None else self._results.look_up(task_id, row.id, name)
        if row is None or file is None:
            return None
        title = row.title if row.file_count == 1 else None  # several files need names of their own
        suffix = Path(name).suffix
        return _Found(file, MEDIA_TYPES[suffix[1:]], download_name(title, row.name, suffix))
