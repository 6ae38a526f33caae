"""Request heads and trailers cost a bounded amount of memory and time."""

import contextlib
import time
import tracemalloc

import pytest

from tests.harness.http import request
from tests.harness.waiting import Stopwatch
from tests.serving.probed import CHUNKED, LARGE, TIMEOUT, seen
from tests.transport.probe import LIMIT, Probe, trailing


def test_a_head_up_to_the_limit_is_served(probe: Probe) -> None:
    """A head near the limit is served, in one piece and in many; the connection stays."""
    whole = request("GET", "/", {"X-Long": "a" * (LIMIT - 100)})
    with probe.connect() as connection:
        connection.send(whole)
        assert seen(connection)["headers"][1] == ["x-long", "a" * (LIMIT - 100)]
        for at in range(0, len(whole), 500):
            connection.send(whole[at : at + 500])
            time.sleep(0.002)
        assert seen(connection)["headers"][1] == ["x-long", "a" * (LIMIT - 100)]


@pytest.mark.parametrize("size", [1 << 20, 1000])
@pytest.mark.parametrize("name", LARGE)
def test_a_head_over_the_limit_is_431(probe: Probe, name: str, size: int) -> None:
    """431 with a sentence and the end, however it comes; the application never hears of the request."""
    data = LARGE[name]
    with probe.connect() as connection:
        for at in range(0, len(data), size):
            connection.send(data[at : at + size])
            if len(data) > size:
                time.sleep(0.002)
        if "without end" in name and size > 1000:
            time.sleep(0.05)
            connection.send(b"b" * (LIMIT + 1))  # what comes in one read with something whole is not counted
        answer = connection.answer()
        assert (answer.status, answer.code) == (431, "head_too_large")
        assert answer.headers["connection"] == "close"
        assert connection.ended()
    assert probe.seen == []


def test_a_head_without_end_costs_nothing(probe: Probe) -> None:
    """Whoever goes on sending is answered, cut off after a moment, and holds the limit and one read at most."""
    flood = b"a" * (1 << 16)
    tracemalloc.start()
    try:
        with contextlib.ExitStack() as stack:
            for _ in range(20):
                connection = stack.enter_context(probe.connect())
                connection.send(b"GET / HTTP/1.1\r\nX-Long: " + flood)
                assert connection.answer().status == 431
                with pytest.raises(OSError):  # noqa: PT012  # the reset comes with any of them
                    for _ in range(1000):
                        connection.send(flood)
        assert tracemalloc.get_traced_memory()[1] < 20 * (1 << 19)
    finally:
        tracemalloc.stop()


def test_the_head_limit_counts_for_each_request(probe: Probe) -> None:
    """Many requests on one connection are together larger than a head may be, pipelined and with bodies too."""
    one = request("PATCH", "/", CHUNKED | {"X-Long": "a" * 3000, "Trailer": "X-T"})
    one += trailing([b"x" * 10], [("X-T", "b" * 3000)])
    with probe.connect() as connection:
        for _ in range(10):
            connection.send(one)
            assert seen(connection)["trailers"] == {"x-t": "b" * 3000}
        connection.send(one * 10)
        for _ in range(10):
            assert seen(connection)["body"] == "x" * 10


@pytest.mark.sampled(1)
def test_a_connection_without_a_byte_is_closed_without_an_answer(hasty: Probe) -> None:
    """A connection without a byte is closed without a word."""
    began, watch = time.monotonic(), Stopwatch()
    with hasty.connect() as connection:
        assert connection.ended()
    assert time.monotonic() - began > TIMEOUT * 0.9
    assert watch.seconds < TIMEOUT + 2


@pytest.mark.sampled(4)
@pytest.mark.parametrize("start", [b"GET /", b"GET / HTTP/1.1\r\nHost: a\r\nX-Sl", b"\r\n"])
@pytest.mark.parametrize("later", [False, True])
def test_a_slow_head_is_408(hasty: Probe, start: bytes, later: bool) -> None:
    """A head that comes byte by byte is 408 after its time, on a new connection and on one that was used."""
    with hasty.connect() as connection:
        if later:
            assert connection.ask("GET", "/").status == 200
        began, watch = time.monotonic(), Stopwatch()
        connection.send(start)
        with contextlib.suppress(OSError):
            while time.monotonic() - began < TIMEOUT * 0.9:
                time.sleep(TIMEOUT / 10)
                connection.send(b"\r\n" if start == b"\r\n" else b"o")
        answer = connection.answer()
        assert (answer.status, answer.code, answer.headers["retry-after"]) == (408, "head_timeout", "2")
        assert connection.ended()
        assert time.monotonic() - began > TIMEOUT * 0.9
        assert watch.seconds < TIMEOUT + 2


@pytest.mark.sampled(1)
def test_the_head_timeout_does_not_count_between_requests(hasty: Probe) -> None:
    """Between requests uvicorn's own limit counts, which is longer here; a body is no head either."""
    with hasty.connect() as connection:
        assert connection.ask("GET", "/").status == 200
        time.sleep(TIMEOUT * 1.7)
        connection.send(request("PATCH", "/", {"Content-Length": "2"}) + b"a")
        time.sleep(TIMEOUT * 1.7)
        connection.send(b"b")
        assert seen(connection)["body"] == "ab"
        assert connection.ended()


@pytest.mark.sampled(1)
def test_the_head_timeout_waits_for_a_running_request(hasty: Probe) -> None:
    """While a request is answered the head behind it has time; afterwards it has not."""
    with hasty.connect() as connection:
        connection.send(request("GET", "/slow") + b"GET /half HTTP/1.1\r\n")
        time.sleep(TIMEOUT * 2)
        hasty.gate.set()
        assert seen(connection)["same"]
        answer = connection.answer()
        assert answer.code == "head_timeout"
        assert connection.ended()


@pytest.mark.sampled(1)
def test_the_rest_of_a_body_may_follow_its_answer(hasty: Probe) -> None:
    """What is left of it may come for a moment, and the connection goes on; if it does not come, it ends."""
    with hasty.connect() as connection:
        connection.send(request("PATCH", "/early", {"Content-Length": "2"}) + b"a")
        assert connection.answer().body == b"early"
        connection.send(b"b" + request("GET", "/"))
        assert seen(connection)["body"] == ""
        connection.send(request("PATCH", "/early", {"Content-Length": "2"}) + b"a")
        assert connection.answer().body == b"early"
        assert connection.ended()
    with hasty.connect() as connection:
        connection.send(request("PATCH", "/early", {"Content-Length": str(1 << 40)}))
        assert connection.answer().body == b"early"
        with pytest.raises(OSError):  # noqa: PT012
            for _ in range(1000):
                connection.send(b"a" * (1 << 16))
