"""`/openapi.json`, the description of the HTTP interface, and `/docs`, a viewer for it.

Rule: the description is made only from what the routes and the tus mount say about themselves. The viewer
is Swagger UI from an installed package; the page loads it from this server, and nothing from another host.
"""

import importlib.util
import json
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from server.errors import StartError
from server.settings import Settings
from server.web.described import DescribedRoute
from server.web.middleware.proxy import base_url
from server.web.openapi import tus
from server.web.openapi.document import PathItem, document
from server.web.openapi.server import DESCRIPTION, VIEWER, VIEWER_FILE
from server.web.static_file import StaticFile

PATH, VIEWER_PATH = "/openapi.json", "/docs"
_PACKAGE = "fastapi_swagger"  # for its files alone: Swagger's own distribution, byte for byte
_OURS = Path(__file__).parent / "viewer"
_MOST_PREFIXES = 16
_CSS, _JS = "text/css; charset=utf-8", "text/javascript; charset=utf-8"
_OF_MOUNT = (
    PathItem(path="/files", operations=tus.COLLECTION),
    PathItem(path="/files/g/{grant}", operations=tus.OF_GRANT),
    PathItem(path="/files/{upload_id}", operations=tus.UPLOAD),
)


def routes(settings: Settings, others: Sequence[DescribedRoute], version: str) -> list[DescribedRoute]:
    """The description of `others` and of the mount, and its viewer; none with the setting `docs` off. `version` is that
    of the server.

    Raises `StartError` when the package with the viewer is not installed.
    """
    if settings.docs == "off":
        return []
    package = importlib.util.find_spec(_PACKAGE)
    if package is None or not package.submodule_search_locations:
        raise StartError(f"The viewer at /docs needs the package {_PACKAGE}: install it, or set docs to off.")
    theirs = Path(package.submodule_search_locations[0]) / "resources"
    made: list[DescribedRoute] = [*others]
    described = _Description(made, version, is_auth_on=settings.auth == "on")
    made += [
        DescribedRoute(PATH, described.answer, DESCRIPTION, methods=["GET"]),
        _file(VIEWER_PATH, _OURS / "index.html", "text/html; charset=utf-8"),
        _file(f"{VIEWER_PATH}/viewer.js", _OURS / "viewer.js", _JS),
        _file(f"{VIEWER_PATH}/viewer.css", _OURS / "viewer.css", _CSS),
        _file(f"{VIEWER_PATH}/swagger-ui.css", theirs / "swagger-ui.css", _CSS),
        _file(f"{VIEWER_PATH}/swagger-ui-bundle.js", theirs / "swagger-ui-bundle.js", _JS),
    ]
    return made[len(others) :]


class _Description:
    """The document, for each prefix below which a proxy publishes the server."""

    def __init__(self, described: Sequence[DescribedRoute], version: str, *, is_auth_on: bool) -> None:
        self._described = described
        self._version = version
        self._is_auth_on = is_auth_on
        self._files: dict[str, StaticFile] = {}

    async def answer(self, request: Request) -> Response:
        request.state.route = PATH
        # The path of the server's public address, not its host: that is the client's own business.
        prefix = urlsplit(base_url(request.scope)).path
        if prefix not in self._files:
            # A trusted proxy says the prefix; another one, which changes it all the time, must not fill the memory.
            self._files = {} if len(self._files) >= _MOST_PREFIXES else self._files
            self._files[prefix] = StaticFile(partial(self._made, prefix), "application/json")
        return await self._files[prefix].answer(request)

    def _made(self, prefix: str) -> bytes:
        found = describe(self._described, self._version, is_auth_on=self._is_auth_on, prefix=prefix)
        return json.dumps(found, ensure_ascii=False, separators=(",", ":")).encode()


def describe(routes: Iterable[DescribedRoute], version: str, *, is_auth_on: bool, prefix: str = "") -> dict[str, Any]:
    """The document of these routes and of the tus mount, in this version of the server, published below `prefix`."""
    items = [PathItem(path=route.shown_as, operations=route.operations, preflight=route.preflight) for route in routes]
    found = document([*items, *_OF_MOUNT], version=version, is_auth_on=is_auth_on)
    return {"openapi": found.pop("openapi"), "servers": [{"url": prefix or "/"}], **found}


def _file(path: str, file: Path, media_type: str) -> DescribedRoute:
    served = StaticFile(file.read_bytes, media_type)

    async def serve(request: Request) -> Response:
        request.state.route = path
        return await served.answer(request)

    if path == VIEWER_PATH:
        return DescribedRoute(path, serve, VIEWER, methods=["GET"])
    return DescribedRoute(path, serve, VIEWER_FILE, methods=["GET"], shown_as=f"{VIEWER_PATH}/{{name}}")
