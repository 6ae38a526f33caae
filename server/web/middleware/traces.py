"""Requests that belong to a task become spans of its trace.

Rule: a handler names the task by `scope["state"]["trace"]`; a request without one, such as a refused creation, has no
span. This middleware is there only while traces are on.
"""

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.tracing import Span, Tracing
from server.transport.short_answer import SHORT_ANSWER

TRACE = "trace"
"""The key of the state with the id of the task, or of the upload that becomes one."""


class Traces:
    """Pure ASGI middleware, inside of the access log, which knows the route."""

    def __init__(self, app: ASGIApp, tracing: Tracing) -> None:
        self._app = app
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.time_ns(), 499
        (scope.get("extensions") or {}).pop(SHORT_ANSWER, None)  # it would pass by `observed`

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, observed)
        finally:
            state = scope.get("state", {})
            task_id = state.get(TRACE)
            if task_id is not None:
                self._record(scope, task_id, started, status)

    def _record(self, scope: Scope, task_id: str, started: int, status: int) -> None:
        state, method = scope["state"], scope["method"]
        route = str(state.get("route", "other"))
        caller = next((value for name, value in scope["headers"] if name == b"traceparent"), None)
        span = Span(
            name=f"{method} {route}",
            started=started,
            ended=time.time_ns(),
            kind="server",
            error=str(status) if status >= 500 else "",
            caller=None if caller is None else caller.decode("latin-1"),
            attributes={
                "http.request.method": method,
                "http.route": route,
                "http.response.status_code": status,
                "http.request.body.size": int(state.get("bytes_in", 0)),
                "videodock.request_id": str(state.get("request_id", "")),
            },
        )
        self._tracing.record(task_id, span)
