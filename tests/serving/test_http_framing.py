"""No byte of one message is ever taken for a part of another: framing and trailers."""

import time

import pytest

from tests.harness.http import chunked, request
from tests.harness.waiting import until
from tests.serving.probed import CHUNKED, INVALID, PATCH, seen
from tests.transport.probe import Probe, trailing

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
def test_ambiguous_framing_is_refused(probe: Probe, name: str) -> None:
    """Two readers could see two different requests: 400 and the end, and no application hears of it."""
    with probe.connect() as connection:
        connection.send(BAD[name])
        answer = connection.answer()
        assert (answer.status, answer.body, answer.headers["connection"]) == (400, INVALID, "close")
        assert connection.ended()
    assert probe.seen == []
    assert probe.ends == []


@pytest.mark.parametrize("bad", [b"zz\r\n", b"1\r\nabc\r\n", b"1\na\n", b"f" * 17 + b"\r\n"])
def test_a_bad_chunk_is_refused_and_ends_the_body(probe: Probe, bad: bytes) -> None:
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


def test_a_bad_chunk_writes_nothing_into_a_running_answer(probe: Probe) -> None:
    """Nothing is written into an answer."""
    with probe.connect() as connection:
        connection.send(request("PATCH", "/begun", CHUNKED))
        connection.readable()
        connection.send(b"zz\r\n")
        assert connection.answer().body == b"begun"
        assert connection.ended()
    until(lambda: probe.ends == ["/begun"], seconds=5, what="the application hears of it")


@pytest.mark.parametrize("bad", [b"nonsense\r\n\r\n", PATCH + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"])
def test_requests_before_invalid_bytes_are_answered_first(probe: Probe, bad: bytes) -> None:
    """Every request before it is answered first, in order; then 400 and the end."""
    with probe.connect() as connection:
        connection.send(request("GET", "/slow") + request("PATCH", "/", body=b"second") + bad)
        connection.send(b"more nonsense\r\n\r\n")
        time.sleep(0.1)
        probe.gate.set()
        assert seen(connection)["body"] == ""
        assert seen(connection)["body"] == "second"
        answer = connection.answer()
        assert (answer.status, answer.body) == (400, INVALID)
        assert connection.ended()
    assert [path for path, _ in probe.seen] == ["/slow", "/"]


def test_trailers_do_not_change_the_headers(probe: Probe) -> None:
    """The headers never change; only what was announced is told, by lower-case name."""
    sent = [("X-Told", " a b "), ("Authorization", "Bearer x"), ("Content-Type", "text/html"), ("Expect", "x")]
    with probe.connect() as connection:
        for data in (
            request("PATCH", "/", CHUNKED | {"Trailer": "x-told , Content-TYPE"}) + trailing([b"abc"], sent),
            request("PATCH", "/", CHUNKED | {"Trailer": "x-told , Content-TYPE"}) + trailing([], sent),
        ):
            connection.send(data)
            found = seen(connection)
            assert found["same"]
            assert [name for name, _ in found["headers"]] == ["host", "transfer-encoding", "trailer"]
            assert found["trailers"] == {"x-told": "a b", "content-type": "text/html"}
        connection.send(request("PATCH", "/", CHUNKED) + trailing([b"abc"], sent))
        assert seen(connection)["trailers"] == {}
        connection.send(request("PATCH", "/", [*CHUNKED.items(), ("Trailer", "a"), ("Trailer", "b")]))
        connection.send(trailing([b"abc"], [("a", "1"), ("A", "2"), ("b", "3")]))
        assert seen(connection)["trailers"] == {"a": "1, 2", "b": "3"}


def test_each_pipelined_request_has_its_own_trailers(probe: Probe) -> None:
    """Each request has its own."""
    both = [
        request("PATCH", "/", CHUNKED | {"Trailer": "X"}) + trailing([b"a"], [("X", str(number))]) for number in (1, 2)
    ]
    with probe.connect() as connection:
        connection.send(b"".join(both) + request("GET", "/"))
        assert [seen(connection)["trailers"] for _ in range(3)] == [{"x": "1"}, {"x": "2"}, {}]


@pytest.mark.parametrize("name", ["Content-Length", "Transfer-Encoding"])
def test_a_trailer_cannot_change_the_framing(probe: Probe, name: str) -> None:
    """A trailer cannot change where the message ends."""
    sent = request("PATCH", "/", CHUNKED | {"Trailer": name}) + trailing([b"abc"], [(name, "5")])
    with probe.connect() as connection:
        connection.send(sent + request("GET", "/next"))
        answer = connection.answer()
        assert (answer.status, answer.body) == (400, INVALID)
        assert connection.ended()
    assert probe.seen == []
