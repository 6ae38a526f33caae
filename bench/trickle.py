"""Many slow uploads at once, and how long a HEAD on another upload takes meanwhile.

Rules: one thread begins them all at once, and then sends a piece on each connection once a second; the HEADs of
beginning and end count only for the maximum, and the longest of the beginning is told apart. An upload whose connection
broke, or that did not come to its end, is counted as broken, and that is a result.
"""

import contextlib
import math
import socket
import time
from dataclasses import dataclass

from bench.clients import Connection, connect, is_whole, parse
from bench.probe import INTERVAL, Probe, latency
from bench.servers.base import Answer, ClientError, Server
from bench.source import Slice

PIECE = 512  # bytes a second on each connection
BEGIN_SECONDS = 2  # in which all uploads begin
_CONNECT_SECONDS = 10
_END_SECONDS = 60


@dataclass
class _Slow:
    content: Slice
    target: str
    connection: socket.socket | None = None
    sent: int = 0
    answer: Answer | None = None


class Trickle:
    """Slow uploads for `seconds` behind their beginning.

    `prepare`, then `run`; then `whole` are those that came to their end.
    """

    def __init__(self, server: Server, contents: list[Slice], seconds: float) -> None:
        self._server = server
        self._seconds = BEGIN_SECONDS + seconds
        self._contents = contents
        self._slow: list[_Slow] = []
        self._other = ""

    def prepare(self) -> None:
        """Create all uploads, and the one that is looked at."""
        with Connection(self._server.port) as connection:
            targets = []
            for content in [*self._contents, self._contents[0]]:
                request = self._server.create_request(content.length)
                targets.append(self._server.created(connection.ask(request) if request else None))
        self._other = targets.pop()
        self._slow = [_Slow(content, target) for content, target in zip(self._contents, targets, strict=True)]

    def run(self) -> dict[str, float]:
        """`broken` connections, the `head_p50_ms`, `head_p99_ms` of the HEADs, and the longest at the beginning."""
        with Probe(self._server.port, self._server.head_request(self._other)) as probe:
            for slow in self._slow:
                self._open(slow)
            self._send_slowly()
            for slow in self._slow:
                self._send(slow, slow.content.length - slow.sent)
            deadline = time.monotonic() + _END_SECONDS
            for slow in self._slow:
                self._end(slow, deadline)
            times = probe.times()
        begin, end = int(BEGIN_SECONDS / INTERVAL), int(self._seconds / INTERVAL)
        return {
            "broken": sum(slow.answer is None for slow in self._slow),
            **latency(times[begin:end]),
            "head_max_ms": max(times) * 1000,
            "begin_ms": max(times[:begin]) * 1000,
        }

    def whole(self) -> list[tuple[Slice, str, Answer]]:
        """Content, path and last answer of the uploads that came to their end."""
        return [(slow.content, slow.target, slow.answer) for slow in self._slow if slow.answer is not None]

    def close(self) -> None:
        """Close what is open."""
        for slow in self._slow:
            _drop(slow)

    def _open(self, slow: _Slow) -> None:
        with contextlib.suppress(ClientError):
            slow.connection = connect(self._server.port, _CONNECT_SECONDS)
        if slow.connection is not None:
            head = self._server.append_request(slow.target, 0, slow.content.length, {})
            with _dropping(slow):
                slow.connection.sendall(head)

    def _send_slowly(self) -> None:
        """Each connection once a second, evenly spread; the answers' time to come is the end of it."""
        began = time.monotonic()
        rounds = math.ceil(self._seconds)
        for turn in range(rounds):
            for number, slow in enumerate(self._slow):
                wait = began + turn + number / len(self._slow) - time.monotonic()
                if wait > 0.01:
                    time.sleep(wait)
                self._send(slow, PIECE)

    def _send(self, slow: _Slow, length: int) -> None:
        if slow.connection is not None:
            with _dropping(slow):
                slow.content.send(slow.connection, slow.sent, length)
                slow.sent += length

    def _end(self, slow: _Slow, deadline: float) -> None:
        data = b""
        with _dropping(slow):
            while slow.connection is not None and not is_whole(data, is_head=False):
                slow.connection.settimeout(max(0.01, deadline - time.monotonic()))
                more = slow.connection.recv(1 << 16)
                if not more:
                    raise ConnectionResetError
                data += more
            if data:
                answer = parse(data)
                self._server.check_appended(answer, slow.content.length)
                slow.answer = answer
        _drop(slow)


class _dropping(contextlib.AbstractContextManager[None]):  # noqa: N801  # reads as the statement it is
    """An upload whose connection breaks is dropped, and the others go on."""

    def __init__(self, slow: _Slow) -> None:
        self._slow = slow

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        if kind is not None and issubclass(kind, (OSError, ClientError)):
            _drop(self._slow)
            return True
        return False


def _drop(slow: _Slow) -> None:
    if slow.connection is not None:
        slow.connection.close()
        slow.connection = None
