"""Clients that cost less than any server: requests as bytes, bodies by `sendfile`, one thread a connection.

Rule: an answer that is not the expected one raises `ClientError`; nothing is ever sent twice.
"""

import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from bench.servers.base import Answer, ClientError, Server
from bench.source import Slice

TIMEOUT = 120  # seconds without a byte
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)


class Connection:
    """One keep-alive connection to a server on loopback; opened again when the server has closed it."""

    def __init__(self, port: int, timeout: float = TIMEOUT) -> None:
        self._port = port
        self._timeout = timeout
        self._socket: socket.socket | None = None

    def ask(self, head: bytes, send: Callable[[socket.socket], None] | None = None) -> Answer:
        """Send a request head, then let `send` add the body; the answer. Raises `ClientError`."""
        if self._socket is None:
            self._socket = connect(self._port, self._timeout)
        try:
            self._send(head, send)
            answer = self._read(is_head=head.startswith(b"HEAD "))
        except BlockingIOError:
            self.close()
            raise ClientError(f"nothing moved for {self._timeout:g} s") from None
        except OSError as error:
            self.close()
            raise ClientError(f"the connection broke: {error.strerror or error}") from None
        if answer.headers.get("connection", "").lower() == "close":
            self.close()
        return answer

    def close(self) -> None:
        """Close it, if it is open."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, head: bytes, send: Callable[[socket.socket], None] | None) -> None:
        assert self._socket is not None
        try:
            self._socket.sendall(head)
            if send is not None:
                send(self._socket)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the server may have refused early: its answer says why, or there is none

    def _read(self, *, is_head: bool) -> Answer:
        assert self._socket is not None
        data = b""
        while True:
            while not is_whole(data, is_head=is_head):
                more = self._socket.recv(1 << 16)
                if not more:
                    raise ConnectionResetError("the server closed without an answer")
                data += more
            if not data.startswith(b"HTTP/1.1 1"):
                return parse(data)
            data = data.partition(b"\r\n\r\n")[2]

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def connect(port: int, timeout: float = TIMEOUT) -> socket.socket:
    """A blocking socket with time limits of the kernel's: `sendfile` works on it without Python in between."""
    try:
        made = socket.create_connection(("127.0.0.1", port), timeout=timeout)
    except OSError as error:
        raise ClientError(f"cannot connect: {error.strerror or error}") from None
    made.setblocking(True)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    limit = struct.pack("ll", int(timeout), int(timeout % 1 * 1e6))
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
    return made


def is_whole(data: bytes, *, is_head: bool) -> bool:
    """Whether `data` is a whole answer."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return False
    status = data[9:12]
    if is_head or status in (b"204", b"304") or status.startswith(b"1"):
        return True
    length = _LENGTH.search(data, 0, end)
    if length:
        return len(data) >= end + 4 + int(length[1])
    return not _CHUNKED.search(data, 0, end) or data.endswith(b"\r\n0\r\n\r\n")


def parse(data: bytes) -> Answer:
    """The answer whose bytes are `data`."""
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    try:
        return Answer(int(first.split(" ")[1]), headers, body)
    except (IndexError, ValueError):
        raise ClientError(f"{first[:80]!r} is no answer") from None


@dataclass(frozen=True)
class Plan:
    """How the bytes of an upload are sent."""

    chunk: int  # bytes in a request; 0 is all in one
    checksum: bool = False


class Uploader:
    """One upload on one connection: `reckon`, `create`, then `run`; `answer` is the last one."""

    def __init__(self, server: Server, content: Slice, plan: Plan) -> None:
        self._server = server
        self._plan = plan
        self._connection = Connection(server.port)
        self.content = content
        self.target = ""
        self.answer: Answer | None = None

    def reckon(self) -> None:
        """Have the checksums ready."""
        if self._plan.checksum:
            for offset, length in self._parts():
                self.content.sha1(offset, length)

    @property
    def hash_seconds(self) -> float:
        """What hashing alone took for all of it; 0 without checksums."""
        known = self.content.source.hash_seconds
        return sum(known.get((self.content.start + offset, length), 0.0) for offset, length in self._parts())

    def create(self) -> None:
        """Make the upload; its time is not taken."""
        request = self._server.create_request(self.content.length)
        self.target = self._server.created(self._connection.ask(request) if request else None)

    def run(self) -> None:
        """Send all bytes."""
        content = self.content
        for offset, length in self._parts():
            more = {"Upload-Checksum": f"sha1 {content.sha1(offset, length)}"} if self._plan.checksum else {}
            head = self._server.append_request(self.target, offset, length, more)
            self.answer = self._connection.ask(head, partial(content.send, offset=offset, length=length))
            self._server.check_appended(self.answer, offset + length)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _parts(self) -> list[tuple[int, int]]:
        length = self.content.length
        chunk = self._plan.chunk or length
        return [(offset, min(chunk, length - offset)) for offset in range(0, length, chunk)]


class FormSender:
    """One form with one file on one connection."""

    def __init__(self, server: Server, content: Slice) -> None:
        self._server = server
        self._connection = Connection(server.port)
        self.content = content
        self.answer: Answer | None = None

    def run(self) -> None:
        """Send the form."""
        content = self.content
        boundary = "BenchBoundary7MA4YWxkTrZu0gW"
        start = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="videos"; filename="clip.mp4"\r\n'
            "Content-Type: video/mp4\r\n\r\n"
        ).encode()
        end = f"\r\n--{boundary}--\r\n".encode()

        def send(to: socket.socket) -> None:
            to.sendall(start)
            content.send(to, 0, content.length)
            to.sendall(end)

        head = self._server.form_request(boundary, len(start) + content.length + len(end))
        self.answer = self._connection.ask(head, send)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def together(runs: Sequence[Callable[[], None]]) -> float:
    """Run all at once, a thread each; the seconds until the last has ended. Raises the first error."""
    errors: list[Exception] = []
    start = threading.Barrier(len(runs) + 1)

    def one(run: Callable[[], None]) -> None:
        start.wait()
        try:
            run()
        except Exception as error:  # it is told to whoever waits
            errors.append(error)

    threads = [threading.Thread(target=one, args=(run,), daemon=True) for run in runs]
    for thread in threads:
        thread.start()
    start.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    if errors:
        raise errors[0]
    return seconds
