"""A TCP proxy that breaks connections: it cuts or holds the stream after so many bytes from the client."""

import contextlib
import select
import socket
import struct
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Literal, Self

from tests.harness.waiting import PATIENCE

PIECE = 16 * 1024


class CuttingProxy:
    """Forwards to a port of this machine.

    `cuts` are counts of bytes from clients, over all connections: the connection that carries that byte is cut
    right after it, by RST or by FIN. At `hold_at` bytes it stops forwarding, sets `held`, and goes on after
    `release`. Each cut happens once.
    """

    def __init__(
        self,
        port: int,
        *,
        cuts: Iterable[int] = (),
        how: Literal["rst", "fin"] = "rst",
        hold_at: int | None = None,
    ) -> None:
        self._upstream = port
        self._cuts = sorted(cuts)
        self._how = how
        self._hold_at = hold_at
        self._seen = 0
        self._lock = threading.Lock()
        self._released = threading.Event()
        self._closing = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.1)
        self._threads: list[threading.Thread] = []
        self.held = threading.Event()
        self.cut_count = 0
        self.port: int = self._listener.getsockname()[1]

    @property
    def url(self) -> str:
        """Origin that clients talk to."""
        return f"http://127.0.0.1:{self.port}"

    def release(self) -> None:
        """Go on after a hold."""
        self._released.set()

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        self.release()
        for thread in self._threads:
            thread.join(PATIENCE)
        self._listener.close()

    def _start(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closing:
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with client:
            try:
                server = socket.create_connection(("127.0.0.1", self._upstream))
            except OSError:
                return
            with server, contextlib.suppress(OSError):
                self._forward(client, server)

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        # One thread for both directions: a socket that another thread reads would be closed without its RST.
        while not self._closing:
            readable, _, _ = select.select([client, server], [], [], 0.1)
            if server in readable:
                data = server.recv(PIECE)
                if not data:
                    return
                client.sendall(data)
            if client in readable and not self._upward(client, server):
                return

    def _upward(self, client: socket.socket, server: socket.socket) -> bool:
        data = client.recv(self._room())
        if not data:
            return False
        server.sendall(data)
        with self._lock:
            self._seen += len(data)
            hold = self._hold_at is not None and self._seen >= self._hold_at
            cut = bool(self._cuts) and self._seen >= self._cuts[0]
            if hold:
                self._hold_at = None
            if cut:
                self._cuts.pop(0)
                self.cut_count += 1
        if hold:
            self.held.set()
            self._released.wait()
        if cut and self._how == "rst":
            for end in (client, server):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return not cut

    def _room(self) -> int:
        with self._lock:
            marks = [*self._cuts[:1], *([] if self._hold_at is None else [self._hold_at])]
            return min([PIECE, *(mark - self._seen for mark in marks if mark > self._seen)])
