"""What the pages for shared videos have besides the document: a preview card, and headers of their own.

Rules:

- Every text of an owner is escaped, and nothing of it is more than the value of an attribute.
- Only the player at `/embed/…` may be framed by other sites, and only by those that `embed_ancestors` names.
- A page with a card is made anew each time, since the card ends with its share.
"""

import html
from collections.abc import Iterator
from urllib.parse import urlencode

from starlette.responses import Response
from starlette.types import Scope

from server.auth.shares import is_token
from server.bootstrap import Services
from server.errors import VideodockError
from server.web.middleware.proxy import base_url
from server.web.shared_video import EMBED, PAGE, SharedVideo, SharedVideos

_END_OF_HEAD = b"</head>"
_NOBODY = "frame-ancestors 'none'"
_UNLISTED = {"X-Robots-Tag": "noindex"}  # anyone with the link may see the video, but search engines must not list it
_POLICY, _FRAMES = "Content-Security-Policy", "X-Frame-Options"


class PreviewCards:
    """Dresses the document of the page, by its address."""

    def __init__(self, services: Services) -> None:
        self._videos = SharedVideos(services)
        self._site = services.settings.brand_name
        self._ancestors = services.settings.embed_ancestors

    async def dress(self, response: Response, scope: Scope, path: str) -> Response:
        """The document, with what its address needs. `path` is without the prefix of a proxy; `response` has no
        Content-Encoding, and may be 304. Raises the errors of the database."""
        room, _, name = path.removeprefix("/").partition("/")
        if f"/{room}" == EMBED:
            self._allow_frames(response)
            response.headers.update(_UNLISTED)
        elif f"/{room}" == PAGE:
            response.headers.update(_UNLISTED)
            card = await self._card(scope, name)
            if card:
                return _with_head(response, card)
        return response

    def _allow_frames(self, response: Response) -> None:
        """Let other sites frame this page, if they are named; else only pages of this server."""
        allowed = " ".join(("'self'", *self._ancestors))
        policy = response.headers.get(_POLICY, _NOBODY)
        response.headers[_POLICY] = policy.replace(_NOBODY, f"frame-ancestors {allowed}")
        # It cannot name an origin; browsers that know `frame-ancestors` ignore it beside that.
        if self._ancestors:
            del response.headers[_FRAMES]
        else:
            response.headers[_FRAMES] = "SAMEORIGIN"

    async def _card(self, scope: Scope, token: str) -> bytes:
        if not is_token(token):
            return b""
        base = base_url(scope)
        try:
            found = await self._videos.find(token, base)
        except VideodockError:  # the page itself says why the link shows nothing
            return b""
        return "".join(_tags(found, base, self._site)).encode()


def _tags(found: SharedVideo, base: str, site: str) -> Iterator[str]:
    """Open Graph (ogp.me), a card for X, and the link of oEmbed."""
    first = found.first or {}
    size = {"width": first.get("width"), "height": first.get("height")}
    yield _meta("og:site_name", site)
    yield _meta("og:type", "video.other")
    yield _meta("og:title", found.title)
    yield _meta("og:url", found.url)
    yield _meta("og:image", first.get("poster_url"))
    if first.get("mp4_url"):
        yield _meta("og:video", first["mp4_url"])
        yield _meta("og:video:type", "video/mp4")
        yield from (_meta(f"og:video:{name}", number) for name, number in size.items())
        yield _meta("video:duration", round(first["duration"]) if first.get("duration") else None)
    is_player = found.embed_url is not None and all(size.values())
    yield _meta("twitter:card", "player" if is_player else "summary_large_image", name="name")
    yield _meta("twitter:title", found.title, name="name")
    yield _meta("twitter:image", first.get("poster_url"), name="name")
    if is_player:
        yield _meta("twitter:player", found.embed_url, name="name")
        yield from (_meta(f"twitter:player:{key}", number, name="name") for key, number in size.items())
    address = f"{base}/api/oembed?{urlencode({'url': found.url, 'format': 'json'})}"
    yield f'<link rel="alternate" type="application/json+oembed" href="{html.escape(address)}">\n'


def _meta(key: str, value: object, *, name: str = "property") -> str:
    """One element; nothing where there is no value."""
    return "" if value in (None, "") else f'<meta {name}="{key}" content="{html.escape(str(value))}">\n'


def _with_head(response: Response, card: bytes) -> Response:
    """The document with the card at the end of its head, and without what makes it the same as other pages."""
    body = bytes(response.body)
    if response.status_code != 200 or _END_OF_HEAD not in body:
        return response
    content = body.replace(_END_OF_HEAD, card + _END_OF_HEAD, 1)
    made = Response(content, response.status_code)
    made.raw_headers = [pair for pair in response.raw_headers if pair[0] not in _OF_ONE_VERSION]
    made.headers["Content-Length"] = str(len(content))
    made.headers["Cache-Control"] = "no-store"
    return made


_OF_ONE_VERSION = (b"content-length", b"etag", b"last-modified", b"cache-control")
