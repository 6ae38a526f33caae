"""Request ids, access lines and metrics of requests."""

import asyncio
import json
import logging
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import structlog
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.testing import capture_logs

from server.observability import REQUEST_ID, Metrics, configure_logging
from server.transport.short_answer import NO_HEADERS, SHORT_ANSWER, FixedHeaders
from server.web.middleware.access_lines import AccessLines, RequestFacts
from server.web.middleware.access_log import AccessLog, OnError


@pytest.fixture(autouse=True)
def _own_structlog() -> Iterator[None]:
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


@pytest.fixture
def logging_as_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """All is logged as JSON, into a file."""
    path, root = tmp_path / "log", logging.getLogger()
    handlers, level = root.handlers[:], root.level
    with path.open("w") as file:
        monkeypatch.setattr(sys, "stderr", file)
        configure_logging("info", "json")
        yield path
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)


class Exchange:
    """One request through the middleware: what was sent back, what was counted."""

    def __init__(
        self, app: ASGIApp, on_error: OnError | None = None, headers: dict[str, str] | None = None, **more: Any
    ) -> None:
        self.metrics = Metrics()
        self.sent: list[Message] = []
        self.scope: Scope = {
            "type": "http",
            "method": "POST",
            "path": "/files/secret-id",
            "client": ("192.0.2.1", 1),
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in (headers or {}).items()],
            "extensions": {"videodock.body": object()},
            **more,
        }
        self.error: BaseException | None = None
        ticks = iter([1.0, 3.5])
        bodies: list[Message] = [
            {"type": "http.request", "body": b"12345", "more_body": True},
            {"type": "http.request", "body": b"678", "more_body": False},
            {"type": "http.disconnect"},
        ]

        async def receive() -> Message:
            return bodies.pop(0)

        async def send(message: Message) -> None:
            self.sent.append(message)

        observe = AccessLog(app, self.metrics, None, on_error, lambda: next(ticks), lambda: "made-id")
        with capture_logs() as self.lines:
            try:
                asyncio.run(_awaited(observe, self.scope, receive, send))
            except (RuntimeError, asyncio.CancelledError) as error:
                self.error = error

    @property
    def header(self) -> str:
        headers = dict(self.sent[0]["headers"])
        return str(headers[b"x-request-id"].decode())

    @property
    def line(self) -> dict[str, Any]:
        (line,) = (dict(line) for line in self.lines if line["event"] == "request")
        return line

    @property
    def counted(self) -> str:
        lines = self.metrics.render().decode().splitlines()
        (line,) = (line for line in lines if line.startswith("videodock_requests_total{"))
        return line


async def _awaited(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    await app(scope, receive, send)


async def reading(scope: Scope, receive: Receive, send: Send) -> None:
    scope["state"]["route"] = "files"
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 201, "headers": [(b"x-own", b"1")]})
    await send({"type": "http.response.body", "body": b"abc", "more_body": True})
    await send({"type": "http.response.body", "body": b"de"})


async def silent(_scope: Scope, _receive: Receive, _send: Send) -> None:
    return


