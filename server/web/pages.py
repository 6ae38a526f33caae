"""The upload page: the files of one folder, served as they are.

Rule: the page loads nothing from other hosts and runs only its own script; its Content-Security-Policy enforces
that. Each file has a route, and there is no other: a client's text never becomes a path. The files are read
once, at the start: reading them for each request takes four times as long, and threads that other requests need.

With `auth` on, the page itself says so: it then asks who is signed in before it shows anything. Without, it needs no
such request.
"""

from email.utils import formatdate
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from server.web.described import DescribedRoute
from server.web.openapi.server import PAGE, PAGE_FILE
from server.web.static_file import StaticFile

_FOLDER = Path(__file__).parent / "page"
_INDEX = "index.html"
# `mimetypes` depends on the machine, and a browser runs no module of another type.
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}
_OPEN = b"<html "
_SIGN_IN = b'<html data-auth="on" '


def routes(auth: str = "off") -> list[DescribedRoute]:
    """The page at `/`, and each other file of its folder at `/page/<name>`. `auth` is the setting."""
    files = sorted(file for file in _FOLDER.iterdir() if file.suffix in _TYPES)
    return [_route("/" if file.name == _INDEX else f"/page/{file.name}", file, auth) for file in files]


def _route(path: str, file: Path, auth: str) -> DescribedRoute:
    content = file.read_bytes()
    if file.name == _INDEX and auth == "on":
        content = content.replace(_OPEN, _SIGN_IN, 1)
    # The tag is of the content: another setting makes another page of the same file.
    served = StaticFile(lambda: content, _TYPES[file.suffix], formatdate(file.stat().st_mtime, usegmt=True))

    async def serve(request: Request) -> Response:
        request.state.route = path
        return await served.answer(request)

    if path == "/":
        return DescribedRoute(path, serve, PAGE, methods=["GET"])
    return DescribedRoute(path, serve, PAGE_FILE, methods=["GET"], shown_as="/page/{name}")
