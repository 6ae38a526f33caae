"""The protocol class on real sockets, on both event loops: limits, framing, trailers, pipelining, ends."""

import contextlib
import json
import time
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from server.serving import http_limits
from server.serving.http_limits import MAX_HEADERS
from tests.harness.http import Connection, chunked, request
from tests.harness.waiting import Stopwatch, until
from tests.transport.probe import LIMIT, Probe, trailing

INVALID = b"Invalid HTTP request received."
CHUNKED = {"Transfer-Encoding": "chunked"}


TIMEOUT, KEEP_ALIVE = 1.0, 4.0  # seconds, where time is the subject


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def started(request: pytest.FixtureRequest) -> Iterator[tuple[Probe, Probe]]:
    hasty = Probe(request.param, timeout=TIMEOUT, keep_alive=KEEP_ALIVE)
    with Probe(request.param) as patient, hasty:
        yield patient, hasty


@pytest.fixture
def probe(started: tuple[Probe, Probe]) -> Iterator[Probe]:
    """A probe that has seen nothing yet; whatever a test does to it, nothing is left afterwards."""
    yield from fresh(started[0])


@pytest.fixture
def hasty(started: tuple[Probe, Probe]) -> Iterator[Probe]:
    """The same with little time for a head."""
    yield from fresh(started[1])


def fresh(made: Probe) -> Iterator[Probe]:
    made.reset()
    yield made
    made.gate.set()
    made.idle()


def told(connection: Connection) -> dict[str, Any]:
    answer = connection.answer()
    assert answer.status == 200, answer
    found: dict[str, Any] = json.loads(answer.body)
    return found


# Size


def test_a_head_up_to_the_limit(probe: Probe) -> None:
    """A head near the limit is served, in one piece and in many; the connection stays."""
    whole = request("GET", "/", {"X-Long": "a" * (LIMIT - 100)})
    with probe.connect() as connection:
        connection.send(whole)
        assert told(connection)["headers"][1] == ["x-long", "a" * (LIMIT - 100)]
        for at in range(0, len(whole), 500):
            connection.send(whole[at : at + 500])
            time.sleep(0.002)
        assert told(connection)["headers"][1] == ["x-long", "a" * (LIMIT - 100)]


LARGE = {
    "a value": request("GET", "/", {"X-Long": "a" * LIMIT}),
    "a name": request("GET", "/", {"a" * LIMIT: "b"}),
    "a target": request("GET", "/" + "a" * LIMIT),
    "many headers": request("GET", "/", [(f"X-{number}", "a" * 100) for number in range(200)]),
    "more headers than may be": request("GET", "/", [("A", "")] * MAX_HEADERS),
    "a value without end": b"GET / HTTP/1.1\r\nX-Long: " + b"a" * LIMIT,
    "blanks without end": b"GET / HTTP/1.1\r\nX-Long:" + b" " * LIMIT,
    "a method without end": b"GET " + b" " * LIMIT,
    "blank lines without end": b"\r\n" * LIMIT,
    "trailers": request("PATCH", "/", CHUNKED) + trailing([b"a"], [("X", "b" * LIMIT)]),
    "more trailers than may be": request("PATCH", "/", CHUNKED) + trailing([b"a"], [("X", "")] * (MAX_HEADERS + 1)),
    "a trailer without end": request("PATCH", "/", CHUNKED) + b"1\r\na\r\n0\r\nX: " + b"b" * 2 * LIMIT,
    "a chunk extension without end": request("PATCH", "/", CHUNKED) + b"1;" + b"b" * 2 * LIMIT,
}


@pytest.mark.parametrize("size", [1 << 20, 1000])
@pytest.mark.parametrize("name", LARGE)
def test_a_head_over_the_limit(probe: Probe, name: str, size: int) -> None:
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


def test_every_message_is_counted_anew(probe: Probe) -> None:
    """Many requests on one connection are together larger than a head may be, pipelined and with bodies too."""
    one = request("PATCH", "/", CHUNKED | {"X-Long": "a" * 3000, "Trailer": "X-T"})
    one += trailing([b"x" * 10], [("X-T", "b" * 3000)])
    with probe.connect() as connection:
        for _ in range(10):
            connection.send(one)
            assert told(connection)["trailers"] == {"x-t": "b" * 3000}
        connection.send(one * 10)
        for _ in range(10):
            assert told(connection)["body"] == "x" * 10


# Time


def test_nothing_is_closed_in_silence(hasty: Probe) -> None:
    """A connection without a byte is closed without a word."""
    began, watch = time.monotonic(), Stopwatch()
    with hasty.connect() as connection:
        assert connection.ended()
    assert time.monotonic() - began > TIMEOUT * 0.9
    assert watch.seconds < TIMEOUT + 2


@pytest.mark.parametrize("start", [b"GET /", b"GET / HTTP/1.1\r\nHost: a\r\nX-Sl", b"\r\n"])
@pytest.mark.parametrize("later", [False, True])
def test_a_slow_head(hasty: Probe, start: bytes, later: bool) -> None:
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


