"""A response without a body that is written in one piece has the bytes of uvicorn's two messages."""

import asyncio
import logging
from typing import Any

import pytest
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from server.serving.body_handover import WholeAnswer
from server.transport.short_answer import FixedHeaders

Pairs = list[tuple[bytes, bytes]]

DATE = (b"date", b"Mon, 30 Nov 2026 12:00:00 GMT")
OFFSET = (b"upload-offset", b"7")
NO_BYTES = (b"content-length", b"0")


class Transport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def close(self) -> None:
        pass


class Exchange:
    """One request on uvicorn's own cycle."""

    def __init__(self, method: str, *, keep_alive: bool = True) -> None:
        self.transport = Transport()
        self.flow = FlowControl(self.transport)
        self.completed = 0
        self.cycle = RequestResponseCycle(
            scope={"type": "http", "method": method},  # type: ignore[typeddict-item]
            transport=self.transport,
            flow=self.flow,
            logger=logging.getLogger("test"),
            access_logger=logging.getLogger("test"),
            access_log=False,
            default_headers=[DATE],
            message_event=asyncio.Event(),
            expect_100_continue=True,
            keep_alive=keep_alive,
            on_response=self._complete,
        )

    def _complete(self) -> None:
        self.completed += 1

    async def send(self, status: int, headers: Pairs) -> None:
        """By messages."""
        await self.cycle.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.cycle.send({"type": "http.response.body", "body": b"", "more_body": False})

    @property
    def state(self) -> tuple[object, ...]:
        cycle = self.cycle
        flags = cycle.response_started, cycle.response_complete, cycle.waiting_for_100_continue, cycle.keep_alive
        return self.transport.written, self.completed, cycle.message_event.is_set(), *flags


@pytest.mark.parametrize(
    ("method", "status", "headers"),
    [
        ("HEAD", 200, [OFFSET]),
        ("HEAD", 200, [(b"content-length", b"0"), OFFSET]),
        ("PATCH", 204, [OFFSET, (b"upload-metadata", "ü".encode("latin-1"))]),
        ("DELETE", 204, []),
        ("POST", 201, [(b"location", b"http://a/files/1"), NO_BYTES]),
    ],
)
def test_the_bytes_and_the_state_are_those_of_two_messages(method: str, status: int, headers: Pairs) -> None:
    """The same head, no `100 Continue` later, and the connection goes on with its next request."""

    async def both() -> tuple[Exchange, Exchange]:
        one, other = Exchange(method), Exchange(method)
        assert WholeAnswer(one.cycle)(status, headers)
        await other.send(status, headers)
        return one, other

    one, other = asyncio.run(both())
    assert one.state == other.state
    assert one.completed == 1


def test_fixed_headers_come_after_the_others() -> None:
    """The bytes are those of two messages with all of them."""
    fixed = FixedHeaders([(b"tus-resumable", b"1.0.0"), (b"cache-control", b"no-store")])

    async def both() -> tuple[Exchange, Exchange]:
        one, other = Exchange("HEAD"), Exchange("HEAD")
        assert WholeAnswer(one.cycle)(200, [OFFSET], fixed)
        await other.send(200, [OFFSET, *fixed.pairs])
        return one, other

    one, other = asyncio.run(both())
    assert one.state == other.state


def test_fixed_headers_have_no_controls() -> None:
    """They are checked when they are made, and not again."""
    with pytest.raises(ValueError, match="control character"):
        FixedHeaders([(b"x", b"1\r\ny: 2")])


@pytest.mark.parametrize(
    "headers",
    [
        [(b"location", b"/\r\nset-cookie: a=b"), NO_BYTES],
        [(b"location", b"/\nx: y"), NO_BYTES],
        [(b"x\r\ny", b"1"), NO_BYTES],
        [(b"x", b"\x00"), NO_BYTES],
        [(b"x", b"\x7f"), NO_BYTES],
        [OFFSET],
        [(b"content-length", b"5")],
    ],
)
def test_a_head_that_uvicorn_has_to_judge_is_not_written(headers: Pairs) -> None:
    """Controls in a name or a value, and a response that could have a body: nothing is sent, uvicorn's way is left."""

    async def ask() -> tuple[object, ...]:
        exchange = Exchange("POST")
        before = exchange.state
        assert not WholeAnswer(exchange.cycle)(201, headers)
        assert exchange.state == before
        return exchange.state

    assert asyncio.run(ask())[0] == b""


@pytest.mark.parametrize("why", ["started", "disconnected", "full", "closing"])
def test_a_connection_in_another_state_takes_the_messages(why: str) -> None:
    """A response that has begun, a client that is gone, a full buffer, and a connection that ends with this answer."""

    async def ask() -> None:
        exchange = Exchange("HEAD", keep_alive=why != "closing")
        if why == "started":
            await exchange.cycle.send({"type": "http.response.start", "status": 200, "headers": []})
        elif why == "disconnected":
            exchange.cycle.disconnected = True
        elif why == "full":
            exchange.flow.pause_writing()
        before = exchange.state
        assert not WholeAnswer(exchange.cycle)(200, [OFFSET])
        assert exchange.state == before

    asyncio.run(ask())
