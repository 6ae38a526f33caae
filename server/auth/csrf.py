"""Requests that a page of another site makes with somebody's sign-in (cross-site request forgery).

Rule: a request that may change something, and whose credential a browser adds by itself, must come from our own page.
The browser says where it comes from, in headers that no page can set: `Sec-Fetch-Site` over https and on this machine,
`Origin` everywhere. A request with neither is refused: no browser of today sends one.
"""

from collections.abc import Iterable

from starlette.types import Scope

from server.errors import CrossSiteError

_SAFE = frozenset({b"GET", b"HEAD", b"OPTIONS"})
_OWN = frozenset({b"same-origin", b"none"})
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


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
        origins, hosts = _values(headers, b"origin"), _values(headers, b"host")
        is_own = len(origins) == len(hosts) == 1 and origins[0].lower() == _origin(scope["scheme"], hosts[0])
    if not is_own:
        raise CrossSiteError


def check_no_other_site(scope: Scope, trusted: Iterable[str] = ()) -> None:
    """Raise `CrossSiteError` for an unsafe request that a page of another site made, by what its browser says.

    For an identity that a proxy adds, to what a browser sends by itself and to what a program sends: a request that
    says nothing is a program's. Pages of the origins that are `trusted` by name may make requests.
    """
    origins = _values(scope["headers"], b"origin")
    if len(origins) == 1 and origins[0].decode("latin-1") in trusted:
        return
    if origins or _values(scope["headers"], b"sec-fetch-site"):
        check_same_site(scope)


def _origin(scheme: str, host: bytes) -> bytes:
    """The origin as a browser writes it: in lower case, without the port that belongs to the scheme."""
    name = host.decode("latin-1").lower().removesuffix(_DEFAULT_PORTS.get(scheme, ""))
    return f"{scheme}://{name}".encode("latin-1")


def _values(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> list[bytes]:
    return [value.strip(b" \t") for name, value in headers if name.lower() == wanted]
