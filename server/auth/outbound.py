"""One request to another server, bounded in time and in size.

Rules:

- A request ends at its deadline, whatever the other server does: the look-up of its name, the connection, TLS and
  each byte count. The time limit of a socket alone starts anew with each byte.
- Redirects are not followed, and proxies of the environment are not used: the operator's URL is the only one asked.
- The text of `OutboundError` is for the log. It has nothing of the URL, the headers or the answer.
"""

import base64
import contextlib
import http.client
import io
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import cast
from urllib.parse import quote, unquote, urlsplit

from server.settings import TOKEN

_NAME = re.compile(TOKEN.encode())
# RFC 9110 section 5.5, without what ends a line or a text.
_VALUE = re.compile(rb"[\t -~\x80-\xff]*")
_PATH = "%/:?&=~+!$,;@'()*[]-._"
_PORTS = {"http": 80, "https": 443}
# The head and the framing of chunks count too: six bytes are the most for one of the body.
_HEAD_BYTES = 64 << 10
_MOST_FRAMING = 8
_LONGEST_TEXT = 100
_BODY_SECONDS = 1.0  # that the body of an answer may take of which only the beginning counts

# The system's look-up of a name has time limits of its own and cannot be interrupted; only its waiting caller can.
_resolvers = ThreadPoolExecutor(8, "resolve")


class OutboundError(Exception):
    """There is no answer. The text is for the log; `code` is one of timeout, address, name, network, tls, answer."""

    def __init__(self, text: str, code: str = "network") -> None:
        super().__init__(text)
        self.code = code


class _RefusedAddressError(OSError):
    """None of its addresses may be connected to."""

    def __init__(self) -> None:
        super().__init__("its address is not allowed")


Resolve = Callable[[str, int], "_Addresses"]
"""Looks up a name: `socket.getaddrinfo` for TCP."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Guard:
    """For a URL that is not the operator's own: which addresses may be connected to.

    The address is checked that the connection then has: a name that changes its address between a check and the
    connection gains nothing. `resolvers` are the threads that look up its name, so that slow names delay only their own
    kind.
    """

    allows: Callable[[str], bool]
    resolvers: ThreadPoolExecutor
    resolve: "Resolve | None" = None


@dataclass(frozen=True, repr=False)
class Target:
    """Where a request goes. `authorization` comes from a user and password in the URL."""

    scheme: str
    host: str
    port: int
    path: str
    authorization: bytes | None = None

    @classmethod
    def of(cls, url: str) -> "Target":
        """From an http or https URL. Raises `ValueError`, whose text does not have the URL."""
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ValueError("it is not an http or https URL with a host")
        try:
            host = parts.hostname if ":" in parts.hostname else parts.hostname.encode("idna").decode("ascii")
            port = parts.port or _PORTS[parts.scheme]
        except ValueError:
            raise ValueError("its host or port is not valid") from None
        path = quote(parts.path or "/", safe=_PATH) + ("?" + quote(parts.query, safe=_PATH) if parts.query else "")
        authorization = None
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            authorization = b"Basic " + base64.b64encode(pair)
        return cls(parts.scheme, host, port, path, authorization)

    @property
    def authority(self) -> str:
        """The value of Host (RFC 9110 section 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


@dataclass(frozen=True, repr=False)
class Answer:
    """A whole answer. `content_type` is in lower case and has no parameters; `retry_after` is the header as it came."""

    status: int
    content_type: str
    body: bytes
    retry_after: str | None = None


def request(
    target: Target,
    *,
    deadline: float,
    most: int,
    method: str = "GET",
    headers: Iterable[tuple[bytes, bytes]] = (),
    body: bytes = b"",
    context: ssl.SSLContext | None = None,
    guard: Guard | None = None,
    cut: bool = False,
) -> Answer:
    """Send one request, and read its answer of at most `most` bytes until `deadline` of `time.monotonic`. Blocking.

    `context` verifies the certificate of an https server; without one, the system's authorities and those of
    `SSL_CERT_FILE` do. A longer answer is an error, unless it may be `cut`: then its status counts, and its body is
    what came of it within a second, up to `most` bytes. Raises `OutboundError`.
    """
    try:
        head = _head(target, method, headers, len(body))
        with _connected(target, deadline, context, guard) as connection:
            wire = _Wire(connection, deadline, _MOST_FRAMING * most + _HEAD_BYTES)
            # A server may refuse before it has read the body; its answer still counts.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                wire.send(head + body)
            return _beginning(wire, method, most) if cut else _answer(wire, method, most)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise OutboundError(_reason(error), _code(error)) from None


def _head(target: Target, method: str, headers: Iterable[tuple[bytes, bytes]], size: int) -> bytes:
    own = [(b"Host", target.authority.encode()), (b"Connection", b"close"), (b"Accept-Encoding", b"identity")]
    if target.authorization is not None:
        own.append((b"Authorization", target.authorization))
    if size:
        own.append((b"Content-Length", b"%d" % size))
    lines = [f"{method} {target.path} HTTP/1.1".encode("ascii")]
    for name, value in (*own, *headers):
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ValueError("a header has characters that it cannot have")
        lines.append(name + b": " + value)
    return b"\r\n".join(lines) + b"\r\n\r\n"


@contextlib.contextmanager
def _connected(
    target: Target, deadline: float, context: ssl.SSLContext | None, guard: Guard | None
) -> Iterator[socket.socket]:
    with _connect(target, deadline, guard) as plain:
        if target.scheme == "http":
            yield plain
            return
        plain.settimeout(_left(deadline))  # for the whole handshake
        with (context or _default_context()).wrap_socket(plain, server_hostname=target.host) as connection:
            yield connection


def _connect(target: Target, deadline: float, guard: Guard | None) -> socket.socket:
    """A connection to the first address that takes one; each has its share of the time."""
    failure: OSError = OSError("its name has no address")
    addresses = _addresses(target, deadline, guard)
    if guard is not None and addresses:
        addresses = [entry for entry in addresses if guard.allows(entry[4][0])]
        if not addresses:
            raise _RefusedAddressError
    for count, (family, kind, protocol, _, address) in enumerate(addresses):
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(_left(deadline) / (len(addresses) - count))
            connection.connect(address)
        except OSError as error:
            connection.close()
            failure = error
        else:
            return connection
    raise failure


_Addresses = list[tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[str, int] | tuple[str, int, int, int]]]


