"""Pipelining, upgrades that are asked for, clients that leave, and the end of a connection."""

import time

import pytest

from server.serving import http_limits
from tests.harness.http import chunked, request
from tests.harness.waiting import Stopwatch, until
from tests.serving.probed import CHUNKED, LARGE, PATCH, TIMEOUT, seen
from tests.transport.probe import Probe


def test_pipelined_requests_in_any_pieces_are_answered_in_order(probe: Probe) -> None:
    """Ten requests of every kind, cut anywhere, are answered in order on one connection."""
    data = b""
    for number in range(10):
        body = f"body {number}".encode()
        whole = request("PATCH", "/", CHUNKED) + chunked([body]) if number % 2 else request("PATCH", "/", body=body)
        data += whole
    for size in (1 << 20, 97, 13):
        with probe.connect() as connection:
            for at in range(0, len(data), size):
                connection.send(data[at : at + size])
            assert [seen(connection)["body"] for _ in range(10)] == [f"body {number}" for number in range(10)]
            assert connection.ask("GET", "/").status == 200


H2C = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQAAP__"}

WISHES = {
    "no body": (request("GET", "/", H2C), ""),
    "a body": (request("PATCH", "/", H2C, b"x" * 50), "x" * 50),
    "an empty body": (request("PATCH", "/", H2C, b""), ""),
    "chunks": (request("PATCH", "/", H2C | CHUNKED) + chunked([b"abc", b"def"]), "abcdef"),
    "a web socket": (request("GET", "/", {"Connection": "Upgrade", "Upgrade": "websocket"}), ""),
}


@pytest.mark.parametrize("size", [1 << 20, 20, 1])
@pytest.mark.parametrize("name", WISHES)
def test_an_upgrade_is_ignored(probe: Probe, name: str, size: int) -> None:
    """A request that asks for another protocol is answered as if it did not, with its body; what follows is read."""
    data, body = WISHES[name]
    data += request("PATCH", "/", body=b"next") + data
    with probe.connect() as connection:
        for at in range(0, len(data), size):
            connection.send(data[at : at + size])
        assert [seen(connection)["body"] for _ in range(3)] == [body, "next", body]
        assert connection.ask("GET", "/").status == 200


def test_a_client_that_leaves_is_noticed(probe: Probe) -> None:
    """The request that runs hears of it, also with others behind it, which never run."""
    with probe.connect() as connection:
        connection.send(request("GET", "/wait") + request("GET", "/never"))
        until(lambda: probe.seen == [("/wait", b"")], seconds=5, what="the request runs")
    until(lambda: probe.ends == ["/wait"], seconds=5, what="the request hears of it")
    probe.idle()
    assert probe.seen == [("/wait", b"")]


def test_the_interim_100_is_sent_when_the_body_is_read(probe: Probe) -> None:
    """The interim answer comes when the body is asked for."""
    with probe.connect() as connection:
        connection.send(request("PATCH", "/", {"Expect": "100-continue", "Content-Length": "2"}))
        connection.readable()
        connection.send(b"ab")
        answer = connection.answer()
        assert (answer.status, answer.interim) == (200, (100,))


@pytest.mark.sampled(1)
def test_many_bad_connections_leave_nothing(hasty: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that send nonsense and stay, or leave in the middle, hold nothing for long."""
    monkeypatch.setattr(http_limits, "LINGER_SECONDS", 0.1)
    stay = []
    for number in range(60):
        connection = hasty.connect()
        connection.send(
            [b"nonsense\r\n\r\n", b"GET / HT", LARGE["a value"], PATCH + b"Content-Length: 9\r\n\r\nab"][number % 4]
        )
        if number % 3:
            stay.append(connection)
        else:
            connection.reset()
    for connection in stay[::2]:
        connection.half_close()
    left_open = [connection for connection in stay if connection not in stay[::2]]
    time.sleep(TIMEOUT + 0.3)
    for connection in left_open:
        connection.close()
    hasty.idle()
    for connection in stay[::2]:
        connection.close()


def test_a_stop_does_not_wait_for_lingering_connections() -> None:
    """A connection that lingers for its last words ends with the server."""
    with Probe("asyncio") as made, made.connect() as connection:
        connection.send(b"nonsense\r\n\r\n")
        assert connection.answer().status == 400
        began = Stopwatch()
        made.__exit__(None, None, None)
        assert began.seconds < 1
