"""The upload page: the files of one folder, served as they are.

Rule: the page loads nothing from other hosts and runs only its own script; its Content-Security-Policy enforces
that. Each file has a route, and there is no other: a client's text never becomes a path. The files are read
once, at the start: reading them for each request takes four times as long, and threads that other requests need.
"""

from pathlib import Path

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route
from starlette.staticfiles import NotModifiedResponse, StaticFiles

_FOLDER = Path(__file__).parent / "page"
_INDEX = "index.html"
# `mimetypes` depends on the machine, and a browser runs no module of another type.
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "media-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # The browser revalidates each time, and gets 304 (RFC 9110, section 13) while nothing has changed.
    "Cache-Control": "no-cache",
}


def routes() -> list[Route]:
    """The page at `/`, and each other file of its folder at `/page/<name>`."""
    files = sorted(file for file in _FOLDER.iterdir() if file.suffix in _TYPES)
    return [_route("/" if file.name == _INDEX else f"/page/{file.name}", file) for file in files]


def _route(path: str, file: Path) -> Route:
    content = file.read_bytes()
    described = FileResponse(file, stat_result=file.stat(), headers=_HEADERS, media_type=_TYPES[file.suffix])
    headers = Headers(raw=[pair for pair in described.raw_headers if pair[0] != b"accept-ranges"])
    rules = StaticFiles()

    async def serve(request: Request) -> Response:
        request.state.route = path
        if rules.is_not_modified(headers, request.headers):
            unchanged = NotModifiedResponse(headers)
            unchanged.headers.update(_HEADERS)
            return unchanged
        return Response(content, headers=headers)

    return Route(path, serve, methods=["GET"])
