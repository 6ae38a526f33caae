"""Small requests over and over on many connections, by one thread and epoll.

Rules: every answer is checked. Its time counts from when its request was due: when the answer before it had come, or,
with an interval, once in each, whether or not the server has kept up. What was due before the end is waited for.
"""

import heapq
import math
import selectors
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bench.clients import connect, is_whole
from bench.probe import latency
from bench.servers.base import ClientError

_SILENCE = 30  # seconds after the end


@dataclass(frozen=True)
class Request:
    """A request without a body, and what raises `ClientError` for a wrong answer to it."""

    head: bytes
    check: Callable[[bytes], None]


@dataclass
class _Asker:
    connection: socket.socket
    requests: Iterator[Request]
    asked: Request | None = None
    due: float = 0.0
    data: bytes = b""


class Requests:
    """A connection for each of `sequences`, which asks these requests in their order."""

    def __init__(self, port: int, sequences: Sequence[Iterator[Request]], interval: float | None = None) -> None:
        self._interval = interval
        self._selector = selectors.DefaultSelector()
        self._askers = [_Asker(connect(port), requests) for requests in sequences]
        self._times: list[float] = []
        self._turns: list[tuple[float, int]] = []  # a heap: when each that waits for no answer asks again
        for number, asker in enumerate(self._askers):
            self._selector.register(asker.connection, selectors.EVENT_READ, number)

    def run(self, seconds: float) -> tuple[int, float, dict[str, float]]:
        """How many were answered in how many seconds, and `requests_s`, `p50_ms`, `p99_ms`, `max_ms`."""
        began = time.perf_counter()
        for number in range(len(self._askers)):
            offset = 0.0 if self._interval is None else self._interval * number / len(self._askers)
            heapq.heappush(self._turns, (began + offset, number))
        end, waiting = began + seconds, 0
        while (now := time.perf_counter()) < end or waiting or self._next() < end:
            while self._next() <= now and self._next() < end:
                self._ask(*heapq.heappop(self._turns))
                waiting += 1
            waiting -= self._listen(min(self._next(), end) if now < end else now + 1)
            if now > end + _SILENCE:
                raise ClientError(f"no answer within {_SILENCE} s")
        took = time.perf_counter() - began
        return len(self._times), took, {"requests_s": len(self._times) / took, **latency(self._times, "")}

    def close(self) -> None:
        """Close all connections."""
        self._selector.close()
        for asker in self._askers:
            asker.connection.close()

    def _ask(self, due: float, number: int) -> None:
        asker = self._askers[number]
        asker.due, asker.asked, asker.data = due, next(asker.requests), b""
        try:
            asker.connection.sendall(asker.asked.head)
        except OSError as error:
            raise ClientError(f"the connection broke: {error.strerror}") from None

    def _next(self) -> float:
        """When the next is due of those that wait for no answer."""
        return self._turns[0][0] if self._turns else math.inf

    def _listen(self, until: float) -> int:
        """Read what has come until then; how many answers are whole."""
        ready = self._selector.select(max(0.0, until - time.perf_counter()))
        return sum(self._read(key.data) for key, _ in ready)

    def _read(self, number: int) -> bool:
        asker = self._askers[number]
        try:
            more = asker.connection.recv(1 << 16)
        except OSError as error:
            raise ClientError(f"the connection broke: {error.strerror}") from None
        if not more or asker.asked is None:
            raise ClientError("it closed a connection that it had promised to keep")
        asker.data += more
        if not is_whole(asker.data, is_head=asker.asked.head.startswith(b"HEAD ")):
            return False
        now = time.perf_counter()
        asker.asked.check(asker.data)
        asker.asked = None
        self._times.append(now - asker.due)
        heapq.heappush(self._turns, (now if self._interval is None else asker.due + self._interval, number))
        return True
