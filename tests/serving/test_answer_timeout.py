"""Clients that do not take their answers: each connection ends in time, and the service goes on."""

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from server.serving import answer_timeout
from server.serving.answer_timeout import AnswerClock
from tests.harness.http import request
from tests.harness.waiting import until
from tests.transport.probe import Probe

IDLE = 2.0
BIG = 16 << 20  # more than the kernel keeps of both ends


class BigProbe(Probe):
    """An application whose answers are large, and that says nothing of their length at `/chunked`."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [] if scope["path"] == "/chunked" else [(b"content-length", b"%d" % BIG)]
        if scope["path"] == "/close":
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if scope["path"] == "/chunked":
            for _ in range(BIG >> 16):
                await send({"type": "http.response.body", "body": bytes(1 << 16), "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        else:
            await send({"type": "http.response.body", "body": bytes(BIG)})


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def probe(request: pytest.FixtureRequest) -> Iterator[Probe]:
    made = BigProbe(request.param, keep_alive=1)

    class Hasty(made.kind):  # type: ignore[name-defined, misc]
        idle_timeout = IDLE
        min_rate = 1000.0

    made.kind = Hasty
    with made:
        yield made
        made.idle()


def deaf(port: int) -> socket.socket:
    """A client whose kernel keeps little of what it does not read."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.settimeout(30)
    made.connect(("127.0.0.1", port))
    return made


def read_all(client: socket.socket, at_once: int = 1 << 20, pause: float = 0) -> None:
    while client.recv(at_once):
        time.sleep(pause)


def connections(server: uvicorn.Server) -> int:
    return len(server.server_state.connections)


WAYS = {
    "one answer": request("GET", "/"),
    "in chunks": request("GET", "/chunked"),
    "the last one": request("GET", "/close"),
    "pipelined": request("GET", "/") * 50,
    "pipelined in chunks": request("GET", "/chunked") * 50,
    "with a body that nobody reads": request("POST", "/close", {"Content-Length": "9"}),
}


@pytest.mark.sampled(6)
@pytest.mark.parametrize("way", WAYS)
def test_a_client_that_never_reads_is_reset(probe: Probe, way: str) -> None:
    """Its connection is reset after the idle time, whatever stands in the buffers, and nothing is left of it."""
    with contextlib.closing(deaf(probe.port)) as client:
        client.sendall(WAYS[way])
        until(lambda: connections(probe._server) == 1, seconds=5, what="it is connected")
        # The keep-alive time may come first.
        until(lambda: connections(probe._server) == 0, seconds=20 * IDLE, what="it is given up")
        with pytest.raises(ConnectionResetError):
            read_all(client)
    assert not probe.kind._clocks


class Time:
    """A loop whose time only goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Any:
        self._due.append((self.now + seconds, callback))
        return SimpleNamespace(cancel=self._due.clear)

    def pass_to(self, moment: float) -> None:
        while self._due and self._due[0][0] <= moment:
            self.now, callback = self._due.pop()
            callback()
        self.now = moment


@pytest.mark.parametrize(
    ("every", "count", "is_kept"),
    [
        (19.0, 10**6, True),
        (10.0, 640, True),
        (1.0, 64, True),
        (10.0, 100, False),
        (1.0, 1, False),
        (25.0, 10**6, False),
    ],
)
def test_a_client_is_kept_while_it_reads_in_time_and_fast_enough(
    monkeypatch: pytest.MonkeyPatch, every: float, count: int, is_kept: bool
) -> None:
    """At 20 s and 64 bytes a second: who takes something in time and keeps the rate; not who is slower in either."""
    ended: list[float] = []
    confirmed = 0
    monkeypatch.setattr(answer_timeout, "_confirmed", lambda _: confirmed)
    loop, transport = Time(), SimpleNamespace(get_write_buffer_size=lambda: 1 << 16)
    clocks: dict[AnswerClock, None] = {}
    made = AnswerClock(cast("Any", transport), 20.0, 64.0, clocks, lambda: ended.append(loop.now), cast("Any", loop))
    made.start()
    for step in range(1, 200):
        loop.pass_to(step * every)
        confirmed += count
    assert (not ended) == is_kept
    assert (made in clocks) == is_kept
    assert not ended or ended[0] <= 60
    made.stop()
    assert not clocks


@pytest.mark.sampled(1)
def test_a_client_below_the_slowest_rate_is_reset(probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who takes a few bytes now and then is given up, too: its average is below the slowest rate."""
    monkeypatch.setattr(probe.kind, "min_rate", 1 << 20)
    with contextlib.closing(deaf(probe.port)) as client:
        client.sendall(request("GET", "/"))
        with pytest.raises(ConnectionResetError):
            read_all(client, 1 << 12, 0.1)


def test_a_full_server_closes_a_silent_reader_for_a_new_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many silent readers as there may be connections do not keep others out: one that took nothing gives way."""
    monkeypatch.setattr(answer_timeout, "_STALLED_SECONDS", 0.3)
    made = BigProbe("uvloop")

    class Full(made.kind):  # type: ignore[name-defined, misc]
        max_connections = 5

    made.kind = Full
    with made, contextlib.ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(contextlib.closing(deaf(made.port))).sendall(request("GET", "/"))
        until(lambda: len(Full._clocks) == 5, seconds=20, what="all of them wait")
        until(lambda: first_line(made.port) == b"HTTP/1.1 200", seconds=20, what="another one is served")
        assert len(Full._clocks) <= 5
        stack.close()
        made.idle()


def first_line(port: int) -> bytes:
    with contextlib.closing(deaf(port)) as client:
        client.sendall(request("GET", "/"))
        return client.recv(12)
