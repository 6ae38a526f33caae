"""One HTTP/1.1 connection, with what a library of HTTP clients hides: interim answers, and requests that break off.

Rule: it follows no redirect, repeats nothing and uses no proxy of the environment. Every wait has an end.
"""

import contextlib
import re
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import h11

SECONDS = 10.0
"""How long an answer may take."""

_MOST_BODY = 256 << 10
_PIECE = 64 << 10
_IS_NUMBER = re.compile(r"[0-9]{1,18}").fullmatch


class NoAnswerError(OSError):
    """The connection ended, or was silent, before an answer came. `interim` are the 1xx that did come."""

    def __init__(self, reason: str, interim: tuple[int, ...] = ()) -> None:
        super().__init__(reason)
        self.interim = interim


@dataclass(frozen=True)
class Answer:
    """A final answer. `interim` are the statuses of the 1xx before it; `body` has at most 256 KiB."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""
    interim: tuple[int, ...] = ()

    def get(self, name: str) -> str | None:
        """The first value of a header."""
        return next(iter(self.all(name)), None)

    def all(self, name: str) -> list[str]:
        """All values of a header, a field line each."""
        return [value for known, value in self.headers if known == name.lower()]

    def number(self, name: str) -> int | None:
        """The first value of a header, when it is a number of at most 18 digits."""
        text = self.get(name) or ""
        return int(text) if _IS_NUMBER(text) else None

    @property
    def is_ours(self) -> bool:
        """Whether Videodock made it, and not what stands in front."""
        return self.get("Tus-Resumable") is not None or self.get("X-Request-ID") is not None

    @property
    def code(self) -> str:
        """The code of a refusal of the tus routes, `code: sentence`; empty for other answers."""
        code, colon, _ = self.body.decode("utf-8", "replace").partition(": ")
        return code if colon and self.is_ours and code.replace("_", "").isalpha() else ""

    @property
    def sentence(self) -> str:
        """Its first line, for people."""
        return self.body.decode("utf-8", "replace").strip().partition("\n")[0][:200]


@dataclass(frozen=True)
class Address:
    """Where the public address leads. `context` is None for plain http."""

    scheme: str
    host: str
    port: int
    context: ssl.SSLContext | None

    @property
    def authority(self) -> str:
        """The value of `Host`."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == {"http": 80, "https": 443}[self.scheme] else f"{name}:{self.port}"

    def connect(self, *protocols: str) -> socket.socket:
        """A connection that offers these protocols by ALPN. Raises `OSError`; `ssl.SSLError` is one."""
        plain = socket.create_connection((self.host, self.port), timeout=SECONDS)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.context is None:
            return plain
        try:
            # A context of its own: what is offered by ALPN belongs to the context.
            self.context.set_alpn_protocols(list(protocols))
            return self.context.wrap_socket(plain, server_hostname=self.host)
        except OSError:
            plain.close()
            raise


class Connection:
    """A connection for one request. Use it as a context manager; leaving it cuts what is still under way."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._socket = address.connect("http/1.1")
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=256 << 10)
        self._interim: list[int] = []
        self._early: h11.Response | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._socket.close()

    def head(self, method: str, path: str, headers: Mapping[str, str]) -> None:
        """Send the head of a request."""
        pairs = [("Host", self._address.authority), ("Connection", "close"), *headers.items()]
        if not any(name.lower() == "content-length" for name in headers) and method in ("POST", "PATCH"):
            pairs.append(("Content-Length", "0"))
        self._send(h11.Request(method=method, target=path, headers=pairs))

    def data(self, body: bytes) -> None:
        """Send bytes of the body. What the other side says meanwhile is kept; it may have closed already."""
        for start in range(0, len(body), _PIECE):
            try:
                self._send(h11.Data(data=body[start : start + _PIECE]))
            except OSError:
                return  # the answer says why, if there is one

    def end(self) -> None:
        """End the request, unless the other side took no more of it: its answer says why."""
        with contextlib.suppress(OSError, h11.LocalProtocolError):
            self._send(h11.EndOfMessage())

    def interim(self, seconds: float) -> bool:
        """Wait for a 1xx; False when a final answer came first, or nothing."""
        try:
            event = self._next(time.monotonic() + seconds)
        except (OSError, h11.RemoteProtocolError):
            return False
        if isinstance(event, h11.InformationalResponse):
            self._interim.append(event.status_code)
            return True
        if isinstance(event, h11.Response):
            self._early = event
        return False

    def answer(self, seconds: float = SECONDS) -> Answer:
        """The final answer. Raises `NoAnswerError`."""
        deadline, body, found = time.monotonic() + seconds, b"", self._early
        try:
            while True:
                event = self._next(deadline)
                if isinstance(event, h11.InformationalResponse):
                    self._interim.append(event.status_code)
                elif isinstance(event, h11.Response):
                    found = event
                elif isinstance(event, h11.Data):
                    body += bytes(event.data)
                if isinstance(event, h11.EndOfMessage | h11.ConnectionClosed) or len(body) > _MOST_BODY:
                    break
        except (OSError, h11.RemoteProtocolError) as error:
            if found is None:
                raise NoAnswerError(_reason(error), tuple(self._interim)) from None
        if found is None:
            raise NoAnswerError("the connection was closed", tuple(self._interim))
        headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in found.headers)
        return Answer(found.status_code, headers, body, tuple(self._interim))

    def _send(self, event: h11.Event) -> None:
        data = self._http.send(event)
        if data:
            self._socket.sendall(data)

    def _next(self, deadline: float) -> h11.Event:
        while True:
            event = self._http.next_event()
            left = deadline - time.monotonic()
            if left <= 0:  # also where interim answers come without end
                raise TimeoutError
            if event is h11.NEED_DATA:
                self._socket.settimeout(left)
                self._http.receive_data(self._socket.recv(_PIECE))
            elif event is h11.PAUSED:
                raise NoAnswerError("the connection changed its protocol")
            elif isinstance(event, h11.Event):
                return event


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "silence"
    if isinstance(error, h11.RemoteProtocolError):
        return f"an answer that is not HTTP/1.1 ({error})"
    return str(getattr(error, "strerror", None) or error)
