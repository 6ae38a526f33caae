"""Create, look, append 1 KiB, terminate, over and over on several connections, by one thread and epoll.

Rule: every answer is checked; what is counted is whole cycles.
"""

import re
import selectors
import socket
import time
from dataclasses import dataclass

from bench.clients import connect, is_whole, parse
from bench.servers.base import ClientError, Server
from bench.source import Slice

BODY_BYTES = 1024
_OFFSET = re.compile(rb"\r\nupload-offset: *(\d+)", re.IGNORECASE)
_SILENCE = 30  # seconds


@dataclass
class _Worker:
    connection: socket.socket
    step: int = 0
    data: bytes = b""
    target: str = ""
    done: int = 0


class Cycles:
    """Cycles on so many connections; each upload is twice as long as what is appended, so it stays unfinished."""

    def __init__(self, server: Server, content: Slice, connections: int) -> None:
        self._server = server
        self._body = content.read(0, BODY_BYTES)
        self._create = server.create_request(2 * BODY_BYTES)
        self._selector = selectors.DefaultSelector()
        self._workers = [_Worker(connect(server.port)) for _ in range(connections)]
        for worker in self._workers:
            self._selector.register(worker.connection, selectors.EVENT_READ, worker)

    def run(self, seconds: float) -> tuple[int, float]:
        """Whole cycles, and the seconds that they took."""
        began = time.perf_counter()
        for worker in self._workers:
            worker.connection.sendall(self._create)
        while (now := time.perf_counter()) - began < seconds:
            ready = self._selector.select(_SILENCE)
            if not ready:
                raise ClientError(f"no answer within {_SILENCE} s")
            for key, _ in ready:
                self._read(key.data)
        return sum(worker.done for worker in self._workers), now - began

    def close(self) -> None:
        """Close all connections."""
        self._selector.close()
        for worker in self._workers:
            worker.connection.close()

    def _read(self, worker: _Worker) -> None:
        try:
            more = worker.connection.recv(1 << 16)
        except OSError as error:
            raise ClientError(f"the connection broke: {error.strerror}") from None
        if not more:
            raise ClientError("it closed a connection that it had promised to keep")
        worker.data += more
        if is_whole(worker.data, is_head=worker.step == 1):
            request = self._next(worker, worker.data)
            worker.data = b""
            worker.connection.sendall(request)

    def _next(self, worker: _Worker, answer: bytes) -> bytes:
        """What is sent after that answer."""
        server, status, step = self._server, answer[9:12], worker.step
        worker.step = (step + 1) % 4
        if step == 0:
            worker.target = server.created(parse(answer))
            return server.head_request(worker.target)
        if step == 1:
            _check(status in (b"200", b"204") and _offset(answer) == 0, answer)
            return server.append_request(worker.target, 0, BODY_BYTES, {}) + self._body
        if step == 2:
            _check(status == b"204" and _offset(answer) == BODY_BYTES, answer)
            return server.delete_request(worker.target)
        _check(status == b"204", answer)
        worker.done += 1
        return self._create


def _offset(answer: bytes) -> int | None:
    match = _OFFSET.search(answer)
    return int(match[1]) if match else None


def _check(right: bool, answer: bytes) -> None:
    if not right:
        raise ClientError(f"it answered {answer[:120].decode(errors='replace')!r}")
