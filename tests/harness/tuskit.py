"""A replay of TUSKit 3, the tus client of iOS: what it sends, and what it believes.

Rule: it knows no more of the protocol than TUSKit does. It never looks at the status of an answer, only at Location,
Upload-Offset and Upload-Length; a task that failed is started again at once, up to three times in a row, just as it
was, stale offset included. Names in brackets are those of TUSKit's classes.
"""

import base64
import select
import socket
import struct
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from tests.harness.cutting_proxy import PIECE, CuttingProxy

CHUNK = 500 * 1024
TIME_LIMIT = 30.0
RETRIES = 3

Task = Callable[[], "Task | None"]


class UploadFailedError(Exception):
    """TUSKit gave up; the app may ask it to try again."""


class UnexpectedAnswerError(Exception):
    """An answer without the one header that was looked for, or with an offset that does not move."""


@dataclass(frozen=True)
class Exchange:
    """A request, and the offset in its answer; both offsets are bytes. `status` is for tests, not for TUSKit."""

    method: str
    offset: int
    status: int
    answer_offset: int | None


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]

    def number(self, name: str) -> int | None:
        """A header as TUSKit reads numbers: digits, or it is not there."""
        value = self.headers.get(name, "")
        return int(value) if value.isdecimal() else None


class TUSKit:
    """One upload. It is TUSKit's own copy of the file that is sent, under a UUID and the original name.

    `endpoint` is where it creates, if not on the mount of `origin`.
    """

    def __init__(
        self, origin: str, source: Path, folder: Path, *, time_limit: float = TIME_LIMIT, endpoint: str = ""
    ) -> None:
        identity = uuid.uuid4()
        self.file = folder / f"{str(identity).upper()}{source.name}"
        self.file.hardlink_to(source)
        self.url = ""
        self.offset = 0
        self.finished = False
        self.exchanges: list[Exchange] = []
        self.failures = 0
        self._size = source.stat().st_size
        self._endpoint = endpoint or f"{origin}/files"
        self._time_limit = time_limit
        self._next: Task | None = self._create
        self._socket: socket.socket | None = None
        # A Swift dictionary has no order, so neither have the metadata.
        self._is_turned = identity.int % 2 == 1

    def run(self, *, pause_at: int | None = None) -> None:
        """Upload, or go on after a pause. Raises `UploadFailedError`."""
        errors = 0
        try:
            while self._next is not None and (pause_at is None or self.offset < pause_at):
                try:
                    self._next = self._next()
                except (OSError, UnexpectedAnswerError) as error:
                    self._close()
                    self.failures += 1
                    errors += 1
                    if errors > RETRIES:
                        raise UploadFailedError(self.exchanges[-RETRIES:]) from error
                else:
                    errors = 0
        finally:
            self._close()

    def retry(self) -> None:
        """What an app asks for after a failure, or TUSKit itself after a start of the app: HEAD, then go on."""
        self._next = self._look if self.url else self._create
        self.run()

    def _create(self) -> Task | None:
        """[CreationTask] Everything but Location is ignored."""
        pairs = {"filename": self.file.name, "filetype": "video/mp4"}
        keys = sorted(pairs, reverse=self._is_turned)
        # The space behind the comma is TUSKit's.
        metadata = ", ".join(f"{key} {base64.b64encode(pairs[key].encode()).decode()}" for key in keys)
        headers = {"Upload-Extension": "creation", "Upload-Length": str(self._size), "Upload-Metadata": metadata}
        location = self._ask("POST", self._endpoint, headers, b"").headers.get("location")
        if location is None:
            raise UnexpectedAnswerError("couldNotRetrieveLocation")
        self.url = urljoin(self._endpoint, location)
        return partial(self._send, 0, min(CHUNK, self._size))

    def _look(self) -> Task | None:
        """[StatusTask]"""
        answer = self._ask("HEAD", self.url, {}, b"")
        length, offset = answer.number("upload-length"), answer.number("upload-offset")
        if length is None or offset is None:
            raise UnexpectedAnswerError("couldNotFetchStatus")
        if length != self._size or offset > self._size:
            raise UnexpectedAnswerError("fileSizeMismatchWithServer")
        self.offset = offset
        if offset == self._size:
            self.finished = True
            return None
        return partial(self._send, offset, min(offset + CHUNK, self._size))

    def _send(self, start: int, end: int) -> Task | None:
        """[UploadDataTask] One chunk; whatever the status, Upload-Offset is where the server is."""
        with self.file.open("rb") as file:
            file.seek(start)
            body = file.read(end - start)
        headers = {"Content-Type": "application/offset+octet-stream", "Upload-Offset": str(start)}
        received = self._ask("PATCH", self.url, headers, body, start).number("upload-offset")
        if received is None:
            raise UnexpectedAnswerError("couldNotRetrieveOffset")
        before, self.offset = self.offset, received
        if received == self._size:
            self.finished = True
            return None
        if received == before:
            raise UnexpectedAnswerError("receivedUnexpectedOffset")
        return partial(self._send, received, min(received + end - start, self._size))

    def _ask(self, method: str, url: str, headers: dict[str, str], body: bytes, offset: int = 0) -> Answer:
        parts = urlsplit(url)
        lines = {"Host": parts.netloc, "TUS-Resumable": "1.0.0"} | headers
        if method != "HEAD":
            lines["Content-Length"] = str(len(body))
        lines |= {
            "Accept": "*/*",
            "Accept-Language": "zh-CN,zh-Hans;q=0.9",
            "Accept-Encoding": "gzip, deflate",
            "User-Agent": "App/1 CFNetwork/1490.0.4 Darwin/23.2.0",
            "Connection": "keep-alive",
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        if self._socket is None:
            address = (parts.hostname or "", parts.port or 80)
            self._socket = socket.create_connection(address, timeout=self._time_limit)
        whole = _write(self._socket, f"{method} {parts.path} HTTP/1.1\r\n{head}\r\n".encode() + body, self._time_limit)
        answer = _read(self._socket, method, self._time_limit)
        if not whole or answer.headers.get("connection", "").lower() == "close":
            self._close()
        self.exchanges.append(Exchange(method, offset, answer.status, answer.number("upload-offset")))
        return answer

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class LosingProxy(CuttingProxy):
    """Loses answers: one that says `Upload-Offset: N` is swallowed, and its connection cut, for each N of `lost`."""

    def __init__(self, port: int, *, lost: Iterable[int]) -> None:
        super().__init__(port)
        self.lost = list(lost)

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        while not self._closing:
            readable, _, _ = select.select([client, server], [], [], 0.1)
            if server in readable:
                data = server.recv(PIECE)
                if not data:
                    return
                if self.lost and f"upload-offset: {self.lost[0]}\r\n".encode() in data.lower():
                    self.lost.pop(0)
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    return
                client.sendall(data)
            if client in readable and not self._upward(client, server):
                return


def _write(connection: socket.socket, data: bytes, time_limit: float) -> bool:
    """Send all; False when the answer came before the end, as URLSession reads it then."""
    view = memoryview(data)
    while view:
        readable, writable, _ = select.select([connection], [connection], [], time_limit)
        if readable:
            return False
        if not writable:
            raise TimeoutError
        view = view[connection.send(view[: 1 << 16]) :]
    return True


def _read(connection: socket.socket, method: str, time_limit: float) -> Answer:
    deadline = time.monotonic() + time_limit
    data = b""
    while True:
        while b"\r\n\r\n" not in data:
            data += _receive(connection, deadline)
        head, _, data = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        status = int(first.split(" ")[1])
        if status >= 200:
            break
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = 0 if method == "HEAD" or status == 204 else int(headers.get("content-length", "0"))
    while len(data) < length:
        data += _receive(connection, deadline)
    return Answer(status, headers)


def _receive(connection: socket.socket, deadline: float) -> bytes:
    connection.settimeout(max(0.001, deadline - time.monotonic()))
    data = connection.recv(PIECE)
    if not data:
        raise ConnectionResetError
    return data
