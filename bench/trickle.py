"""Many slow uploads at once, and how long a HEAD on another upload takes meanwhile.

Rules: one thread begins them all at once, and then sends a piece on each connection once a second; a process of its
own asks for HEAD at fixed times, and an answer's time counts from when it should have been asked, so that a stall is
not measured only once. An upload whose connection broke, or that did not come to its end, is counted as broken, and
that is a result.
"""

import contextlib
import json
import math
import socket
import subprocess
import sys
import time
from dataclasses import dataclass

from bench.clients import Connection, connect, is_whole, parse
from bench.servers.base import ROOT, Answer, ClientError, Server
from bench.source import Slice

PIECE = 512  # bytes a second on each connection
INTERVAL = 0.02  # seconds between two HEADs
BEGIN_SECONDS = 2  # in which all uploads begin; the HEADs of this time are counted apart
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
        probe = start_probe(self._server.port, self._server.head_request(self._other), self._seconds)
        try:
            assert probe.stdout is not None
            probe.stdout.readline()  # it asks from now on
            for slow in self._slow:
                self._open(slow)
            self._send_slowly()
            found, _ = probe.communicate(timeout=_END_SECONDS)
        finally:
            probe.kill()
            probe.wait()
        every = json.loads(found)
        count = int(BEGIN_SECONDS / INTERVAL)
        begin, times = every[:count], sorted(every[count:])
        for slow in self._slow:
            self._send(slow, slow.content.length - slow.sent)
        deadline = time.monotonic() + _END_SECONDS
        for slow in self._slow:
            self._end(slow, deadline)
        return {
            "broken": sum(slow.answer is None for slow in self._slow),
            "begin_ms": max(begin) * 1000,
            "head_p50_ms": times[len(times) // 2] * 1000,
            "head_p99_ms": times[len(times) * 99 // 100] * 1000,
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


def start_probe(port: int, request: bytes, seconds: float) -> subprocess.Popen[str]:
    """A process that asks that HEAD at fixed times; says a line when it begins, and at its end all times as JSON."""
    command = [sys.executable, "-m", "bench.trickle", str(port), request.decode("latin-1"), str(seconds)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def _probe(port: int, request: bytes, seconds: float) -> list[float]:
    """Seconds that each HEAD took from when it was due; one that was not answered counts as the time limit."""
    times = []
    with Connection(port, _CONNECT_SECONDS) as connection:
        sys.stdout.write("begin\n")
        sys.stdout.flush()
        began = time.perf_counter()
        for number in range(int(seconds / INTERVAL)):
            due = began + number * INTERVAL
            time.sleep(max(0.0, due - time.perf_counter()))
            try:
                connection.ask(request).expect(200, 204)
            except ClientError:
                times.append(float(_CONNECT_SECONDS))
                connection.close()
            else:
                times.append(time.perf_counter() - due)
            if time.perf_counter() - began > seconds + _CONNECT_SECONDS:
                break  # it does not keep up at all; what is missing would only be slower
    return times


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_probe(int(sys.argv[1]), sys.argv[2].encode("latin-1"), float(sys.argv[3]))))
