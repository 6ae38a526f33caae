"""Requests that a page of another site makes with somebody's sign-in (cross-site request forgery).

Rule: a request that may change something, and whose credential a browser adds by itself, must come from our own page.
The browser says where it comes from, in headers that no page can set: `Sec-Fetch-Site` over https and on this machine,
`Origin` everywhere. A request with neither is refused: no browser of today sends one.
"""

from urllib.parse import urlsplit

from starlette.types import Scope

from server.errors import CrossSiteError
from server.web.middleware.proxy import base_url

_SAFE = frozenset({b"GET", b"HEAD", b"OPTIONS"})
_OWN = frozenset({b"same-origin", b"none"})


def check_same_site(scope: Scope) -> None:
    """Raise `CrossSiteError` unless the request is safe (RFC 9110 section 9.2.1), or of our own page.

    For requests whose credential is a cookie, and for sign-ins; `scope` has the public scheme and host.
    """
    headers = scope["headers"]
    # Any of these may be the method that counts; a repeated header must not hide one.
    methods = [scope["method"].encode("latin-1"), *_values(headers, b"x-http-method-override")]
    if all(method.upper() in _SAFE for method in methods):
        return
    sites = _values(headers, b"sec-fetch-site")
    if sites:
        is_own = all(site in _OWN for site in sites)
    else:
        origins = _values(headers, b"origin")
        is_own = len(origins) == 1 and origins[0].decode("latin-1").lower() == _own_origin(scope)
    if not is_own:
        raise CrossSiteError


def _own_origin(scope: Scope) -> str:
    parts = urlsplit(base_url(scope))
    return f"{parts.scheme}://{parts.netloc}".lower()


def _values(headers: list[tuple[bytes, bytes]], wanted: bytes) -> list[bytes]:
    return [value.strip(b" \t") for name, value in headers if name.lower() == wanted]
