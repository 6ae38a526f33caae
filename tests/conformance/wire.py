"""HTTP as bytes: a client that sends exactly what a case says and hides nothing of what comes back.

Rule: every wait ends with the case's deadline, so that no server can hold up the suite.
"""

import contextlib
import re
import socket
import ssl
import struct
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

Headers = Mapping[str, str] | Sequence[tuple[str, str]]


class ClosedError(Exception):
    """The server closed the connection, or reset it, where an answer was due."""


class NoHttpError(Exception):
    """What came back is not HTTP/1.1."""


class Deadline:
    """A moment that all waits of one case share."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds that are left; raises `TimeoutError` when there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def pause(self, seconds: float) -> None:
        """Sleep, and raise `TimeoutError` rather than oversleep."""
        left = self.left()
        time.sleep(min(seconds, left))


@dataclass(frozen=True)
class Answer:
    """One final answer; header names in lower case. `interim` are the 1xx statuses that came before it."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    interim: tuple[int, ...] = ()


@dataclass(frozen=True)
class Origin:
    """Where a server listens."""

    secure: bool
    name: str
    port: int

    @classmethod
    def of(cls, url: str) -> "Origin":
        """From an absolute URL; raises `ValueError` for one that is no http(s) URL."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("a URL begins with http:// or https:// and a host")
        secure = parts.scheme == "https"
        return cls(secure, parts.hostname, parts.port or (443 if secure else 80))

    def connect(self, seconds: float) -> socket.socket:
        """A new TCP (and TLS) connection."""
        made = socket.create_connection((self.name, self.port), timeout=seconds)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.secure:
            return ssl.create_default_context().wrap_socket(made, server_hostname=self.name)
        return made


def request(method: str, target: str, headers: Headers, body: bytes | None = None) -> bytes:
    """The bytes of one request; Content-Length is added when there is a body and no other length."""
    fields = list(headers.items() if isinstance(headers, Mapping) else headers)
    names = {name.lower() for name, _ in fields}
    if body is not None and not {"content-length", "transfer-encoding"} & names:
        fields.append(("Content-Length", str(len(body))))
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields), "", ""]
    return "\r\n".join(lines).encode("latin-1") + (body or b"")


def chunked(pieces: Iterable[bytes], *, trailers: Mapping[str, str] | None = None) -> bytes:
    """A whole body in chunks (RFC 9112 section 7.1), with its trailer fields."""
    body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces if piece)
    fields = "".join(f"{name}: {value}\r\n" for name, value in (trailers or {}).items())
    return body + b"0\r\n" + fields.encode("latin-1") + b"\r\n"


class Connection:
    """One connection; its waits end with the deadline."""

    def __init__(self, origin: Origin, deadline: Deadline) -> None:
        self._deadline = deadline
        self._socket = origin.connect(deadline.left())
        self._buffer = b""

    def send(self, data: bytes) -> None:
        """Send all of it; raises `ClosedError` when the server is gone."""
        self._socket.settimeout(self._deadline.left())
        try:
            self._socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            raise ClosedError from None

    def offer(self, data: bytes) -> bool:
        """Send as much as the server takes; False when it is gone, which may be what is wanted."""
        try:
            self.send(data)
        except ClosedError:
            return False
        return True

    def wait(self, seconds: float) -> bool:
        """Whether there is something to read within so many seconds; the end of the connection counts."""
        if self._buffer:
            return True
        self._socket.settimeout(min(seconds, self._deadline.left()))
        with contextlib.suppress(TimeoutError):
            return self._peek()
        return False

    def answer(self, *, head: bool = False) -> Answer:
        """Read one answer, not a byte more; `head` tells that it has no body because HEAD was asked."""
        interim: list[int] = []
        while True:
            status, headers = self.head()
            if status >= 200:
                break
            interim.append(status)
        body = b"" if head or status in (204, 304) else self._read_body(headers)
        return Answer(status, headers, body, tuple(interim))

    def head(self) -> tuple[int, dict[str, str]]:
        """Read the next head, be it interim or final."""
        while b"\r\n\r\n" not in self._buffer:
            self._more()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        match = re.match(r"HTTP/1\.[01] (\d{3})", first)
        if match is None:
            raise NoHttpError
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            key = name.lower()
            headers[key] = f"{headers[key]}, {value.strip()}" if key in headers else value.strip()
        return int(match[1]), headers

    def reset(self) -> None:
        """Close with RST, as a crashed client's kernel does."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def close(self) -> None:
        """Close with FIN."""
        self._socket.close()

    def _peek(self) -> bool:
        # The end of the connection is something to be read, too.
        with contextlib.suppress(ConnectionResetError):
            self._buffer += self._socket.recv(1 << 16)
        return True

    def _more(self) -> None:
        self._socket.settimeout(self._deadline.left())
        try:
            data = self._socket.recv(1 << 16)
        except ConnectionResetError:
            raise ClosedError from None
        if not data:
            raise ClosedError
        self._buffer += data

    def _read_body(self, headers: Mapping[str, str]) -> bytes:
        if "chunked" in headers.get("transfer-encoding", "").lower():
            return self._read_chunks()
        if "content-length" in headers:
            return self._take(int(headers["content-length"]))
        with contextlib.suppress(ClosedError):
            while True:
                self._more()
        return self._take(len(self._buffer))

    def _read_chunks(self) -> bytes:
        body = b""
        while True:
            while b"\r\n" not in self._buffer:
                self._more()
            line, _, self._buffer = self._buffer.partition(b"\r\n")
            size = int(line.partition(b";")[0], 16)
            body += self._take(size)
            self._take(2)
            if size == 0:
                return body

    def _take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._more()
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken
