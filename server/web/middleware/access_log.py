"""Every request and its outcome: a request id, one log line and the metrics.

Rule: it reads and never changes. Bodies pass through and are only counted, extensions stay as they are, and the
label `route` comes from the handler of the request, never from the path, so that no client can fill the
metrics with names.
"""

import inspect
import os
import re
import time
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.observability import REQUEST_ID, Metrics
from server.transport.short_answer import NO_HEADERS, SHORT_ANSWER, FixedHeaders, Pairs, ShortAnswer
from server.web.middleware.access_lines import AccessLines, RequestFacts
from server.web.middleware.redaction import redacted

OnError = Callable[[Request, Exception], Response | Awaitable[Response]]

HEADER = "X-Request-ID"

_RAW_HEADER = HEADER.lower().encode()
_ACCEPTED = re.compile(r"[A-Za-z0-9._-]{1,64}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

# Not an HTTP status: the client went away, or the server stopped, before there was one.
NO_ANSWER = 499


class AccessLog:
    """Pure ASGI middleware, the outermost one.

    `scope["state"]["request_id"]` is set for inner code, which may set `scope["state"]["route"]`, a name out
    of a small set. `on_error` logs an exception that no handler caught and makes the response: Starlette's
    own place for that is outside of all middleware, where the response would have no request id. Without it the
    exception is raised on. `clock` gives seconds, `new_id` a request id; tests replace them.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        lines: AccessLines | None = None,
        on_error: OnError | None = None,
        clock: Callable[[], float] = time.perf_counter,
        new_id: Callable[[], str] = lambda: os.urandom(16).hex(),
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._lines = lines or AccessLines()
        self._on_error = on_error
        self._clock = clock
        self._new_id = new_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _given_id(scope) or self._new_id()
        scope.setdefault("state", {})["request_id"] = request_id
        passage = _ObservedRequest(request_id, receive, send)
        extensions = scope.get("extensions")
        if extensions and SHORT_ANSWER in extensions:
            passage.short_answer = extensions[SHORT_ANSWER]
            extensions[SHORT_ANSWER] = passage.answer
        path = scope["path"]  # as the client sent it; inner code may put a prefix before it
        started = self._clock()
        bound = REQUEST_ID.set(request_id)
        try:
            await self._app(scope, passage.receive, passage.send)
        except Exception as error:
            if self._on_error is None or passage.status is not None:
                passage.status = passage.status or 500
                raise  # half a response cannot be taken back: the connection has to break
            answer = self._on_error(Request(scope), error)
            response = await answer if inspect.isawaitable(answer) else answer
            await response(scope, passage.receive, passage.send)
        finally:
            self._record(scope, path, passage, self._clock() - started)
            REQUEST_ID.reset(bound)

    def _record(self, scope: Scope, path: str, passage: "_ObservedRequest", seconds: float) -> None:
        method, state, client = scope["method"], scope["state"], scope.get("client")
        status = passage.status or NO_ANSWER
        label = method if method in _METHODS else "other"
        self._metrics.count_request(label, str(state.get("route", "other")), status, seconds)
        self._lines.add(
            RequestFacts(
                passage.request_id,
                method,
                redacted(path),
                status,
                seconds,
                # Bytes that went directly from or to the socket have not passed here.
                max(passage.bytes_in, state.get("bytes_in", 0)),
                passage.bytes_out + state.get("bytes_out", 0),
                client[0] if client else None,
            )
        )


class _ObservedRequest:
    """`receive` and `send` of one request, with a counter at each."""

    __slots__ = ("_receive", "_send", "bytes_in", "bytes_out", "request_id", "short_answer", "status")

    short_answer: ShortAnswer

    def __init__(self, request_id: str, receive: Receive, send: Send) -> None:
        self.status: int | None = None
        self.bytes_in = 0
        self.bytes_out = 0
        self.request_id = request_id
        self._receive = receive
        self._send = send

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self.bytes_in += len(message.get("body", b""))
        return message

    def answer(self, status: int, headers: Pairs, fixed: FixedHeaders = NO_HEADERS) -> bool:
        """A whole response without a body, sent at once."""
        is_sent = self.short_answer(status, [*headers, (_RAW_HEADER, self.request_id.encode("ascii"))], fixed)
        if is_sent:
            self.status = status
        return is_sent

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            others = [pair for pair in message.get("headers", ()) if pair[0] != _RAW_HEADER]
            message["headers"] = [*others, (_RAW_HEADER, self.request_id.encode("ascii"))]
        elif message["type"] == "http.response.body":
            self.bytes_out += len(message.get("body", b""))
        await self._send(message)


def _given_id(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            text = value.decode("latin-1")
            return text if _ACCEPTED.fullmatch(text) else None
    return None
