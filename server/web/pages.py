"""The upload page: three files of ours, served as they are.

Rule: the page loads nothing from anywhere else and runs no script but its own; its Content-Security-Policy holds
it to that.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

_FOLDER = Path(__file__).parent / "page"
_FILES = {
    "/": ("index.html", "text/html"),
    "/page/page.js": ("page.js", "text/javascript"),
    "/page/page.css": ("page.css", "text/css"),
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def routes() -> list[Route]:
    """The page and what it needs."""
    return [Route(path, _file(path, *file), methods=["GET"]) for path, file in _FILES.items()]


def _file(route: str, name: str, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        request.state.route = route
        return FileResponse(_FOLDER / name, media_type=media_type, headers=_HEADERS)

    return serve
