"""Requests of a client that expects everything: one connection, kept while it works, and answers or none.

Rule: it tells what came back and judges nothing, but for answers that no server may ever give.
"""

import http.client
import io
import json
import socket
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from tests.soak.upload_records import UploadRecords

TIMEOUT = 45.0
BUSY = {408, 409, 423, 429, 500, 502, 503, 504, 507}


class LostError(Exception):
    """No answer came."""


@dataclass(frozen=True)
class Origin:
    """Where a server can be reached. `is_proxy` may answer 502 and 504 of its own."""

    url: str
    name: str
    certificate: str = ""

    @property
    def is_proxy(self) -> bool:
        return bool(self.certificate)


@dataclass(frozen=True)
class Reply:
    """A final answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """The code of a refusal, on the tus mount or in the documented API."""
        if self.headers.get("content-type", "").startswith("application/json"):
            try:
                return str(json.loads(self.body).get("code", ""))
            except ValueError:
                return ""
        return self.body.decode(errors="replace").partition(":")[0][:40]


class _Lines(io.BufferedReader):
    """An answer that ends in the middle of a line was cut; http.client would take what is there for all of it."""

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        if not line.endswith(b"\n"):
            raise ConnectionResetError
        return line


class _Answer(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, debuglevel: int = 0, method: str | None = None, url: str | None = None):
        super().__init__(sock, debuglevel, method, url)
        self.fp: io.BufferedReader = _Lines(self.fp.detach())


class Wire:
    """One connection to one origin at a time; use it with `with`."""

    def __init__(self, origin: Origin, records: UploadRecords) -> None:
        self.origin = origin
        self._records = records
        self._connection: http.client.HTTPConnection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """With FIN."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def ask(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | Iterable[bytes] | None = None
    ) -> Reply:
        """One request. Raises `LostError`; then nobody knows what became of it."""
        connection = self._connection or self._connect()
        self._connection = connection
        try:
            reply = self._exchange(connection, method, path, headers, body)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            self._records.count("requests without an answer")
            raise LostError(type(error).__name__) from None
        if reply.headers.get("connection", "").lower() == "close":
            self.close()
        self._judge(method, path, reply)
        return reply

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | Iterable[bytes] | None,
    ) -> Reply:
        whole = True
        try:
            connection.request(method, path, body, dict(headers))
        except (BrokenPipeError, ConnectionResetError):
            whole = False  # the answer may have come before the end of the body
        response = connection.getresponse()
        reply = Reply(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
        if not whole:
            self.close()
        return reply

    def _judge(self, method: str, path: str, reply: Reply) -> None:
        route = "/".join(path.split("?")[0].split("/")[: 4 if path.startswith("/api") else 2])
        outcome = f"{method} {route} {reply.status}"
        self._records.status(f"{outcome} {reply.code}" if reply.status >= 400 and method != "HEAD" else outcome)
        allowed = {503, 507} | ({502, 504} if self.origin.is_proxy else set())
        if reply.status >= 500 and reply.status not in allowed:
            self._records.violation(f"{outcome} {reply.code}: request {reply.headers.get('x-request-id')}")

    def _connect(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.origin.url)
        host, port = parts.hostname or "", parts.port or 80
        if self.origin.certificate:
            context = ssl.create_default_context(cafile=self.origin.certificate)
            made: http.client.HTTPConnection = http.client.HTTPSConnection(host, port, timeout=TIMEOUT, context=context)
        else:
            made = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
        made.response_class = _Answer
        return made
