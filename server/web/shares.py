"""Sharing a video: `/api/task/<id>/shares` for its owner, `/api/shared/<token>` and oEmbed for everybody.

Rules:

- Only a credential with the scope `manage` shares or revokes; neither the URL of an upload nor a grant does.
- The link is in the answer that made it, and in no other.
"""

import html
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from starlette.responses import JSONResponse, Response

from server.auth import shares
from server.auth.audit import Entry
from server.auth.authenticator import client_address
from server.auth.principal import Scope
from server.bootstrap import Services
from server.database.access_models import Share
from server.errors import FieldInvalidError, NotFoundError
from server.messages import sentence
from server.web.access import Access, Right
from server.web.described import DescribedRoute
from server.web.endpoint import Call, Handle, by_method, endpoint
from server.web.errors import api_response, language
from server.web.json_body import read_object
from server.web.middleware.cors import for_api
from server.web.middleware.proxy import base_url
from server.web.openapi import shares as described
from server.web.openapi.operation import Operations
from server.web.query import Query
from server.web.shared_video import EMBED, PAGE, SharedVideo, SharedVideos, moment

_NO_STORE = {"Cache-Control": "no-store"}
_FIELD = "expires_in"
_CACHE_SECONDS = 300
_DEFAULT_SIZE = (1280, 720)  # pixels of a player, while the video's are not known


def routes(services: Services) -> list[DescribedRoute]:
    """All routes of shares; before those of tasks, one of which has every address below `/api/task/`."""
    made = _Shares(services)
    of_task = "/api/task/{task_id}/shares"
    table: tuple[tuple[str, Mapping[str, Handle], Operations], ...] = (
        (of_task, {"GET": made.list, "POST": made.create}, described.ALL),
        (of_task + "/{share_id}", {"DELETE": made.revoke}, described.ONE),
        ("/api/shared/{token}", {"GET": made.show}, described.SHARED),
        ("/api/oembed", {"GET": made.oembed}, described.OEMBED),
    )
    found = []
    for path, handlers, operations in table:
        cors = for_api(services.settings, *operations)
        handle = by_method(handlers)
        served = endpoint(handle, api_response, route=path, intake=services.intake, cors=cors)
        found.append(DescribedRoute(path, served, operations, preflight=True))
    return found


class _Shares:
    def __init__(self, services: Services) -> None:
        self._site = services.settings.brand_name
        self._access = Access(services)
        self._audit = services.auth.audit
        self._clock = services.clock
        self._database = services.database
        self._shares = services.auth.shares
        self._videos = SharedVideos(services)

    async def create(self, call: Call) -> Response:
        right = await self._right(call, Scope.MANAGE)
        expires_in = _expires_in(await read_object(call))
        by = "none" if right.principal is None else right.principal.credential
        row, token = await self._database.run(self._shares.create, right.id, right.owner, by, expires_in)
        await self._record(call, right, "share_created", row.id, row.owner)
        base = base_url(call.scope)
        content = {
            "success": True,
            "url": f"{base}{PAGE}/{token}",
            "token": token,
            "embed_url": self._videos.embed_url(token, base),
            "share": self._shown(row),
        }
        return JSONResponse(content, 201, headers=_NO_STORE)

    async def list(self, call: Call) -> Response:
        right = await self._right(call, Scope.READ)
        rows = await self._database.run(self._shares.list, right.id, right.owner)
        return JSONResponse({"success": True, "shares": [self._shown(row) for row in rows]}, headers=_NO_STORE)

    async def revoke(self, call: Call) -> Response:
        right = await self._right(call, Scope.MANAGE)
        share_id = str(call.request.path_params["share_id"])
        owner = await self._database.run(self._shares.revoke, right.id, right.owner, share_id)
        await self._record(call, right, "share_revoked", share_id, owner)
        message = sentence("share_made_invalid", {}, language(call.scope, "zh"))
        return JSONResponse({"success": True, "message": message}, headers=_NO_STORE)

    async def show(self, call: Call) -> Response:
        found = await self._videos.find(str(call.request.path_params["token"]), base_url(call.scope))
        return JSONResponse(found.content, headers=_NO_STORE)

    async def oembed(self, call: Call) -> Response:
        query = Query(call.request)
        if query.one("format") not in (None, "", "json"):
            raise FieldInvalidError(field="format", reason="field_type", expected="json")
        most = (
            query.number("maxwidth", described.OEMBED_MOST, described.OEMBED_LEAST, described.OEMBED_MOST),
            query.number("maxheight", described.OEMBED_MOST, described.OEMBED_LEAST, described.OEMBED_MOST),
        )
        base = base_url(call.scope)
        token = _token_of(query.text("url", 2048), base)
        if token is None:
            raise NotFoundError
        found = await self._videos.find(token, base)
        return JSONResponse(oembed_of(found, base, most, self._site), headers=_NO_STORE)

    def _shown(self, row: Share) -> dict[str, Any]:
        return {
            "id": row.id,
            "state": shares.state(row, self._clock()),
            "created_at": moment(row.created_at),
            "expires_at": None if row.expires_at is None else moment(row.expires_at),
            "revoked_at": None if row.revoked_at is None else moment(row.revoked_at),
        }

    async def _right(self, call: Call, needed: Scope) -> Right:
        task_id = str(call.request.path_params["task_id"])
        return await self._access.task(call.scope, task_id, needed, by_url=False, by_grant=False)

    async def _record(self, call: Call, right: Right, action: str, share_id: str, owner: str) -> None:
        if right.principal is None:  # without authentication there is no actor to record
            return
        about = {"object_kind": "task", "object_id": right.id, "address": client_address(call.scope)}
        entry = Entry.by(right.principal, action, object_owner=owner, details={"share": share_id}, **about)
        await self._audit.record(entry)


