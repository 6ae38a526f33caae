"""A server of somebody else, which Videodock asks: it answers as a test wants, or hangs, drips, redirects and floods.

Rule: it speaks through a plain socket, so that it can be as wrong as real servers are.
"""

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True)
class Asked:
    """A request that came. Names of headers are in lower case; `lines` are the head as it was."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    lines: tuple[str, ...]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Behaviour = Callable[["Backend", socket.socket, Asked], None]


class Backend:
    """Serves on a port of 127.0.0.1 as long as it is open; `behaviour` may be replaced meanwhile."""

    def __init__(self, behaviour: Behaviour, tls: ssl.SSLContext | None = None) -> None:
        self.behaviour = behaviour
        self.asked: list[Asked] = []
        self.connections = 0
        self.closed = threading.Event()
        self._tls = tls
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = int(self._listener.getsockname()[1])
        self._start(self._accept)

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/asked"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.closed.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(20)

    def _start(self, work: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._start(self._serve, connection)

    def _serve(self, plain: socket.socket) -> None:
        with contextlib.suppress(OSError), plain:
            plain.settimeout(20)
            if self._tls is None:
                self._answer(plain)
                return
            with self._tls.wrap_socket(plain, server_side=True) as connection:
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        asked = _read(connection)
        self.asked.append(asked)
        self.behaviour(self, connection, asked)


def _read(connection: socket.socket) -> Asked:
    data = b""
    while b"\r\n\r\n" not in data:
        data += _some(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", "0")):
        body += _some(connection)
    return Asked(method, path, headers, body, tuple(lines))


def _some(connection: socket.socket) -> bytes:
    piece = connection.recv(1 << 16)
    if not piece:
        raise ConnectionResetError
    return piece


def answers(status: int, body: object = b"", **headers: str) -> Behaviour:
    """Answers at once; what is no bytes is sent as JSON. `_` in the name of a header is a hyphen."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {"Content-Type": "text/plain" if isinstance(body, bytes) else "application/json"}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    named.setdefault("Content-Length", str(len(raw)))
    head = f"HTTP/1.1 {status} Said\r\n" + "".join(f"{name}: {value}\r\n" for name, value in named.items()) + "\r\n"
    return sends(head.encode("latin-1") + raw)


def sends(raw: bytes) -> Behaviour:
    """Sends these bytes, whatever they are, and closes."""

    def send(_backend: Backend, connection: socket.socket, _asked: Asked) -> None:
        connection.sendall(raw)

    return send


def hangs(backend: Backend, _connection: socket.socket, _asked: Asked) -> None:
    """Takes the request and says nothing."""
    backend.closed.wait(20)


def drips(head: bytes) -> Behaviour:
    """Sends `head`, and then a byte every 0.05 s for 20 s: a time limit for each byte never passes."""

    def drip(backend: Backend, connection: socket.socket, _asked: Asked) -> None:
        connection.sendall(head)
        for _ in range(400):
            if backend.closed.wait(0.05):
                return
            connection.sendall(b"1")

    return drip


def floods(head: bytes, *, bytes_at_most: int = 1 << 30, piece: bytes = b" " * (1 << 16)) -> Behaviour:
    """Sends `head`, and then `piece` until there is 1 GB of them."""

    def flood(_backend: Backend, connection: socket.socket, _asked: Asked) -> None:
        connection.sendall(head)
        for _ in range(bytes_at_most // len(piece)):
            connection.sendall(piece)

    return flood
