"""The real app under a real uvicorn in a thread of the tests, and a client that sends exactly the bytes it is told.

Rule: nothing here knows tus or forms. The client hides nothing: interim answers, closed connections and resets are
what a test looks at.
"""

import contextlib
import os
import re
import socket
import struct
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import pytest
import uvicorn
from structlog.testing import capture_logs

from server.app import create_app
from server.serving.uvicorn_http import http_class
from server.settings import Settings
from server.storage.base import UploadStore
from tests.harness import description
from tests.harness.description import Seen
from tests.harness.held import held_locks
from tests.harness.migrated import migrate
from tests.harness.postgres import PostgresServer
from tests.harness.rows import execute, query, wait_until_received
from tests.harness.waiting import PATIENCE, until

TIMEOUT = PATIENCE
Headers = Mapping[str, str] | Sequence[tuple[str, str]]
Loop = Literal["auto", "asyncio", "uvloop"]


@dataclass(frozen=True)
class Answer:
    """One final answer; header names in lower case. `interim` are the 1xx statuses that came before it."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    interim: tuple[int, ...] = ()

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    @property
    def code(self) -> str:
        """The error code of a tus answer: what stands before the colon."""
        return self.text.partition(":")[0]


def pairs(headers: Headers) -> list[tuple[str, str]]:
    """Headers as pairs, in their order."""
    return list(headers.items() if isinstance(headers, Mapping) else headers)


def request(method: str, target: str, headers: Headers = (), body: bytes | None = None) -> bytes:
    """The bytes of one request; Content-Length is added when there is a body and no other length."""
    fields = pairs(headers)
    names = {name.lower() for name, _ in fields}
    if "host" not in names:
        fields.insert(0, ("Host", "videodock.test"))
    if body is not None and not {"content-length", "transfer-encoding"} & names:
        fields.append(("Content-Length", str(len(body))))
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields), "", ""]
    return "\r\n".join(lines).encode("latin-1") + (body or b"")


def chunked(pieces: Iterable[bytes], *, end: bool = True) -> bytes:
    """A body in chunks (RFC 9112 section 7.1); without `end` it is not over."""
    body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces if piece)
    return body + b"0\r\n\r\n" if end else body


_Asked = tuple[str, str, dict[str, str]]
_HEAD = re.compile(rb"([A-Z]+) (\S+) HTTP/1\.1\r\n((?:[^\r\n]+\r\n)*)\r\n")


def _asked(data: bytes) -> _Asked | None:
    """Method, target and headers of the request that these bytes begin with; None where the head is not whole."""
    found = _HEAD.match(data)
    if found is None:
        return None
    lines = found[3].decode("latin-1").splitlines()
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return found[1].decode(), found[2].decode("latin-1"), fields


class Connection:
    """One TCP connection. Every wait ends with `TimeoutError` when it is in vain."""

    _asked: _Asked | None = None
    """The request whose answer is compared with the description; None where several were sent."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        """Send all of it."""
        # Of several requests, or of one in pieces, it is not known which one an answer is of.
        self._asked = _asked(data) if self._asked is None else None
        self._socket.sendall(data)

    def answer(self, *, head: bool = False) -> Answer:
        """Read one answer, not a byte more; `head` tells that it has no body because HEAD was asked."""
        interim: list[int] = []
        while True:
            status, headers = self._read_head()
            if status >= 200:
                break
            interim.append(status)
        body = b"" if head or status in (204, 304) else self._read_body(headers)
        if self._asked is not None:
            description.compare(Seen(*self._asked, status, headers, body))
            self._asked = None
        return Answer(status, headers, body, tuple(interim))

    def read(self, count: int) -> bytes:
        """So many bytes, whatever they are."""
        return self._take(count)

    def ask(self, method: str, target: str, headers: Headers = (), body: bytes | None = None) -> Answer:
        """Send a request and read its answer."""
        self.send(request(method, target, headers, body))
        return self.answer(head=method == "HEAD")

    def ended(self) -> bool:
        """Wait until the server closes; whether it did so without sending anything more."""
        try:
            return self._buffer == b"" and self._socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def read_to_end(self) -> bytes:
        """What else comes; raises `ConnectionResetError` when the server ended with a reset."""
        while data := self._socket.recv(1 << 16):
            self._buffer += data
        return self._take(len(self._buffer))

    def readable(self) -> None:
        """Wait until there is something to read, and leave it there."""
        self._socket.recv(1, socket.MSG_PEEK)

    def half_close(self) -> None:
        """Send FIN and go on reading."""
        self._socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close with RST, as a crashed client's kernel does."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def close(self) -> None:
        """Close with FIN."""
        self._socket.close()

    def _more(self) -> None:
        data = self._socket.recv(1 << 16)
        if not data:
            raise ConnectionError(f"the server closed the connection in an answer, after {self._buffer[:200]!r}")
        self._buffer += data

    def _read_head(self) -> tuple[int, dict[str, str]]:
        while b"\r\n\r\n" not in self._buffer:
            self._more()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            key = name.lower()
            headers[key] = f"{headers[key]}, {value.strip()}" if key in headers else value.strip()
        return int(first.split(" ")[1]), headers

    def _read_body(self, headers: Mapping[str, str]) -> bytes:
        if headers.get("transfer-encoding") == "chunked":
            return self._read_chunks()
        return self._take(int(headers["content-length"]))

    def _read_chunks(self) -> bytes:
        body = b""
        while True:
            while b"\r\n" not in self._buffer:
                self._more()
            line, _, self._buffer = self._buffer.partition(b"\r\n")
            size = int(line, 16)
            body += self._take(size)
            self._take(2)
            if size == 0:
                return body

    def _take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._more()
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken


class LiveServer:
    """The app on a free port, with its data in `folder` and nobody who processes tasks; use it with `with`.

    It may be entered again after it was left: it goes on where it was. `store` is used instead of the disk; text is
    the setting.
    """

    def __init__(
        self,
        folder: Path,
        *,
        database_url: str = "",
        loop: Loop = "auto",
        store: UploadStore | str | None = None,
        **settings: Any,
    ) -> None:
        if isinstance(store, str):
            settings["store"], store = store, None
        # A test may think between two requests for longer than a client of today.
        patient = {"scheduler": "none", "shutdown_grace": 1, "keep_alive_timeout": 2 * PATIENCE}
        self.settings = Settings(data_dir=folder, database_url=database_url, **{**patient, **settings})
        self.data_dir = self.settings.data_dir
        self.database_url = self.settings.sqlalchemy_url
        self.port = 0
        self.store = store
        self._loop = loop
        self._is_migrated = False
        self._ends = contextlib.ExitStack()

    def __enter__(self) -> Self:
        # Its lines would go to the terminal, in between those of the tests.
        self._ends.enter_context(capture_logs())
        self.data_dir.mkdir(parents=True, exist_ok=True)
        if not self._is_migrated:
            migrate(self.database_url)
            self._is_migrated = True
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self._listener.getsockname()[1]
        config = uvicorn.Config(
            create_app(self.settings, self.store),
            http=http_class(self.settings),
            loop=self._loop,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=round(2 * PATIENCE),  # with `portable`
            timeout_graceful_shutdown=self.settings.shutdown_grace,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._listener],), daemon=True)
        self._thread.start()
        until(lambda: self._server.started or not self._thread.is_alive(), seconds=20, what="the app starts")
        assert self._thread.is_alive(), "the app did not start"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join(PATIENCE)
        self._listener.close()
        self._ends.close()
        assert not self._thread.is_alive(), "the app did not stop"

    @property
    def url(self) -> str:
        """Origin of the server, without a slash at its end."""
        return f"http://127.0.0.1:{self.port}"

    def connect(self) -> Connection:
        """A new connection."""
        return Connection(self.port)

    def ask(self, method: str, target: str, headers: Headers = (), body: bytes | None = None) -> Answer:
        """One request on a connection of its own."""
        with self.connect() as connection:
            return connection.ask(method, target, headers, body)

    def path(self, upload_id: str) -> Path:
        """Where the bytes of an upload lie."""
        if self.store is not None:
            return self.store.local_path(upload_id)
        return self.data_dir / "uploads" / upload_id[:2] / upload_id

    def stored(self, upload_id: str) -> bytes | None:
        """The bytes that the store has of an upload; None when there is no file."""
        try:
            return self.path(upload_id).read_bytes()
        except FileNotFoundError:
            return None

    def expire(self, upload_id: str, *, is_file: bool = True) -> None:
        """Let the last byte of an upload be of long ago, for its rows and for the file."""
        self.execute("UPDATE uploads SET expires_at = '2000-01-01 00:00:00.000000' WHERE id = :id", id=upload_id)
        if is_file:
            os.utime(self.path(upload_id), (0, 0))
        else:
            changed = "UPDATE s3_uploads SET modified_at = '2000-01-01 00:00:00.000000' WHERE upload_id = :id"
            self.execute(changed, id=upload_id)

    def quiet(self) -> None:
        """Wait until no connection is open and no request is worked on."""
        state = self._server.server_state
        until(lambda: not state.connections and not state.tasks, seconds=10, what="the server has nothing to do")

    def files(self) -> list[Path]:
        """Every file of an upload, on the disk."""
        return sorted(path for path in (self.data_dir / "uploads").rglob("[!.]*") if path.is_file())

    def locks(self) -> list[str]:
        """The locks that are held, as the kernel lists them."""
        return held_locks(self.data_dir)

    def row(self, upload_id: str) -> dict[str, Any]:
        """An upload's row."""
        (row,) = self.query("SELECT * FROM uploads WHERE id = :id", id=upload_id)
        return row

    def wait_until_received(self, upload_id: str, received: int) -> None:
        """Wait until the row of an open upload tells so many bytes: it hears of them once a second."""
        wait_until_received(self.database_url, upload_id, received)

    def query(self, sql: str, **parameters: object) -> list[dict[str, Any]]:
        """Rows of the server's database."""
        return query(self.database_url, sql, **parameters)

    def execute(self, sql: str, **parameters: object) -> None:
        """Change the server's database."""
        execute(self.database_url, sql, **parameters)


@contextlib.contextmanager
def serving(request: pytest.FixtureRequest, folder: Path, **settings: Any) -> Iterator[LiveServer]:
    """For a fixture of any scope with the parameters `sqlite` and `postgresql`: the app on a database of that kind."""
    if request.param == "sqlite":
        with LiveServer(folder, **settings) as made:
            yield made
        return
    cluster: PostgresServer = request.getfixturevalue("postgres_server")
    url = cluster.create_database()
    try:
        with LiveServer(folder, database_url=url, **settings) as made:
            yield made
    finally:
        cluster.drop_database(url)
