"""A file that is served as it is: its headers, revalidation, and a smaller copy for clients that take gzip.

Rule: the content is read once, and there is no other path to a file: a client's text never becomes one.
"""

import gzip
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from server import threads

_POLICY = "Content-Security-Policy"
PAGE_HEADERS = {
    # `blob:` is what the page itself has made: a frame of a chosen file, and what a player feeds a video with.
    _POLICY: "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "media-src 'self' blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'self'; frame-ancestors 'none'",
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
    copies: Mapping[str, bytes]
    tag: str


class StaticFile:
    """A file whose bytes `load` gives. It blocks, and is called on a thread at the first request; `modified` is a
    header, Last-Modified, where there is one. `copies` are smaller ones by their encoding, the best first; without any,
    one is made. `cache` replaces the header Cache-Control; a page may read media from the origins in `media`, too."""

    def __init__(
        self,
        load: Callable[[], bytes],
        media_type: str,
        modified: str | None = None,
        *,
        copies: Mapping[str, bytes] | None = None,
        cache: str | None = None,
        media: Sequence[str] = (),
    ) -> None:
        self._load = load
        self._media_type = media_type
        self._copies = copies
        self._headers = {
            **({} if modified is None else {"Last-Modified": modified}),
            **with_media(media),
            **({} if cache is None else {"Cache-Control": cache}),
        }
        self._loaded: _Loaded | None = None

    async def answer(self, request: Request) -> Response:
        """The file, or 304 where the client has it."""
        if self._loaded is None:
            self._loaded = await threads.run(_read, self._load, self._copies)
        loaded = self._loaded
        encoding = next((name for name in loaded.copies if _takes(request, name)), None)
        content = loaded.content if encoding is None else loaded.copies[encoding]
        # Another encoding is another representation, with a tag of its own (RFC 9110 section 8.8.3.3).
        headers = {"ETag": f'"{loaded.tag}{"" if encoding is None else f"-{encoding}"}"', **self._headers}
        headers |= {"Vary": "Accept-Encoding"} if loaded.copies else {}
        headers |= _HTTPS_ONLY if request.scope["scheme"] == "https" else {}
        if _RULES.is_not_modified(Headers(headers), request.headers):
            return Response(status_code=304, headers=headers)
        headers |= {} if encoding is None else {"Content-Encoding": encoding}
        return Response(content, headers={**headers, "Content-Type": self._media_type})


def with_media(origins: Sequence[str]) -> Mapping[str, str]:
    """The headers of a page that may also read media from these origins: a redirect to a bucket leads there."""
    more = "".join(f" {origin}" for origin in origins)
    policy = PAGE_HEADERS[_POLICY].replace("media-src 'self'", f"media-src 'self'{more}")
    return {**PAGE_HEADERS, _POLICY: policy.replace("connect-src 'self'", f"connect-src 'self'{more}")}


def _read(load: Callable[[], bytes], copies: Mapping[str, bytes] | None) -> _Loaded:
    content = load()
    if copies is None:
        copies = {"gzip": gzip.compress(content, mtime=0)} if len(content) > _WORTH_BYTES else {}
    return _Loaded(content, copies, hashlib.sha256(content).hexdigest()[:32])


def _takes(request: Request, encoding: str) -> bool:
    """Whether Accept-Encoding names an encoding and does not exclude it (RFC 9110 section 12.5.3)."""
    listed = ",".join(request.headers.getlist("accept-encoding")).lower().split(",")
    named = [name.replace(" ", "").partition(";") for name in listed]
    return any(name == encoding and q not in ("q=0", "q=0.0", "q=0.00", "q=0.000") for name, _, q in named)
