"""The public address of the server, when a proxy stands before it.

Rule: a header that anybody can send counts only when a trusted proxy sent the request. A malformed value is
ignored, never guessed at, and a host that could change a URL is invalid.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.types import ASGIApp, Receive, Scope, Send

from server.auth.authenticator import FROM_PROXY
from server.settings import TOKEN, Settings

Address = IPv4Address | IPv6Address

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]{1,255})(?::(?P<port>[0-9]{1,5}))?")
_PREFIX = next(item.pattern for item in Settings.model_fields["root_path"].metadata if hasattr(item, "pattern"))
_MOST_KNOWN = 1024  # addresses of which is remembered whether they are trusted
_DEFAULT_PORTS = {"http": 80, "https": 443}

# RFC 7239 section 4: a token or a quoted string after each name.
_PAIR = re.compile(rf'[ \t]*({TOKEN})=({TOKEN}|"(?:[^"\\]|\\.)*")[ \t]*(;|,|\Z)|[ \t]*(;|,|\Z)')


@dataclass(frozen=True)
class _Hop:
    """What one proxy declares about the request that it received."""

    address: Address | None
    port: int = 0
    scheme: str | None = None
    host: str | None = None
    host_port: int | None = None
    """The port that this proxy listens on, for a host that has none."""


class TrustedProxies:
    """The addresses whose headers are trusted: addresses and networks, or `*` for every one."""

    def __init__(self, trusted: Sequence[str]) -> None:
        self._trusts_all = "*" in trusted
        self._networks: list[IPv4Network | IPv6Network] = [ip_network(part) for part in trusted if part != "*"]

        self._known: dict[str, bool] = {}

    def has_text(self, text: str) -> bool:
        """Whether this is one of the addresses; remembered, since each request of a connection asks."""
        known = self._known.get(text)
        if known is None:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            known = self._known[text] = _address(text) in self
        return known

    def __contains__(self, address: Address | None) -> bool:
        if self._trusts_all:
            return True
        if address is None:
            return False
        return any(address in network for network in self._networks)


class Proxy:
    """Pure ASGI middleware: puts the public scheme, host, prefix and client into the scope.

    `trusted` is the setting `trusted_proxies`. `root_path` is the prefix that holds when no trusted proxy
    names another by X-Forwarded-Prefix. The prefix is put before `scope["path"]` too, as ASGI requires.
    """

    def __init__(self, app: ASGIApp, trusted: Sequence[str], root_path: str = "") -> None:
        self._app = app
        self._trusted = TrustedProxies(trusted)
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            prefix = self._root_path
            client = scope.get("client")
            is_trusted = self._trusted.has_text(client[0]) if client else None in self._trusted
            if is_trusted:
                scope.setdefault("state", {})[FROM_PROXY] = True
            if is_trusted and _is_forwarded(scope):
                headers = _Headers(scope)
                _apply(scope, _public(headers.hops(), self._trusted))
                prefix = _prefix(headers.last("x-forwarded-prefix")) or prefix
            _mount(scope, prefix)
        await self._app(scope, receive, send)


def base_url(scope: Scope) -> str:
    """Scheme, host and prefix under which the client reached the server, without a slash at the end.

    Falls back to the address that accepted the connection when the request names no host, or an invalid one.
    """
    scheme = scope.get("scheme", "http")
    host = _header(scope, b"host")
    if valid_host(host):
        host = _without_default_port(scheme, host)
    else:
        name, port = scope.get("server") or ("localhost", None)
        if port is None:  # a Unix socket: its path is not a host
            name = "localhost"
        host = f"[{name}]" if ":" in name else name
        if port is not None and port != _DEFAULT_PORTS.get(scheme):
            host += f":{port}"
    return f"{scheme}://{host}{scope.get('root_path', '')}"


def valid_host(text: str) -> bool:
    """Whether this is `uri-host [":" port]` (RFC 9110 section 7.2) that may stand in a URL."""
    match = _HOST.fullmatch(text)
    if match is None or int(match["port"] or 0) > 65535:
        return False
    name = match["name"]
    return not name.startswith("[") or isinstance(_address(name[1:-1]), IPv6Address)


def _split(host: str) -> tuple[str, str]:
    """Name and port of a valid host; the port is empty where there is none."""
    match = _HOST.fullmatch(host)
    return (match["name"], match["port"] or "") if match else (host, "")


def _without_default_port(scheme: str, host: str) -> str:
    """The normal form of a valid host (RFC 9110 section 4.2.3)."""
    name, port = _split(host)
    return name if port and int(port) == _DEFAULT_PORTS.get(scheme) else host


def _with_port(scheme: str, host: str, port: int | None) -> str:
    """A host with the port that a proxy declares, where the host has none.

    After a proxy that ends TLS, the next one often declares its own port: https on port 80 is not an address.
    """
    foreign = {number for name, number in _DEFAULT_PORTS.items() if name != scheme}
    if port is None or port in foreign or not valid_host(host) or _split(host)[1]:
        return host
    return f"{host}:{port}"


def _is_forwarded(scope: Scope) -> bool:
    """Whether a proxy has added something: most requests of a server without one need no more than this."""
    for name, _ in scope["headers"]:  # noqa: SIM110  # `any` with a generator takes four times as long
        if name[:12] == b"x-forwarded-" or name == b"forwarded":
            return True
    return False


def _header(scope: Scope, wanted: bytes) -> str:
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == wanted), "")


def _public(hops: list[_Hop], trusted: TrustedProxies) -> _Hop:
    """The request as the outermost trusted proxy received it: from the right-most address not trusted.

    Entries left of it came with the request, and anybody may have written them. A scheme or host that the
    outermost proxy does not declare is taken from the next one inwards.
    """
    found = _Hop(None)
    for hop in reversed(hops):
        found = _Hop(
            hop.address or found.address,
            hop.port if hop.address else found.port,
            hop.scheme or found.scheme,
            hop.host or found.host,
            hop.host_port or found.host_port,
        )
        if hop.address is None or hop.address not in trusted:
            break
    return found


def _apply(scope: Scope, public: _Hop) -> None:
    if public.address is not None:
        scope["client"] = (str(public.address), public.port)
    if public.scheme is not None:
        secure = public.scheme == "https"
        scope["scheme"] = {"websocket": "wss" if secure else "ws"}.get(scope["type"], public.scheme)
    original = _header(scope, b"host")
    host = _with_port(scope["scheme"], public.host or original, public.host_port)
    if host != original:
        others = [(name, value) for name, value in scope["headers"] if name != b"host"]
        scope["headers"] = [(b"host", host.encode("latin-1")), *others]


def _mount(scope: Scope, prefix: str) -> None:
    """Make `prefix` the root path, and the path begin with it.

    ASGI's path includes the root path. Were it left out, routing would take the `/files` of a server that is
    published under `/files` for the prefix.
    """
    old = scope.get("root_path", "")
    if not prefix or old == prefix:
        return
    scope["root_path"] = prefix
    scope["path"] = prefix + scope["path"].removeprefix(old)
    if scope.get("raw_path") is not None:
        scope["raw_path"] = prefix.encode("ascii") + scope["raw_path"].removeprefix(old.encode())


class _Headers:
    """The forwarded headers of one request."""

    def __init__(self, scope: Scope) -> None:
        self._values: dict[str, list[str]] = {}
        for raw, value in scope["headers"]:
            name = raw.decode("latin-1").lower()
            if name == "forwarded" or name.startswith("x-forwarded-"):
                self._values.setdefault(name, []).append(value.decode("latin-1"))

    def last(self, name: str) -> str:
        """The value by the nearest proxy, or an empty text."""
        items = self._list(name)
        return items[-1] if items else ""

    def hops(self) -> list[_Hop]:
        """One hop a proxy, the nearest last.

        Most proxies set X-Forwarded-* and pass the client's own `Forwarded` on unread; so that one counts
        only where none of the others is present.
        """
        keys = ("for", "proto", "host", "port")
        old = [self._list(f"x-forwarded-{name}") for name in keys]
        # A client could send X-Forwarded-Port through a proxy that sets only `Forwarded`.
        if not any(old[:3]) and ("forwarded" in self._values or not old[3]):
            return [_hop(pairs) for pairs in _forwarded(", ".join(self._values.get("forwarded", [])))]
        count = max(map(len, old))
        # Lists are aligned at the right. One that is shorter was set once, by the outermost proxy that did.
        padded = [[*[items[0] if items else ""] * (count - len(items)), *items] for items in old[1:]]
        sources = [*[""] * (count - len(old[0])), *old[0]]
        return [_hop(dict(zip(keys, values, strict=True))) for values in zip(sources, *padded, strict=True)]

    def _list(self, name: str) -> list[str]:
        joined = ",".join(self._values.get(name, []))
        return [item.strip() for item in joined.split(",")] if joined.strip() else []


def _hop(pairs: dict[str, str]) -> _Hop:
    address, port = _node(pairs.get("for", ""))
    scheme = pairs.get("proto", "").lower()
    host = pairs.get("host", "")
    own = pairs.get("port", "")
    own_port = int(own) if re.fullmatch(r"[0-9]{1,5}", own) and 0 < int(own) <= 65535 else None
    known = scheme if scheme in _DEFAULT_PORTS else None
    return _Hop(address, port, known, host if valid_host(host) else None, own_port)


def _forwarded(text: str) -> Iterator[dict[str, str]]:
    """The elements of a Forwarded header; none at all when any part of it is malformed."""
    elements: list[dict[str, str]] = [{}]
    position = 0
    while position < len(text):
        match = _PAIR.match(text, position)
        if match is None:
            return
        name, value, end = match[1], match[2], match[3] or match[4]
        if name is not None:
            elements[-1][name.lower()] = re.sub(r"\\(.)", r"\1", value[1:-1]) if value[0] == '"' else value
        if end == ",":
            elements.append({})
        position = match.end()
    yield from (element for element in elements if element)


def _node(text: str) -> tuple[Address | None, int]:
    """Address and port of a client: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1` or `[2001:db8::1]:80`."""
    whole = _address(text)
    if whole is not None:
        return whole, 0
    match = re.fullmatch(r"(?:\[([^\]]*)\]|([0-9.]+))(?::([0-9]{1,5}))?", text)
    if match is None:
        return None, 0
    return _address(match[1] or match[2] or ""), int(match[3] or 0)


def _prefix(text: str) -> str:
    prefix = text.rstrip("/")
    segments = prefix.split("/")
    return prefix if re.fullmatch(_PREFIX, prefix) and not {".", ".."} & set(segments) else ""


@lru_cache(1024)  # the current peers; each of their requests needs this
def _address(text: str) -> Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped  # a socket for both families shows an IPv4 peer in this form
    return address
