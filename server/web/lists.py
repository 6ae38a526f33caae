"""GET /api/tasks and GET /api/uploads: what an owner has, the newest first.

Rules:

- A list shows what belongs to its reader, and to an administrator what belongs to all, or to one `owner`.
- The newest first costs the same however many there are. Another order sorts a bounded number of them.
- `next` is the cursor of the page that follows, and null where none does: a page may be short, and even empty, and
  still have one.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from starlette.responses import JSONResponse, Response

from server import threads
from server.auth.audit import Entry
from server.auth.authenticator import client_address
from server.auth.principal import Principal, Scope
from server.bootstrap import Services
from server.database import keyset
from server.database.keyset import Key, Span
from server.errors import FieldInvalidError, MethodNotAllowedError
from server.lifecycle import TaskStatus, UploadStatus
from server.messages import Language
from server.tasks import listing as task_listing
from server.tasks import sorting
from server.tasks import status as task_status
from server.tasks.listing import TaskPage
from server.tasks.sorting import Order, Sort, SortedPage
from server.tasks.status import Places, TaskRows
from server.uploads import listing as upload_listing
from server.uploads.listing import ListedUpload
from server.web import tus
from server.web.access import Access
from server.web.described import DescribedRoute
from server.web.endpoint import Call, endpoint
from server.web.errors import api_response, language
from server.web.middleware.cors import for_api
from server.web.middleware.proxy import base_url
from server.web.openapi import lists as described
from server.web.places import TaskPlaces
from server.web.query import Query, W

TASKS, UPLOADS = "/api/tasks", "/api/uploads"
_NO_STORE = {"Cache-Control": "no-store"}


def routes(services: Services) -> list[DescribedRoute]:
    """The two lists."""
    lists = _Lists(services)
    made = []
    for path, handle, operations in (
        (TASKS, lists.tasks, described.TASKS),
        (UPLOADS, lists.uploads, described.UPLOADS),
    ):
        cors = for_api(services.settings, *operations)
        served = endpoint(handle, api_response, route=path, intake=services.intake, cors=cors)
        made.append(DescribedRoute(path, served, operations, preflight=True))
    return made


class _Lists:
    def __init__(self, services: Services) -> None:
        self._access = Access(services)
        self._database = services.database
        self._facts = services.facts
        self._audit = services.auth.audit
        self._places = TaskPlaces(services, self._access)

    async def tasks(self, call: Call) -> Response:
        query, reader, owner = await self._asked(call, "foreign_tasks_listed")
        words = query.words("status", TaskStatus)
        statuses = task_listing.statuses(words, with_removed=query.flag("removed"))
        name = query.text("name", described.NAME_CHARACTERS)
        span = Span(owner=owner, statuses=statuses, since=query.moment("from"), until=query.moment("to"))
        sort, order = _one_word(query, "sort", Sort), _one_word(query, "order", Order)
        shows_owner = reader is not None and reader.is_admin
        if (sort, order) != (Sort.CREATED, Order.DESC):
            return await self._sorted(call, span, name, sort, order, shows_owner=shows_owner)
        mark = keyset.mark(span, "tasks", name)
        find = partial(self._find_tasks, span, name, _after(query, mark), _limit(query))
        page = await self._database.run(find)
        content = await self._shown(call, page.tasks, shows_owner)
        return _answer({"tasks": content}, page.last, mark)

    async def _sorted(
        self, call: Call, span: Span, name: str, sort: Sort, order: Order, *, shows_owner: bool
    ) -> Response:
        """A page in an order that no index has."""
        query = Query(call.request)
        mark = keyset.mark(span, "tasks", name, sort, order)
        cursor = query.one("cursor")
        after = sorting.read_cursor(cursor, mark) if cursor else None
        limit = _limit(query)

        def find() -> SortedPage:
            with self._database.snapshot() as session:
                return sorting.page(session, span, name, sort, order, after, limit)

        page = await self._database.run(find)
        content = await self._shown(call, page.tasks, shows_owner)
        following = None if page.last is None else sorting.write_cursor(page.last, mark)
        answer = {"success": True, "tasks": content, "next": following, "truncated": page.truncated}
        return JSONResponse(answer, headers=_NO_STORE)

    async def _shown(self, call: Call, tasks: Sequence[TaskRows], shows_owner: bool) -> list[dict[str, object]]:
        places = [await self._places_of(call, found) for found in tasks]
        return await threads.run(_render_tasks, tasks, places, language(call.scope, "zh"), shows_owner)

    def _find_tasks(self, span: Span, name: str, after: Key | None, limit: int) -> TaskPage:
        with self._database.snapshot() as session:
            return task_listing.page(session, span, name, after, limit)

    async def _places_of(self, call: Call, found: TaskRows) -> Places:
        await asyncio.sleep(0)  # a page may need thousands of signatures
        return await self._places.of(base_url(call.scope), found.task.id, found.files)

    async def uploads(self, call: Call) -> Response:
        query, reader, owner = await self._asked(call, "foreign_uploads_listed")
        statuses = upload_listing.statuses(query.words("status", UploadStatus))
        span = Span(owner=owner, statuses=statuses, since=query.moment("from"), until=query.moment("to"))
        mark = keyset.mark(span, "uploads")
        find = partial(upload_listing.page, self._facts, span, _after(query, mark), _limit(query))
        page = await self._database.run(find)
        content = [_upload(found, await self._url(call, reader, found)) for found in page.uploads]
        if reader is not None and reader.is_admin:
            content = [one | {"owner": found.row.owner} for one, found in zip(content, page.uploads, strict=True)]
        return _answer({"uploads": content}, page.last, mark)

    async def _url(self, call: Call, reader: Principal | None, found: ListedUpload) -> str | None:
        """The URL of an upload that has one; the signed one for who may do all that it allows."""
        row = found.row
        if row.is_of_form or row.status not in (UploadStatus.OPEN, UploadStatus.COMPLETE):
            return None
        may = reader is not None and reader.allows(Scope.UPLOAD) and reader.allows(Scope.MANAGE)
        return f"{base_url(call.scope)}{tus.PATH}/{await self._access.signed(row.id) if may else row.id}"

    async def _asked(self, call: Call, action: str) -> tuple[Query, Principal | None, str | None]:
        """The query, who reads, and whose rows are listed; None for those of all owners."""
        if call.head.method not in ("GET", "HEAD"):
            raise MethodNotAllowedError(method=call.head.method, allowed="GET, HEAD, OPTIONS")
        query = Query(call.request)
        reader, owner = await self._access.lister(call.scope, query.one("owner"))
        if reader is not None and owner != reader.owner:
            entry = Entry.by(reader, action, object_kind="owner", object_owner=owner)
            await self._audit.record(replace(entry, address=client_address(call.scope)))
        return query, reader, owner


def _limit(query: Query) -> int:
    return query.number("limit", described.LIMIT, 1, described.MOST)


def _after(query: Query, mark: bytes) -> Key | None:
    cursor = query.one("cursor")
    return keyset.read_cursor(cursor, mark) if cursor else None


def _answer(content: Mapping[str, object], last: Key | None, mark: bytes) -> Response:
    following = None if last is None else keyset.write_cursor(last, mark)
    return JSONResponse({"success": True, **content, "next": following}, headers=_NO_STORE)


def _one_word(query: Query, name: str, known: type[W]) -> W:
    """The one word that a parameter has; the first of `known` without it."""
    words = query.words(name, known)
    if len(words) > 1:
        raise FieldInvalidError(field=name, reason="field_repeated")
    return words[0] if words else next(iter(known))


def _render_tasks(
    tasks: Sequence[TaskRows], places: list[Places], reader: Language, shows_owner: bool
) -> list[dict[str, object]]:
    made = []
    for found, place in zip(tasks, places, strict=True):
        one = task_status.as_json(found, place, reader, with_steps=False)
        del one["success"]  # it is about a request
        made.append(one | {"owner": found.task.owner} if shows_owner else one)
    return made


def _upload(found: ListedUpload, url: str | None) -> dict[str, Any]:
    row = found.row
    return {
        "id": row.id,
        "url": url,
        "filename": row.filename,
        "size": row.length,
        "offset": found.offset,
        "status": row.status.value,
        "protocol": row.protocol,
        "partial": row.is_partial,
        "task_id": None if row.is_partial else row.task_id,
        "passthrough": row.passthrough,
        "created_at": _moment(row.created_at),
        "completed_at": None if row.completed_at is None else _moment(row.completed_at),
        "expires_at": None if found.expires_at is None else _moment(found.expires_at),
    }


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
