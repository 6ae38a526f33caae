"""A file that is served as it is: its headers, revalidation, and a smaller copy for clients that take gzip.

Rule: the content is read once, and there is no other path to a file: a client's text never becomes one.
"""

import gzip
import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from server import threads

PAGE_HEADERS = {
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
"""What a page may do: load its own files, and nothing from other hosts."""

# Only over https: RFC 6797 section 7.2. A year, and this host alone; the names below it are not ours to decide.
_HTTPS_ONLY = {"Strict-Transport-Security": "max-age=31536000"}
_WORTH_BYTES = 64 << 10  # a smaller file is sent as it is
_RULES = StaticFiles()


@dataclass(frozen=True)
class _Loaded:
    content: bytes
    zipped: bytes | None
    tag: str


class StaticFile:
    """A file whose bytes `load` gives. It blocks, and is called on a thread at the first request; `modified` is a
    header, Last-Modified, where there is one."""

    def __init__(self, load: Callable[[], bytes], media_type: str, modified: str | None = None) -> None:
        self._load = load
        self._media_type = media_type
        self._modified = {} if modified is None else {"Last-Modified": modified}
        self._loaded: _Loaded | None = None

    async def answer(self, request: Request) -> Response:
        """The file, or 304 where the client has it."""
        if self._loaded is None:
            self._loaded = await threads.run(_read, self._load)
        loaded = self._loaded
        is_zipped = loaded.zipped is not None and _takes_gzip(request)
        content = loaded.zipped if is_zipped and loaded.zipped is not None else loaded.content
        # Another encoding is another representation, with a tag of its own (RFC 9110 section 8.8.3.3).
        headers = {"ETag": f'"{loaded.tag}{"-gzip" if is_zipped else ""}"', **self._modified, **PAGE_HEADERS}
        headers |= {} if loaded.zipped is None else {"Vary": "Accept-Encoding"}
        headers |= _HTTPS_ONLY if request.scope["scheme"] == "https" else {}
        if _RULES.is_not_modified(Headers(headers), request.headers):
            return Response(status_code=304, headers=headers)
        headers |= {"Content-Encoding": "gzip"} if is_zipped else {}
        return Response(content, headers={**headers, "Content-Type": self._media_type})


def _read(load: Callable[[], bytes]) -> _Loaded:
    content = load()
    zipped = gzip.compress(content, mtime=0) if len(content) > _WORTH_BYTES else None
    return _Loaded(content, zipped, hashlib.sha256(content).hexdigest()[:32])


def _takes_gzip(request: Request) -> bool:
    """Whether Accept-Encoding names gzip and does not exclude it (RFC 9110 section 12.5.3)."""
    listed = ",".join(request.headers.getlist("accept-encoding")).lower().split(",")
    named = [name.replace(" ", "").partition(";") for name in listed]
    return any(name == "gzip" and q not in ("q=0", "q=0.0", "q=0.00", "q=0.000") for name, _, q in named)
