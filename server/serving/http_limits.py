"""uvicorn's HTTP protocol with limits on everything around a body: heads, trailers, and silence.

Rule: a connection costs a bounded amount of memory and time before the application knows of its request, and no
byte of one message is ever taken for a part of another.

How it works. uvicorn's class is both the asyncio protocol and the target of httptools' callbacks. llhttp, below,
refuses what would let two readers see two different requests: a second Content-Length, one beside
Transfer-Encoding, folded lines, bare line feeds (the tests pin that down, since a later llhttp may differ).
This class adds:

- Size. httptools delivers a header only once it is whole, and gathers up to 64 MiB of it before. So two things are
  counted: the parts that were delivered, and the bytes of reads that completed nothing. The second number
  covers everything that could be sent without end: a head, blank lines before it, trailers, chunk extensions.
- Time. One timer a connection sets the limit for a whole head. It runs from the connection or from the first
  byte of a later head. The time of an earlier response does not count against the client: reading may be paused.
- Trailers come through the same callback as headers, and uvicorn appends them to the list that the application
  already has: an injected Authorization too. Here the list ends with the head. Trailers that the head announced go
  into a mapping of their own, which is whole before the application gets the end of the body.
- Upgrade. After a request with `Upgrade`, httptools takes all that follows for another protocol: its body would be
  lost and then read as requests. Java's client requests h2c from every plain server, in uploads too. We never upgrade
  (RFC 9110 lets a server ignore it): a fresh parser gets the length of the body, and goes on where the first one
  stopped.
- Host. llhttp accepts a request that names no host, or two, and uvicorn ignores the one in an absolute target:
  `hosts.py`.
- Responses that the client does not read. A transport waits for its buffer to empty, also when it is closed. A clock
  of each connection runs while the buffer is not empty: `answer_timeout.py`.
- The end. An error concerns one message. Responses to those before it are sent first, no error is written into a
  response that has begun, and an application that still reads that body gets a disconnect. Closing with unread
  bytes would make the kernel send a reset that overtakes the response: so half-close, linger for a moment, close.
"""

import asyncio
import os
import socket
import struct
from enum import Enum, auto
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from server.errors import HeadTimeoutError, HeadTooLargeError, HostInvalidError, TooBusyError, VideodockError
from server.serving import early_answers, hosts
from server.serving.answer_timeout import AnswerClock, limit_kernel, make_room
from server.serving.body_handover import LingeringClose
from server.serving.framing import Framing, FramingError
from server.transport.body import TRAILERS

MAX_HEADERS = 256
LINGER_BYTES = 1 << 20
LINGER_SECONDS = 2.0
_AT_ONCE = struct.pack("ii", 1, 0)
_INVALID = "Invalid HTTP request received."  # uvicorn's own sentence


class Phase(Enum):
    """What the parser expects next."""

    BETWEEN = auto()  # the first byte of a request
    HEAD = auto()
    BODY = auto()  # or trailers
    REPEATED = auto()  # the same head once more, see `_ignore_upgrade`


class _RefusedError(Exception):
    """Thrown in a callback, to stop the parser."""


class LimitedHttp(HttpToolsProtocol):
    """One connection. Sizes are bytes, times seconds."""

    max_head_size: int
    head_timeout: float
    max_connections: int = 1 << 20
    keep_alive_timeout: float | None = None  # None keeps uvicorn's setting
    idle_timeout: float = 60
    min_rate: float = 0
    _clocks: dict[AnswerClock, None]

    def __init_subclass__(cls) -> None:
        cls._clocks = {}  # of the connections of one server

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.keep_alive_timeout is not None:
            self.timeout_keep_alive = self.keep_alive_timeout  # type: ignore[assignment]  # uvicorn only waits so long
        self._phase = Phase.BETWEEN
        self._parts_size = 0  # of the headers or trailers that were delivered
        self._parts_count = 0
        self._unread = 0  # bytes of reads that completed nothing
        self._progress = False  # whether this read completed something
        self._framing = Framing()  # of the newest request
        self._running: RequestResponseCycle | None = None  # `cycle` is the newest, which may wait in `pipeline`
        self._timer: asyncio.TimerHandle | None = None
        self._refusal: VideodockError | None = None
        self._last_answer: bytes | None = None  # sent once all earlier requests are answered
        self._surplus = False  # one connection more than the limit
        self._ignores_input = False  # later bytes are ignored
        self._swallowed = 0

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        limit_kernel(transport, self.idle_timeout)
        give_up = self._give_up_answer
        self._clock = AnswerClock(transport, self.idle_timeout, self.min_rate, self._clocks, give_up, self.loop)
        self._surplus = len(self.connections) > self.max_connections and not make_room(self._clocks)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._clock.stop()
        self._unset_keepalive_if_required()
        self.pipeline.clear()
        # uvicorn notifies the newest request only; the one that runs would wait for ever.
        if self._busy() and self._running is not None:
            cut_off(self._running)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._ignores_input:
            self._drain(len(data))
            return
        self._unset_keepalive_if_required()
        self._progress = False
        try:
            self._feed(data)
            self._unread = 0 if self._progress else self._unread + len(data)
            if self._unread > self.max_head_size:
                self._refuse()
        except (httptools.HttpParserError, _RefusedError):
            self._fail()
            return
        if self._phase is Phase.HEAD or (self._phase is Phase.BETWEEN and not self._progress):
            self._start_timer()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._clock.start()

    def timeout_keep_alive_handler(self) -> None:
        if not self.transport.is_closing():
            self.close()

    def close(self) -> None:
        """Close, and do not wait for ever until the client has read what was written."""
        self.transport.close()
        self._clock.start()

    def shutdown(self) -> None:
        if self._ignores_input and not self._busy():
            self.close()
        else:
            super().shutdown()

    def _feed(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                self.parser.feed_data(rest)
            except httptools.HttpParserUpgrade as upgrade:
                rest = rest[upgrade.args[0] :]
                self._ignore_upgrade()
            else:
                return

    def _ignore_upgrade(self) -> None:
        self.parser = self._new_parser()
        self._phase = Phase.REPEATED
        self.parser.feed_data(b"POST / HTTP/1.1\r\n" + self._framing.line + b"\r\n")
        if self._phase is Phase.REPEATED:  # otherwise the message had no body, and is complete
            self._phase = Phase.BODY

    def _new_parser(self) -> httptools.HttpRequestParser:
        parser = httptools.HttpRequestParser(self)
        parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's
        return parser

    # What the parser finds

    def on_message_begin(self) -> None:
        if self._phase is Phase.REPEATED:
            return
        self._phase = Phase.HEAD
        self._parts_size = self._parts_count = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        if self._phase is Phase.REPEATED:
            return
        self._parts_size += len(url)
        if self._parts_size > self.max_head_size:
            self._refuse()
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._phase is Phase.REPEATED:
            return
        self._parts_count += 1
        self._parts_size += len(name) + len(value) + 4  # the colon, a space, the end of the line
        if self._parts_size > self.max_head_size or self._parts_count > MAX_HEADERS:
            self._refuse()
        if self._phase is Phase.BODY:
            self._framing.keep_trailer(name, value)
            return
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self._phase is Phase.REPEATED:
            return
        self._judge_head()
        extensions: dict[str, Any] = {TRAILERS: self._framing.trailers}
        self.scope["extensions"] = extensions
        super().on_headers_complete()
        self._add_extensions(extensions)  # the application runs later, so they are there in time
        self.cycle.transport = LingeringClose(self, self.cycle)  # type: ignore[assignment]  # all that a cycle uses of it
        self._stop_timer()
        self._phase = Phase.BODY
        self._progress = True
        self._parts_size = self._parts_count = 0

    def _add_extensions(self, extensions: dict[str, Any]) -> None:
        """Put the connection's offers to the application into the scope of the newest request."""

    def _judge_head(self) -> None:
        try:
            self._framing = Framing(self.headers)
            self.url = hosts.settle(self.url, self.parser.get_http_version(), self.headers)
        except FramingError:
            raise _RefusedError from None
        except hosts.HostError:
            self._refusal = HostInvalidError()
            raise _RefusedError from None
        if self._surplus:
            self._refusal = TooBusyError()
            raise _RefusedError

    def on_body(self, body: bytes) -> None:
        self._progress = True
        if self.cycle.response_complete:
            self._drain(len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return  # not the true end: see `_ignore_upgrade`
        self._phase = Phase.BETWEEN
        self._progress = True
        super().on_message_complete()

    def _should_upgrade(self) -> bool:
        return False

    def _refuse(self) -> None:
        self._refusal = HeadTooLargeError(limit=self.max_head_size, count=MAX_HEADERS)
        raise _RefusedError

    def end(self) -> None:
        """Close after the response."""
        self._end(b"")

    def _give_up_answer(self) -> None:
        if self._running is not None:
            cut_off(self._running)
        # A closing transport keeps its socket while it has bytes to write.
        self._abort(is_open=not self.transport.is_closing() or self.transport.get_write_buffer_size() > 0)

    def _abort(self, *, is_open: bool) -> None:
        if is_open:
            with socket.socket(fileno=os.dup(self.transport.get_extra_info("socket").fileno())) as own:
                own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self.transport.abort()

    # Responses

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        last = not self.pipeline
        super().on_response_complete()
        if not last or self.transport.is_closing():
            return
        if self._last_answer is not None:
            self._end(self._last_answer)
        elif self._phase is not Phase.BETWEEN:
            # The response overtook the body, or a head has begun: our own timer counts now.
            self._unset_keepalive_if_required()
            self._start_timer()

    def _busy(self) -> bool:
        """Whether a response is under way; `pipeline` is empty if not."""
        return self._running is not None and not self._running.response_complete

    def _fail(self) -> None:
        """End the connection for the message that is being read."""
        self._ignores_input = True
        self._stop_timer()
        if self._refusal is None:
            self.logger.warning(_INVALID)
            answer = early_answers.words(HTTPStatus.BAD_REQUEST, _INVALID, self.server_state.default_headers)
        else:
            answer = self._response_to(self._refusal)
        if self._phase is Phase.BODY and self.pipeline:
            self.pipeline.popleft()  # the newest, whose body this is, was not begun
        elif self._phase is Phase.BODY:
            answer = b"" if self.cycle.response_started else answer
            cut_off(self.cycle)
            self._end(answer)
            return
        if self._busy():
            self._last_answer = answer
        else:
            self._end(answer)

    def _end(self, answer: bytes) -> None:
        """Send the last response and close, so that it arrives."""
        self._ignores_input = True
        self._stop_timer()
        self._unset_keepalive_if_required()
        if self.transport.is_closing():
            return
        if answer:
            self.transport.write(answer)
        if not self.transport.can_write_eof():  # TLS
            self.close()
            return
        self.transport.write_eof()
        self.flow.resume_reading()
        self.transport.resume_reading()  # also when a body was handed over, whose reader is gone
        self._timer = self.loop.call_later(LINGER_SECONDS, self.close)

    def _drain(self, count: int) -> None:
        """Drain a body without a reader, up to a limit."""
        self._swallowed += count
        if self._swallowed > LINGER_BYTES and not self._busy():
            self.close()

    def _response_to(self, error: VideodockError) -> bytes:
        return early_answers.refusal(error, self.server_state.default_headers)

    # Time

    def _start_timer(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self.head_timeout, self._too_late)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_late(self) -> None:
        self._timer = None
        if self._busy():
            self._start_timer()
            return
        has_begun = self._phase is Phase.HEAD or (self._phase is Phase.BETWEEN and self._unread > 0)
        self._end(self._response_to(HeadTimeoutError(seconds=f"{self.head_timeout:g}")) if has_begun else b"")


def cut_off(cycle: RequestResponseCycle) -> None:
    """Give an application the disconnect of its client; what it still sends is dropped."""
    cycle.disconnected = True
    cycle.waiting_for_100_continue = False
    cycle.message_event.set()
