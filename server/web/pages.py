"""The page: one HTML document for the addresses of all its views, and the files that it loads.

Rule: the page loads nothing from other hosts and runs only its own script; its Content-Security-Policy enforces
that. Each file has a route, and there is no other: a client's text never becomes a path. The files are read
once, at the start: reading them for each request takes four times as long, and threads that other requests need.

A file's name has the hash of its content, so browsers keep it for a year. The document is asked for again each time. It
says where the page is published (`<base href>`), and with `auth` on that somebody has to sign in.
"""

import html
from collections.abc import Iterator, Sequence
from email.utils import formatdate
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from server.errors import StartError
from server.web.branding import Brand, BrandFile
from server.web.described import DescribedRoute
from server.web.middleware.proxy import base_url
from server.web.openapi.server import PAGE_FILE, VIEWS
from server.web.preview_card import PreviewCards
from server.web.static_file import StaticFile

_DIST = Path(__file__).parent / "page" / "dist"
_INDEX = "index.html"
# `mimetypes` depends on the machine, and a browser runs no module of another type.
_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
_HTML = "text/html; charset=utf-8"
_FOREVER = "public, max-age=31536000, immutable"
_ENCODINGS = {"br": ".br", "gzip": ".gz"}
_BASE, _OPEN, _SIGN_IN = b'<base href="/">', b"<html ", b'<html data-auth="on" '
_MOST_PREFIXES = 16
_PLAIN = Brand()


def routes(
    auth: str = "off",
    folder: Path = _DIST,
    cards: PreviewCards | None = None,
    brand: Brand = _PLAIN,
    media: Sequence[str] = (),
) -> list[DescribedRoute]:
    """The document at each address of `VIEWS`, and each file at `/page/<name>`. `auth` is the setting; `folder` has the
    built page; `cards` dress the document of shared videos, and `brand` all of them. `media` are other origins that the
    page may read media from.

    Raises `StartError` when the page is not built.
    """
    if not (folder / _INDEX).is_file():
        raise StartError("The page is not built: start with `make run`, or install the package with pip.")
    document = _Document(folder / _INDEX, auth, brand, media)
    files = sorted(file for file in folder.iterdir() if file.suffix in _TYPES)
    return [
        *(_view(path, document, cards) for path in VIEWS),
        *(_file(file) for file in files),
        *(_brand_file(file) for file in brand.files),
    ]


class _Document:
    """The HTML, for each prefix below which a proxy publishes the server."""

    def __init__(self, file: Path, auth: str, brand: Brand, media: Sequence[str]) -> None:
        content = brand.dress(file.read_bytes())
        self._content = content.replace(_OPEN, _SIGN_IN, 1) if auth == "on" else content
        self._modified = formatdate(file.stat().st_mtime, usegmt=True)
        self._media = media
        self._made: dict[str, StaticFile] = {}

    async def answer(self, request: Request) -> Response:
        prefix = urlsplit(base_url(request.scope)).path
        if prefix not in self._made:
            # A trusted proxy says the prefix; another one, which changes it all the time, must not fill the memory.
            self._made = {} if len(self._made) >= _MOST_PREFIXES else self._made
            # The tag is of the content: another setting, and another prefix, makes another page of the same file.
            self._made[prefix] = StaticFile(partial(self._below, prefix), _HTML, self._modified, media=self._media)
        return await self._made[prefix].answer(request)

    def _below(self, prefix: str) -> bytes:
        return self._content.replace(_BASE, f'<base href="{html.escape(prefix)}/">'.encode(), 1)


def _view(path: str, document: _Document, cards: PreviewCards | None) -> DescribedRoute:
    async def serve(request: Request) -> Response:
        request.state.route = path
        response = await document.answer(request)
        if cards is None:
            return response
        return await cards.dress(response, request.scope, path.format(**request.path_params))

    return DescribedRoute(path, serve, VIEWS[path], methods=["GET"])


def _file(file: Path) -> DescribedRoute:
    content, copies = file.read_bytes(), dict(_copies(file))
    modified = formatdate(file.stat().st_mtime, usegmt=True)
    served = StaticFile(lambda: content, _TYPES[file.suffix], modified, copies=copies, cache=_FOREVER)
    return _served(f"/page/{file.name}", served)


def _brand_file(file: BrandFile) -> DescribedRoute:
    served = StaticFile(lambda: file.content, file.media_type, copies={}, cache=_FOREVER)
    return _served(f"/page/{file.name}", served)


def _served(path: str, served: StaticFile) -> DescribedRoute:

    async def serve(request: Request) -> Response:
        request.state.route = path
        return await served.answer(request)

    return DescribedRoute(path, serve, PAGE_FILE, methods=["GET"], shown_as="/page/{name}")


def _copies(file: Path) -> Iterator[tuple[str, bytes]]:
    """The smaller copies of a file that the build has made, by their encoding."""
    for encoding, suffix in _ENCODINGS.items():
        copy = file.with_name(file.name + suffix)
        if copy.is_file():
            yield encoding, copy.read_bytes()
