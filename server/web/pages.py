"""The upload page: the files of one folder of ours, served as they are.

Rule: the page loads nothing from anywhere else and runs no script but its own; its Content-Security-Policy holds
it to that. There is a route for each file and no other: what a client wrote never becomes a path.
"""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.staticfiles import NotModifiedResponse, StaticFiles

_FOLDER = Path(__file__).parent / "page"
_INDEX = "index.html"
# What `mimetypes` says depends on the machine, and a browser runs no module of another type.
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
    # The browser asks each time, and is told 304 (RFC 9110, section 13) while nothing has changed.
    "Cache-Control": "no-cache",
}


def routes() -> list[Route]:
    """The page at `/`, and each other file of its folder at `/page/<name>`."""
    folder = StaticFiles(directory=_FOLDER)
    names = sorted(file.name for file in _FOLDER.iterdir() if file.suffix in _TYPES)
    return [_route("/" if name == _INDEX else f"/page/{name}", folder, name) for name in names]


def _route(path: str, folder: StaticFiles, name: str) -> Route:
    async def serve(request: Request) -> Response:
        request.state.route = path
        response = await folder.get_response(name, request.scope)
        response.headers.update(_HEADERS)
        if not isinstance(response, NotModifiedResponse):
            response.headers["Content-Type"] = _TYPES[Path(name).suffix]
        return response

    return Route(path, serve, methods=["GET"])
