"""An ASGI application that sends files from their descriptors, and clients that are slow to take them."""

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

from starlette.types import Receive, Scope, Send

from server.serving.body_handover import FileOutlet
from server.transport.body import Pace
from server.transport.sendfile import FILES, FileSender, senders
from tests.harness.http import Connection, Loop, request
from tests.harness.waiting import PATIENCE, until
from tests.transport.handed import Handed
from tests.transport.pairs import MIB, NOISE

DATA = NOISE * 2  # more than the kernel keeps for one connection


class Files(Handed):
    """Answers with bytes of `file`, as the path says: pieces `<first byte>-<count>` or text, between slashes."""

    def __init__(self, loop: Loop, file: Path, *, certificate: Path | None = None) -> None:
        super().__init__(loop, certificate=certificate)
        self.file = file
        self.idle_seconds = 2 * PATIENCE
        self.rate = 0
        self.missing = 0  # by how much Content-Length is less than what comes
        self.senders: list[FileSender] = []
        self.ends: list[bool | type[BaseException]] = []
        self.clients: list[Connection] = []
        self.send_buffer = 0  # bytes of the kernel's, if not as many as it likes
        self.in_front: list[int] = []  # bytes that the server had still to write when the socket was let out

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # as ASGI has it
        pieces = [unquote(piece) for piece in scope["path"].split("/")[1:]]
        size = sum(piece_size(piece) for piece in pieces) - self.missing
        headers = [(b"content-length", b"%d" % size)]
        outlet: FileOutlet = scope["extensions"][FILES]
        self._watch(outlet)
        sender = FileSender(outlet, self.idle_seconds, Pace(self.rate, self.idle_seconds))
        self.senders.append(sender)
        file = os.open(self.file, os.O_RDONLY)
        try:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            for piece in pieces:
                if "-" not in piece:
                    await send({"type": "http.response.body", "body": text(piece), "more_body": True})
                elif not await sender.send(file, *map(int, piece.split("-"))):
                    self.ends.append(False)
                    return
            await send({"type": "http.response.body", "body": b""})
            self.ends.append(True)
        except BaseException as error:
            self.ends.append(type(error))
            raise
        finally:
            os.close(file)

    def _watch(self, outlet: FileOutlet) -> None:
        transport = outlet._owner.transport
        if self.send_buffer:
            with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as own:
                own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.send_buffer)
        take = outlet.take

        async def watched(count: int, lost: Callable[[], None]) -> int:
            descriptor = await take(count, lost)
            if descriptor >= 0:
                self.in_front.append(transport.get_write_buffer_size())
            return descriptor

        outlet.take = watched  # type: ignore[method-assign]


def text(piece: str) -> bytes:
    """What a piece of text stands for: itself, so often."""
    name, _, times = piece.partition("*")
    return name.encode() * int(times or 1)


def piece_size(piece: str) -> int:
    return int(piece.partition("-")[2]) if "-" in piece else len(text(piece))


def expected(path: str) -> bytes:
    found = b""
    for piece in path.split("/")[1:]:
        start, dash, count = piece.partition("-")
        found += DATA[int(start) : int(start) + int(count)] if dash else text(piece)
    return found


def close_all(files: Files) -> None:
    while files.clients:
        files.clients.pop().close()


def all_threads_are_free() -> None:
    """Have every thread that sends meet at one point: none of them has anything else to do."""
    together = threading.Barrier(senders._max_workers + 1)
    for _ in range(senders._max_workers):
        senders.submit(together.wait, PATIENCE)
    together.wait(PATIENCE)


def slowly(files: Files, path: str) -> Connection:
    """A request from a client whose kernel keeps little, and that has not read yet."""
    connection = Connection.__new__(Connection)
    connection._socket, connection._buffer = socket.socket(), b""
    connection._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection._socket.settimeout(PATIENCE)
    connection._socket.connect(("127.0.0.1", files.port))
    files.clients.append(connection)
    connection.send(request("GET", path))
    return connection


def in_a_hurry(connection: Connection) -> Connection:
    """A slow client that is slow no more."""
    connection._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MIB)
    return connection


def all_wait(files: Files, count: int) -> None:
    """Wait until so many downloads wait for their clients."""
    waits = lambda: sum(one._waiter.is_waiting for one in list(files.senders)) == count  # noqa: E731
    until(waits, seconds=20, what="all wait")
