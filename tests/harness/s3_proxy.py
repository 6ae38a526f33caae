"""An HTTP proxy before an object store: requests that a test names are cut, answered wrongly, or never answered.

Rule: everything else passes unchanged, so signatures hold.
"""

import contextlib
import http.client
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from tests.harness.waiting import PATIENCE


class Operation(Enum):
    """What a request asks of the store."""

    BEGIN = auto()
    PUT_PART = auto()
    COMPLETE = auto()
    PUT = auto()
    DELETE = auto()
    LIST_PARTS = auto()
    OTHER = auto()


@dataclass(frozen=True)
class Cut:
    """The connection is reset after so many bytes of the body."""

    after: int


@dataclass(frozen=True)
class Say:
    """The client gets this answer; `is_done` says whether the store has got the request."""

    status: int
    code: str
    is_done: bool = False


class Hang:
    """No answer comes before the proxy ends, and the store does not get the request."""


Action = Cut | Say | Hang | None
Rule = Callable[[Operation], Action]


class FaultyS3:
    """Forwards to a port of this machine what `rule` lets pass. Its `endpoint` is for the setting `store`."""

    def __init__(self, port: int, rule: Rule) -> None:
        self.port = port
        self.rule = rule
        self.seen: list[Operation] = []
        self.ended = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self))
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(PATIENCE)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, proxy: FaultyS3, *args: Any) -> None:
        self._proxy = proxy
        super().__init__(*args)

    def __getattr__(self, name: str) -> Callable[[], None]:
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""

    def _serve(self) -> None:
        self._body_size = int(self.headers.get("Content-Length", 0))
        operation = _operation(self.command, self.path)
        self._proxy.seen.append(operation)
        with contextlib.suppress(OSError, http.client.HTTPException):
            self._act(self._proxy.rule(operation))
            return
        self._reset()

    def _act(self, action: Action) -> None:
        match action:
            case None:
                self._answer(*self._forward())
            case Say(status, code, is_done):
                if is_done:
                    self._forward()
                else:
                    self.rfile.read(self._body_size)
                body = f"<Error><Code>{code}</Code><Message>-</Message></Error>"
                self._answer(status, [], body.encode())
            case Cut(after):
                self.rfile.read(after)
                self._reset()
            case Hang():
                self._proxy.ended.wait()
                self._reset()

    def _forward(self) -> tuple[int, list[tuple[str, str]], bytes]:
        body = self.rfile.read(self._body_size)
        connection = http.client.HTTPConnection("127.0.0.1", self._proxy.port, timeout=PATIENCE)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() != "expect":
                    connection.putheader(name, value)
            connection.endheaders(body or None)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        given = {name.lower(): value for name, value in headers}
        length = given.get("content-length", "0") if self.command == "HEAD" else str(len(body))
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True


def _operation(method: str, target: str) -> Operation:
    given = set(parse_qs(urlsplit(target).query, keep_blank_values=True))
    match method:
        case "PUT":
            return Operation.PUT_PART if "partNumber" in given else Operation.PUT
        case "POST" if "uploads" in given:
            return Operation.BEGIN
        case "POST" if "uploadId" in given:
            return Operation.COMPLETE
        case "POST" if "delete" in given:
            return Operation.DELETE
        case "DELETE" if "uploadId" not in given:
            return Operation.DELETE
        case "GET" if "uploadId" in given:
            return Operation.LIST_PARTS
    return Operation.OTHER


def once(operation: Operation, *actions: Action) -> Rule:
    """The first requests of this operation meet these, one each."""
    left, lock = list(actions), threading.Lock()

    def rule(found: Operation) -> Action:
        with lock:
            return left.pop(0) if left and found is operation else None

    return rule


def nothing(_: Operation) -> Action:
    """All pass."""
    return None