def test_idle_keep_alive_is_not_our_time(hasty: Probe) -> None:
    """Between requests uvicorn's own limit counts, which is longer here; a body is no head either."""
    with hasty.connect() as connection:
        assert connection.ask("GET", "/").status == 200
        time.sleep(TIMEOUT * 1.7)
        connection.send(request("PATCH", "/", {"Content-Length": "2"}) + b"a")
        time.sleep(TIMEOUT * 1.7)
        connection.send(b"b")
        assert told(connection)["body"] == "ab"
        assert connection.ended()


def test_a_head_behind_a_slow_request(hasty: Probe) -> None:
    """While a request is answered the head behind it has time; afterwards it has not."""
    with hasty.connect() as connection:
        connection.send(request("GET", "/slow") + b"GET /half HTTP/1.1\r\n")
        time.sleep(TIMEOUT * 2)
        hasty.gate.set()
        assert told(connection)["same"]
        answer = connection.answer()
        assert answer.code == "head_timeout"
        assert connection.ended()


def test_a_body_that_the_answer_overtook(hasty: Probe) -> None:
    """What is left of it may come for a moment, and the connection goes on; if it does not come, it ends."""
    with hasty.connect() as connection:
        connection.send(request("PATCH", "/early", {"Content-Length": "2"}) + b"a")
        assert connection.answer().body == b"early"
        connection.send(b"b" + request("GET", "/"))
        assert told(connection)["body"] == ""
        connection.send(request("PATCH", "/early", {"Content-Length": "2"}) + b"a")
        assert connection.answer().body == b"early"
        assert connection.ended()
    with hasty.connect() as connection:
        connection.send(request("PATCH", "/early", {"Content-Length": str(1 << 40)}))
        assert connection.answer().body == b"early"
        with pytest.raises(OSError):  # noqa: PT012
            for _ in range(1000):
                connection.send(b"a" * (1 << 16))


# Framing

