"""The upload page: the files of one folder, served as they are.

Rule: the page loads nothing from other hosts and runs only its own script; its Content-Security-Policy enforces
that. Each file has a route, and there is no other: a client's text never becomes a path. The files are read
once, at the start: reading them for each request takes four times as long, and threads that other requests need.

With `auth` on, the page itself says so: it then asks who is signed in before it shows anything. Without, it needs no
such request.
"""

import hashlib
from pathlib import Path

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.staticfiles import NotModifiedResponse, StaticFiles

from server.web.described import DescribedRoute
from server.web.openapi.server import PAGE, PAGE_FILE

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
    # The same as `frame-ancestors` and `form-action`, for browsers and scanners that know no such policy; and no page
    # that opens this one, or is opened by it, gets hold of its window.
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), "
    "magnetometer=(), microphone=(), midi=(), payment=(), serial=(), usb=()",
    # The browser revalidates each time, and gets 304 (RFC 9110, section 13) while nothing has changed.
    "Cache-Control": "no-cache",
}
# Only over https: RFC 6797 section 7.2. A year, and this host alone; the names below it are not ours to decide.
_HTTPS_ONLY = {"Strict-Transport-Security": "max-age=31536000"}
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
    described = FileResponse(file, stat_result=file.stat(), headers=_HEADERS, media_type=_TYPES[file.suffix])
    # The tag is of the content: another setting makes another page of the same file.
    ours = {b"etag": f'"{hashlib.sha256(content).hexdigest()[:32]}"'.encode(), b"content-length": b"%d" % len(content)}
    raw = [(name, ours.get(name, value)) for name, value in described.raw_headers if name != b"accept-ranges"]
    headers = Headers(raw=raw)
    rules = StaticFiles()

    async def serve(request: Request) -> Response:
        request.state.route = path
        if rules.is_not_modified(headers, request.headers):
            unchanged = NotModifiedResponse(headers)
            unchanged.headers.update(_HEADERS)
            return _dressed(unchanged, request)
        return _dressed(Response(content, headers=headers), request)

    if path == "/":
        return DescribedRoute(path, serve, PAGE, methods=["GET"])
    return DescribedRoute(path, serve, PAGE_FILE, methods=["GET"], shown_as="/page/{name}")


def _dressed(response: Response, request: Request) -> Response:
    if request.scope["scheme"] == "https":
        response.headers.update(_HTTPS_ONLY)
    return response