def _addresses(target: Target, deadline: float, guard: Guard | None = None) -> _Addresses:
    with contextlib.suppress(socket.gaierror):  # not an address, but a name
        return cast(
            "_Addresses",
            socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST),
        )
    resolvers = _resolvers if guard is None else guard.resolvers
    resolve = _resolve if guard is None or guard.resolve is None else guard.resolve
    looking_up = resolvers.submit(resolve, target.host, target.port)
    try:
        return looking_up.result(_left(deadline))
    finally:
        looking_up.cancel()


def _resolve(host: str, port: int) -> _Addresses:
    return cast("_Addresses", socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))


@cache
def _default_context() -> ssl.SSLContext:
    return ssl.create_default_context()


class _Wire(io.RawIOBase):
    """A connection as `http.client` reads it, with the time and the bytes that are left."""

    def __init__(self, connection: socket.socket, deadline: float, most: int) -> None:
        self._connection = connection
        self._deadline = deadline
        self._most = most

    def end_by(self, deadline: float) -> None:
        """Read no longer than until then."""
        self._deadline = min(self._deadline, deadline)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        self._connection.settimeout(_left(self._deadline))
        count = self._connection.recv_into(buffer)
        self._most -= count
        if self._most < 0:
            raise ValueError("the answer is too large")
        return count

    def send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            self._connection.settimeout(_left(self._deadline))
            view = view[self._connection.send(view) :]


def _answer(wire: _Wire, method: str, most: int) -> Answer:
    response = http.client.HTTPResponse(cast("socket.socket", wire), method=method)
    with response:
        response.begin()
        if response.length is not None and response.length > most:
            raise ValueError("the answer is too large")
        body = response.read(most + 1)
        if len(body) > most:
            raise ValueError("the answer is too large")
        if response.length:
            raise ValueError("the answer ends before its end")
        is_plain = response.headers.get("Content-Encoding", "identity").strip().lower() == "identity"
        return Answer(response.status, response.headers.get_content_type(), body if is_plain else b"")


def _beginning(wire: _Wire, method: str, most: int) -> Answer:
    """The status, and the first bytes of the body."""
    response = http.client.HTTPResponse(cast("socket.socket", wire), method=method)
    with response:
        response.begin()
        wire.end_by(time.monotonic() + _BODY_SECONDS)
        body = b""
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            while len(body) < most and (piece := response.read1(most - len(body))):
                body += piece
        return Answer(response.status, response.headers.get_content_type(), body, response.headers.get("Retry-After"))


def _left(deadline: float) -> float:
    """Seconds until the deadline; raises `TimeoutError` when there are none."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _reason(error: Exception) -> str:
    """What went wrong, without anything that the other server sent."""
    if isinstance(error, TimeoutError):
        return "no whole answer came in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid: {error.verify_message}"[:_LONGEST_TEXT]
    if isinstance(error, ssl.SSLError):
        return "the TLS handshake failed"
    if isinstance(error, OSError):
        return str(error.strerror or error)[:_LONGEST_TEXT]
    if isinstance(error, http.client.HTTPException):
        return f"the answer is not HTTP: {type(error).__name__}"
    return str(error)[:_LONGEST_TEXT]


def _code(error: Exception) -> str:
    """The kind of what went wrong."""
    kinds: tuple[tuple[type[Exception], str], ...] = (
        (TimeoutError, "timeout"),
        (_RefusedAddressError, "address"),
        (socket.gaierror, "name"),
        (ssl.SSLError, "tls"),
        (OSError, "network"),
    )
    return next((code for kind, code in kinds if isinstance(error, kind)), "answer")