PATCH = b"PATCH / HTTP/1.1\r\nHost: a\r\n"
BAD = {
    "two lengths": PATCH + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "the same length twice": PATCH + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na",
    "a list of lengths": PATCH + b"Content-Length: 1, 1\r\n\r\na",
    "a signed length": PATCH + b"Content-Length: +1\r\n\r\na",
    "an empty length": PATCH + b"Content-Length:\r\n\r\na",
    "a length of 2^64": PATCH + b"Content-Length: 18446744073709551616\r\n\r\na",
    "length, then chunked": PATCH + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked, then length": PATCH + b"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n",
    "chunked twice": PATCH + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "another coding": PATCH + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "no coding": PATCH + b"Transfer-Encoding: identity\r\n\r\n",
    "a coding that looks like it": PATCH + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a folded header": PATCH + b"A: b\r\n c\r\n\r\n",
    "a folded header by tab": PATCH + b"A: b\r\n\tc\r\n\r\n",
    "a folded empty header": PATCH + b"A:\r\n b\r\n\r\n",
    "a folded coding": PATCH + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "a folded length": PATCH + b"Content-Length: 1\r\n 2\r\n\r\na",
    "a space before the colon": PATCH + b"Content-Length : 1\r\n\r\na",
    "a bare line feed": b"GET / HTTP/1.1\nHost: a\n\n",
    "a bare carriage return": b"GET / HTTP/1.1\r\nHost: a\rb: c\r\n\r\n",
    "NUL": b"GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n",
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a tunnel": b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
    "a path that is no ASCII": b"GET /\xff HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("name", BAD)
def test_bad_framing(probe: Probe, name: str) -> None:
    """Two readers could see two different requests: 400 and the end, and no application hears of it."""
    with probe.connect() as connection:
        connection.send(BAD[name])
        answer = connection.answer()
        assert (answer.status, answer.body, answer.headers["connection"]) == (400, INVALID, "close")
        assert connection.ended()
    assert probe.seen == []
    assert probe.ends == []


@pytest.mark.parametrize("bad", [b"zz\r\n", b"1\r\nabc\r\n", b"1\na\n", b"f" * 17 + b"\r\n"])
def test_a_bad_chunk(probe: Probe, bad: bytes) -> None:
    """400, and the application that reads the body hears that the client is gone."""
    with probe.connect() as connection:
        connection.send(request("PATCH", "/", CHUNKED) + chunked([b"abc"], end=False))
        time.sleep(0.05)
        connection.send(bad)
        answer = connection.answer()
        assert (answer.status, answer.body) == (400, INVALID)
        assert connection.ended()
    until(lambda: probe.ends == ["/"], seconds=5, what="the application hears of it")
    assert probe.seen == []


def test_a_bad_chunk_after_the_answer_began(probe: Probe) -> None:
    """Nothing is written into an answer."""
    with probe.connect() as connection:
        connection.send(request("PATCH", "/begun", CHUNKED))
        connection.readable()
        connection.send(b"zz\r\n")
        assert connection.answer().body == b"begun"
        assert connection.ended()
    until(lambda: probe.ends == ["/begun"], seconds=5, what="the application hears of it")


@pytest.mark.parametrize("bad", [b"nonsense\r\n\r\n", PATCH + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"])
def test_nonsense_behind_requests(probe: Probe, bad: bytes) -> None:
    """Every request before it is answered first, in order; then 400 and the end."""
    with probe.connect() as connection:
        connection.send(request("GET", "/slow") + request("PATCH", "/", body=b"second") + bad)
        connection.send(b"more nonsense\r\n\r\n")
        time.sleep(0.1)
        probe.gate.set()
        assert told(connection)["body"] == ""
        assert told(connection)["body"] == "second"
        answer = connection.answer()
        assert (answer.status, answer.body) == (400, INVALID)
        assert connection.ended()
    assert [path for path, _ in probe.seen] == ["/slow", "/"]


# Trailers


def test_trailers_are_kept_apart(probe: Probe) -> None:
    """The headers never change; only what was announced is told, by lower-case name."""
    sent = [("X-Told", " a b "), ("Authorization", "Bearer x"), ("Content-Type", "text/html"), ("Expect", "x")]
    with probe.connect() as connection:
        for data in (
            request("PATCH", "/", CHUNKED | {"Trailer": "x-told , Content-TYPE"}) + trailing([b"abc"], sent),
            request("PATCH", "/", CHUNKED | {"Trailer": "x-told , Content-TYPE"}) + trailing([], sent),
        ):
            connection.send(data)
            found = told(connection)
            assert found["same"]
            assert [name for name, _ in found["headers"]] == ["host", "transfer-encoding", "trailer"]
            assert found["trailers"] == {"x-told": "a b", "content-type": "text/html"}
        connection.send(request("PATCH", "/", CHUNKED) + trailing([b"abc"], sent))
        assert told(connection)["trailers"] == {}
        connection.send(request("PATCH", "/", [*CHUNKED.items(), ("Trailer", "a"), ("Trailer", "b")]))
        connection.send(trailing([b"abc"], [("a", "1"), ("A", "2"), ("b", "3")]))
        assert told(connection)["trailers"] == {"a": "1, 2", "b": "3"}


def test_trailers_of_pipelined_requests(probe: Probe) -> None:
    """Each request has its own."""
    both = [
        request("PATCH", "/", CHUNKED | {"Trailer": "X"}) + trailing([b"a"], [("X", str(number))]) for number in (1, 2)
    ]
    with probe.connect() as connection:
        connection.send(b"".join(both) + request("GET", "/"))
        assert [told(connection)["trailers"] for _ in range(3)] == [{"x": "1"}, {"x": "2"}, {}]


@pytest.mark.parametrize("name", ["Content-Length", "Transfer-Encoding"])
def test_a_trailer_that_frames(probe: Probe, name: str) -> None:
    """A trailer cannot change where the message ends."""
    sent = request("PATCH", "/", CHUNKED | {"Trailer": name}) + trailing([b"abc"], [(name, "5")])
    with probe.connect() as connection:
        connection.send(sent + request("GET", "/next"))
        answer = connection.answer()
        assert (answer.status, answer.body) == (400, INVALID)
        assert connection.ended()
    assert probe.seen == []


# Pipelining, keep-alive, upgrade, ends


def test_pipelined_in_any_pieces(probe: Probe) -> None:
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
            assert [told(connection)["body"] for _ in range(10)] == [f"body {number}" for number in range(10)]
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
        assert [told(connection)["body"] for _ in range(3)] == [body, "next", body]
        assert connection.ask("GET", "/").status == 200


def test_a_client_that_leaves_is_noticed(probe: Probe) -> None:
    """The request that runs hears of it, also with others behind it, which never run."""
    with probe.connect() as connection:
        connection.send(request("GET", "/wait") + request("GET", "/never"))
        until(lambda: probe.seen == [("/wait", b"")], seconds=5, what="the request runs")
    until(lambda: probe.ends == ["/wait"], seconds=5, what="the request hears of it")
    probe.idle()
    assert probe.seen == [("/wait", b"")]


def test_expect_continue(probe: Probe) -> None:
    """The interim answer comes when the body is asked for."""
    with probe.connect() as connection:
        connection.send(request("PATCH", "/", {"Expect": "100-continue", "Content-Length": "2"}))
        connection.readable()
        connection.send(b"ab")
        answer = connection.answer()
        assert (answer.status, answer.interim) == (200, (100,))


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


def test_a_stop_does_not_wait_for_who_is_refused() -> None:
    """A connection that lingers for its last words ends with the server."""
    with Probe("asyncio") as made, made.connect() as connection:
        connection.send(b"nonsense\r\n\r\n")
        assert connection.answer().status == 400
        began = Stopwatch()
        made.__exit__(None, None, None)
        assert began.seconds < 1