async def broken(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise RuntimeError("inside")


async def broken_late(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    raise RuntimeError("inside")


async def cancelled(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise asyncio.CancelledError


def test_one_line_and_one_count_a_request() -> None:
    """The access line has method, path, status, seconds, bytes and client; the metric has the route's name."""
    exchange = Exchange(reading)
    assert exchange.line == {
        "event": "request",
        "log_level": "info",
        "method": "POST",
        "path": "/files/secret-id",
        "status": 201,
        "seconds": 2.5,
        "bytes_in": 8,
        "bytes_out": 5,
        "client": "192.0.2.1",
    }
    assert exchange.counted == 'videodock_requests_total{method="POST",route="files",status="201"} 1.0'
    text = exchange.metrics.render().decode()
    assert 'videodock_request_seconds_sum{method="POST",route="files"} 2.5' in text
    assert "secret-id" not in text
    assert dict(exchange.sent[0]["headers"])[b"x-own"] == b"1"


@pytest.mark.parametrize("is_taken", [True, False])
def test_a_short_answer_is_seen_like_its_messages(is_taken: bool) -> None:
    """The server gets it with the request id and its fixed headers; the line and the metric have its status, by either
    way."""
    given: list[tuple[int, list[tuple[bytes, bytes]], FixedHeaders]] = []
    fixed = FixedHeaders([(b"x-fixed", b"2")])

    def take(status: int, headers: Sequence[tuple[bytes, bytes]], also: FixedHeaders = NO_HEADERS) -> bool:
        given.append((status, list(headers), also))
        return is_taken

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        if not scope["extensions"][SHORT_ANSWER](204, [(b"x-own", b"1")], fixed):
            await send({"type": "http.response.start", "status": 204, "headers": [(b"x-own", b"1")]})
            await send({"type": "http.response.body"})

    exchange = Exchange(app, extensions={SHORT_ANSWER: take})
    headers = [(b"x-own", b"1"), (b"x-request-id", b"made-id")]
    assert given == [(204, headers, fixed)]
    assert [message.get("headers") for message in exchange.sent] == ([] if is_taken else [headers, None])
    assert exchange.line["status"] == 204
    assert 'status="204"' in exchange.counted


def test_extensions_and_messages_pass_unchanged() -> None:
    """Inside, `extensions` is the very object of the server, and unknown messages arrive."""
    seen: list[Any] = []

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        seen.append(scope["extensions"])
        await send({"type": "http.response.informational", "status": 104})
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    exchange = Exchange(app)
    assert seen[0] is exchange.scope["extensions"]
    assert exchange.sent[0] == {"type": "http.response.informational", "status": 104}
    assert exchange.line["status"] == 204


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("abc-1.2_3", "abc-1.2_3"),
        ("x" * 64, "x" * 64),
        ("x" * 65, "made-id"),
        ("", "made-id"),
        ("a b", "made-id"),
        ("a\nb", "made-id"),
        ("ä", "made-id"),
        (None, "made-id"),
    ],
)
def test_a_valid_request_id_is_kept_and_any_other_replaced(given: str | None, expected: str) -> None:
    """A well-formed id of the client is kept, any other is replaced; it is in answer, state and log context."""
    bound: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        bound.append((scope["state"]["request_id"], REQUEST_ID.get()))
        await reading(scope, receive, send)

    exchange = Exchange(app, headers={} if given is None else {"X-Request-ID": given})
    assert exchange.header == expected
    assert bound == [(expected, expected)]
    assert REQUEST_ID.get() is None


def test_a_request_id_set_by_the_app_is_sent_once() -> None:
    """An app that sets the header itself gets it once."""

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-request-id", b"own")]})
        await send({"type": "http.response.body"})

    exchange = Exchange(app)
    assert exchange.sent[0]["headers"] == [(b"x-request-id", b"made-id")]


@pytest.mark.parametrize(
    ("app", "status", "error"),
    [
        (silent, 499, None),
        (cancelled, 499, asyncio.CancelledError),
        (broken, 500, RuntimeError),
        (broken_late, 200, RuntimeError),
    ],
)
def test_requests_without_a_response_are_logged_and_counted(
    app: ASGIApp, status: int, error: type[BaseException] | None
) -> None:
    """A client that went away, a stop and an exception each leave a line and a count; exceptions go on."""
    exchange = Exchange(app)
    assert exchange.line["status"] == status
    assert exchange.counted == f'videodock_requests_total{{method="POST",route="other",status="{status}"}} 1.0'
    assert type(exchange.error) is (type(None) if error is None else error)


def _plain(request: Request, error: Exception) -> PlainTextResponse:
    return PlainTextResponse(f"{request.state.request_id} {error}", 500)


async def _plain_later(request: Request, error: Exception) -> PlainTextResponse:
    return _plain(request, error)


@pytest.mark.parametrize("on_error", [_plain, _plain_later])
def test_an_unhandled_exception_is_answered_with_the_request_id(on_error: OnError) -> None:
    """The answer to an exception passes through the middleware: it has the header and is counted as 500."""
    exchange = Exchange(broken, on_error)
    assert exchange.error is None
    assert (exchange.header, exchange.sent[1]["body"]) == ("made-id", b"made-id inside")
    assert exchange.line["status"] == 500


def test_an_exception_after_the_response_began_ends_it() -> None:
    """Once the answer has begun, an exception is not turned into a second one."""
    exchange = Exchange(broken_late, _plain)
    assert isinstance(exchange.error, RuntimeError)
    assert len(exchange.sent) == 1


def test_unusual_methods_share_a_label() -> None:
    """A client cannot fill the metrics with methods of its own; the log has the true one."""
    exchange = Exchange(reading, method="BREW")
    assert 'method="other"' in exchange.counted
    assert exchange.line["method"] == "BREW"


def test_lifespan_and_websockets_pass_unchanged() -> None:
    """Lifespan and web sockets are none of its business."""
    seen: list[str] = []

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        seen.append(scope["type"])

    exchange = Exchange(app, type="lifespan")
    assert seen == ["lifespan"]
    assert exchange.lines == []


def test_a_request_without_a_client_address_is_logged() -> None:
    """A connection without a peer address is logged as such."""
    assert Exchange(reading, client=None).line["client"] is None


def test_access_lines_equal_those_of_structlog(logging_as_json: Path) -> None:
    """The quick way writes byte for byte the fields that structlog writes for the same request, stamps aside."""
    facts = RequestFacts('made-"id', "POST", "/a\nb\x1b\udcff视频", 201, 2.123456, 8, 5, None)
    quick, general = AccessLines(), structlog.stdlib.get_logger("videodock.access")
    quick.add(facts)
    quick.flush()
    given = {name: getattr(facts, name) for name in RequestFacts._fields if name != "request_id"}
    bound = REQUEST_ID.set(facts.request_id)
    general.info("request", **given | {"seconds": round(facts.seconds, 4)})
    REQUEST_ID.reset(bound)
    first, second = (line.rpartition('"timestamp"') for line in logging_as_json.read_text().splitlines())
    assert first[0] == second[0]
    assert re.fullmatch(r': "\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"}', first[2])


def test_a_blocked_log_reader_costs_lines_and_not_requests(logging_as_json: Path) -> None:
    """Of more lines than are kept the newest are missing, and one line says how many."""
    lines = AccessLines(most=3)
    lines._owner = os.getpid()  # its thread is as stuck as the reader
    for number in range(10):
        lines.add(RequestFacts(f"r{number}", "GET", "/", 200, 0.1, 0, 0, "192.0.2.1"))
    lines.flush()
    seen = [json.loads(line) for line in logging_as_json.read_text().splitlines()]
    assert [line.get("request_id") for line in seen] == ["r0", "r1", "r2", None]
    assert (seen[3]["event"], seen[3]["count"]) == ("access_lines_missing", 7)
