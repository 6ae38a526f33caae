"""Shared by all endpoints with a body: how they are called, and how they refuse.

Rule: an endpoint returns a response or raises; it never sends. So a refusal always takes the one way that reaches
a client which is still sending: respond first, then read on for a moment, then close. (Closing at once makes the
kernel send a reset that overtakes the response; keeping the connection would drain the remaining gigabytes.)
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import anyio
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from server.errors import MethodNotAllowedError, StoppingError, VideodockError
from server.transport.admission import Admission, RequestBody
from server.transport.short_answer import NO_HEADERS, SHORT_ANSWER
from server.transport.socket_body import SocketBody
from server.tus.headers import Head
from server.uploads.service import ClientGoneError
from server.web.access import Right
from server.web.errors import known
from server.web.middleware.cors import CrossOrigin

_DRAIN_BYTES = 1 << 20
_DRAIN_SECONDS = 2.0


class _RawNames(dict[str, bytes]):
    """Names of headers as they are sent; the code has a few dozen of them."""

    def __missing__(self, name: str) -> bytes:
        raw = self[name] = name.lower().encode()
        return raw


_raw = _RawNames()


class BareResponse(Response):
    """A response without a body. Starlette's own looks at each header twice."""

    def __init__(self, status: int, headers: Mapping[str, str] | None = None) -> None:
        self.status_code = status
        self.background = None
        self.body = b""
        self.raw_headers = [(_raw[name], value.encode("latin-1")) for name, value in headers.items()] if headers else []
        self.fixed = NO_HEADERS
        """More headers, whose lines are made already."""
        if status >= 200 and status not in (204, 304):
            self.raw_headers.append((b"content-length", b"0"))


@dataclass(slots=True)
class Call:
    """One request, as an endpoint sees it."""

    scope: Scope
    head: Head
    body: RequestBody
    given: Right | None = None
    """What the request may touch, once that is known."""

    @property
    def request(self) -> Request:
        """The request as Starlette has it."""
        return Request(self.scope)

    @property
    def path_params(self) -> Mapping[str, Any]:
        """The variable parts of the path."""
        params: Mapping[str, Any] = self.scope.get("path_params", {})
        return params

    @property
    def right(self) -> Right:
        """What the request may touch. Handlers of what has an owner are called with it."""
        if self.given is None:
            raise RuntimeError("the handler did not ask `Access` about this request")
        return self.given


Handle = Callable[[Call], Awaitable[Response]]
Refuse = Callable[[VideodockError, Scope], Response]
Dress = Callable[[Response, Scope], object]


def endpoint(
    handle: Handle,
    refuse: Refuse,
    *,
    route: str,
    intake: Admission,
    cors: CrossOrigin | None = None,
    dress: Dress | None = None,
) -> ASGIApp:
    """An ASGI application that responds with the result of `handle`, or with `refuse` of its error.

    With `cors` it answers OPTIONS itself, and pages of other origins may read its responses. `dress` adds to the
    responses of `handle`.
    """
    return _Endpoint(handle, refuse, route, intake, cors, dress)


def by_method(handlers: Mapping[str, Handle]) -> Handle:
    """One handler for an address, from those of its methods; HEAD is answered as GET. Others are refused (405)."""

    async def handle(call: Call) -> Response:
        method = "GET" if call.head.method == "HEAD" else call.head.method
        if method not in handlers:
            names = [*handlers, *(["HEAD"] if "GET" in handlers else []), "OPTIONS"]
            raise MethodNotAllowedError(method=call.head.method, allowed=", ".join(names))
        return await handlers[method](call)

    return handle


class _Endpoint:
    # An instance, because Starlette takes functions for handlers and all other callables for applications.
    def __init__(
        self,
        handle: Handle,
        refuse: Refuse,
        route: str,
        intake: Admission,
        cors: CrossOrigin | None,
        dress: Dress | None,
    ) -> None:
        self._dress = dress
        self._handle = handle
        self._refuse = refuse
        self._route = route
        self._intake = intake
        self._cors = cors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        state = scope.setdefault("state", {})
        state["route"] = self._route
        length = _declared_length(scope)
        if length is None:
            # uvicorn's own protocol class adds trailers to the list of headers when they come, after the body.
            scope = {**scope, "headers": tuple(scope["headers"])}
        body = self._intake.body(scope, receive, length)
        try:
            response = await self._answer(scope, body, length)
            if response is not None:
                if self._cors is not None:
                    self._cors.dress(response, scope)
                await _send(response, scope, receive, send, body, length)
        finally:
            state["bytes_in"] = body.arrived
            await body.close()

    async def _answer(self, scope: Scope, body: RequestBody, length: int | None) -> Response | None:
        try:
            head = Head.of(scope["method"], scope["headers"])
            if self._cors is not None and head.method == "OPTIONS":
                return Response(status_code=204, headers=self._cors.preflight(scope))
            call = Call(scope, head, body)
            if length == 0:
                response = await self._handle(call)
            else:
                head.get("Content-Length")  # raises for two
                with self._intake.admit():
                    response = await self._handle(call)
            if self._dress is not None:
                self._dress(response, scope)
            return _bare(response) if head.method == "HEAD" != scope["method"] else response
        except ClientGoneError:
            return None
        except asyncio.CancelledError:
            # Only a stopping server cancels a request. Without a response, uvicorn sends one: a bare 500.
            _keep_running()
            return self._refuse(StoppingError(), scope)
        except Exception as error:
            return self._refuse(known(error, scope), scope)


async def _send(
    response: Response, scope: Scope, receive: Receive, send: Send, body: RequestBody, length: int | None
) -> None:
    if body.consumed(length):
        if isinstance(response, BareResponse):
            short = (scope.get("extensions") or {}).get(SHORT_ANSWER)
            if short is not None and short(response.status_code, response.raw_headers, response.fixed):
                return
            response.raw_headers += response.fixed.pairs
        await response(scope, receive, send)
        return
    if isinstance(response, BareResponse):
        response.raw_headers += response.fixed.pairs
    response.headers["Connection"] = "close"
    if any(name == b"expect" for name, _ in scope["headers"]) or isinstance(body, SocketBody):
        # The client waits for a response or `100 Continue` before it sends; reading now would send the latter. And a
        # server that hands bodies over closes such a connection by itself.
        await response(scope, receive, send)
        return
    if isinstance(response, FileResponse):  # it sends by itself; the body of a GET is not read
        await body.drain(_DRAIN_BYTES)
        await response(scope, receive, send)
        return
    await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
    await send({"type": "http.response.body", "body": bytes(response.body), "more_body": True})
    with anyio.move_on_after(_DRAIN_SECONDS):
        await body.drain(_DRAIN_BYTES)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _bare(response: Response) -> Response:
    """The head of a response: X-HTTP-Method-Override made a HEAD of a request whose own method needs a body."""
    bare = Response(status_code=response.status_code)
    fixed = response.fixed.pairs if isinstance(response, BareResponse) else ()
    bare.raw_headers = [pair for pair in (*response.raw_headers, *fixed) if pair[0] != b"content-length"]
    return bare


def _keep_running() -> None:
    """Let this task finish its last steps, as if it had not been cancelled."""
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()


def _declared_length(scope: Scope) -> int | None:
    """Bytes of the body, 0 where none is declared; None for one whose end only its framing shows, and for two lengths,
    which `Head` refuses."""
    length: int | None = None
    for name, value in scope["headers"]:
        if name == b"transfer-encoding":
            return None
        if name == b"content-length":
            if length is not None or not value.isdigit():
                return None
            length = int(value)
    return length or 0
