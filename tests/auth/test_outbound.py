"""A request to another server: what is sent, what counts as an answer, and where it goes."""

import socket
import time
from typing import Any

import pytest

from server.auth import outbound
from server.auth.outbound import Answer, OutboundError, Target
from tests.harness.backend import Backend, answers, floods, sends


def ask(url: str, **more: Any) -> Answer:
    return outbound.request(Target.of(url), deadline=time.monotonic() + 20, most=1000, **more)


TARGETS = [
    ("http://id.example", ("id.example", 80, "/", "id.example")),
    ("https://id.example/", ("id.example", 443, "/", "id.example")),
    ("https://id.example:443/a", ("id.example", 443, "/a", "id.example")),
    ("http://id.example:8080/a?b=c&d", ("id.example", 8080, "/a?b=c&d", "id.example:8080")),
    ("http://[::1]:81/%20x", ("::1", 81, "/%20x", "[::1]:81")),
    ("http://bücher.example/ä b?ü", ("xn--bcher-kva.example", 80, "/%C3%A4%20b?%C3%BC", "xn--bcher-kva.example")),
    ("http://id.example/a#b", ("id.example", 80, "/a", "id.example")),
]


@pytest.mark.parametrize(("url", "expected"), TARGETS)
def test_parts_of_a_url(url: str, expected: tuple[object, ...]) -> None:
    """Host, port and path of a URL, and its Host header."""
    target = Target.of(url)
    assert (target.host, target.port, target.path, target.authority) == expected


@pytest.mark.parametrize("url", ["", "ftp://a/", "http://", "http:///a", "http://a:x/", "http://a:99999/", "file:///a"])
def test_what_is_no_url_is_refused_without_showing_it(url: str) -> None:
    """A URL may hold a password: the error does not have it."""
    with pytest.raises(ValueError) as refused:
        Target.of(url.replace("://", "://user:secret@"))
    assert "secret" not in str(refused.value)


def test_a_password_of_the_url_is_sent_and_not_shown() -> None:
    """User and password of the URL become Basic authorization; neither is in a repr."""
    with Backend(answers(200)) as backend:
        url = backend.url.replace("://", "://user:p%40ss@")
        assert "p%40ss" not in repr(Target.of(url))
        ask(url)
        assert backend.asked[0].headers["authorization"] == "Basic dXNlcjpwQHNz"


def test_a_request_and_its_answer() -> None:
    """Method, headers and body are sent, and status, type and body come back."""
    with Backend(answers(418, {"a": 1}, Content_Type="Application/JSON; charset=utf-8")) as backend:
        answer = ask(backend.url + "?x=1", method="POST", headers=[(b"X-One", b"1")], body=b"hello")
        assert (answer.status, answer.content_type, answer.body) == (418, "application/json", b'{"a": 1}')
        (asked,) = backend.asked
        assert (asked.method, asked.path, asked.body) == ("POST", "/asked?x=1", b"hello")
        assert asked.headers == {
            "host": f"127.0.0.1:{backend.port}",
            "connection": "close",
            "accept-encoding": "identity",
            "content-length": "5",
            "x-one": "1",
        }


@pytest.mark.parametrize(
    ("name", "value"),
    [(b"X", b"a\r\nY: b"), (b"X", b"a\nY: b"), (b"X", b"a\rb"), (b"X", b"a\0"), (b"X\r\nY", b"a"), (b"X:", b"a")],
)
def test_a_header_cannot_begin_another(name: bytes, value: bytes) -> None:
    """A name or value that would end its line is not sent, and nothing else of the request."""
    with Backend(answers(200)) as backend:
        with pytest.raises(OutboundError):
            ask(backend.url, headers=[(name, value)])
        assert backend.connections == 0


@pytest.mark.parametrize("size", [1000, 1001])
def test_the_size_of_an_answer(size: int) -> None:
    """An answer of `most` bytes is whole, one of a byte more is none, with and without its length."""
    raw = b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * size
    for behaviour in (answers(200, b"x" * size), sends(raw)):
        with Backend(behaviour) as backend:
            if size == 1000:
                assert len(ask(backend.url).body) == 1000
            else:
                with pytest.raises(OutboundError, match="too large"):
                    ask(backend.url)


@pytest.mark.parametrize("piece", [b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 99])
def test_what_is_not_the_body_has_a_limit_too(piece: bytes) -> None:
    """Interim answers and headers without an end are an error by their size, long before the deadline."""
    with Backend(floods(b"", piece=piece)) as backend, pytest.raises(OutboundError, match=r"too large|not HTTP"):
        ask(backend.url)


def test_an_answer_before_the_body_is_read() -> None:
    """A server that refuses a large body at its head still gives its answer."""
    with Backend(answers(403, b"no")) as backend:
        assert ask(backend.url, method="POST", body=b"x" * 100_000).status == 403


def test_nobody_listens() -> None:
    """A port on which nobody listens is an error with the system's words."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(OutboundError, match="refused"):
        ask(f"http://127.0.0.1:{port}/")


def test_a_name_without_an_address() -> None:
    """A name that does not exist is an error (RFC 6761: `.invalid` never does)."""
    with pytest.raises(OutboundError):
        ask("http://id.invalid/")


def test_the_next_address_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name with an address on which nobody listens is reached by its other one."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        closed = free.getsockname()
    with Backend(answers(200, b"here")) as backend:
        kinds = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        both = [(*kinds, closed), (*kinds, ("127.0.0.1", backend.port))]
        monkeypatch.setattr(outbound, "_addresses", lambda *_: both)
        assert ask("http://id.example/").body == b"here"


def test_after_the_deadline_nothing_is_sent() -> None:
    """A request that waited for its thread until its deadline does not connect any more."""
    with Backend(answers(200)) as backend:
        with pytest.raises(OutboundError, match="in time"):
            outbound.request(Target.of(backend.url), deadline=time.monotonic(), most=1000)
        assert backend.connections == 0