def size_within(width: int | None, height: int | None, most: tuple[int, int]) -> tuple[int, int]:
    """The size of a player in pixels: that of the video, made smaller where it is larger than `most`."""
    size = (width, height) if width and height else _DEFAULT_SIZE
    factor = min(1.0, most[0] / size[0], most[1] / size[1])
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def oembed_of(found: SharedVideo, base: str, most: tuple[int, int], site: str) -> dict[str, Any]:
    """The oEmbed answer (version 1.0, section 2.3.4) for a shared video."""
    content: dict[str, Any] = {
        "version": "1.0",
        "type": "link",
        "title": found.title,
        "provider_name": site,
        "provider_url": f"{base}/",
        "cache_age": _CACHE_SECONDS,
    }
    first = found.first or {}
    width, height = size_within(first.get("width"), first.get("height"), most)
    if first.get("poster_url"):
        content |= {"thumbnail_url": first["poster_url"], "thumbnail_width": width, "thumbnail_height": height}
    if found.embed_url is not None:
        frame = (
            f'<iframe src="{html.escape(found.embed_url)}" width="{width}" height="{height}" '
            f'title="{html.escape(found.title)}" frameborder="0" allow="fullscreen; picture-in-picture" '
            "allowfullscreen></iframe>"
        )
        content |= {"type": "video", "html": frame, "width": width, "height": height}
    return content


def _token_of(url: str, base: str) -> str | None:
    """The token of a link to the page of a share, or to its player, of this server."""
    ours, given = urlsplit(base), urlsplit(url)
    if given.netloc.lower() != ours.netloc.lower() or given.scheme not in ("http", "https"):
        return None
    for prefix in (f"{ours.path}{PAGE}/", f"{ours.path}{EMBED}/"):
        if given.path.startswith(prefix) and shares.is_token(given.path.removeprefix(prefix)):
            return given.path.removeprefix(prefix)
    return None


def _expires_in(body: dict[str, Any]) -> int | None:
    for name in body:
        if name != _FIELD:
            raise FieldInvalidError(field=name[:64], reason="field_unknown")
    value = body.get(_FIELD)
    if value is None:
        return None
    least, most = described.LEAST_SECONDS, described.MOST_SECONDS
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise FieldInvalidError(field=_FIELD, reason="field_range", least=least, most=most)
    return value
