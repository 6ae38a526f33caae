"""A live stream as a response: server-sent events (HTML Living Standard, section 9.2).

Rules:

- Only messages of rows have an `id`: a client that comes back with the last one goes on after it. Progress has none.
- While nothing happens a comment is sent every `HEARTBEAT` seconds, so that proxies keep the connection, and a peer
  that is gone is noticed.
- A client that reads nothing for `STALL` seconds while a message waits for it is cut off; it may come back.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, cast

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from server.events.timeouts import RenewedTimeout
from server.transport.sendfile import FILES, Outlet

MEDIA_TYPE = "text/event-stream"
HEARTBEAT = 15.0
STALL = 30.0
RETRY_MS = 2000
"""After which a browser connects again."""
BEAT = b": \n\n"


def frame(name: str, data: bytes, number: int | None) -> bytes:
    """One message; `data` is JSON, which has no line breaks."""
    head = b"" if number is None else b"id: %d\n" % number
    return b"%sevent: %s\ndata: %s\n\n" % (head, name.encode(), data)


def begin(number: int | None) -> bytes:
    """What a stream begins with; with a number, a client that comes back goes on after that event."""
    return b"retry: %d\n%s\n" % (RETRY_MS, b"" if number is None else b"id: %d\n" % number)


class EventStreamResponse(StreamingResponse):
    """Sends what `pieces` gives. `leave` is called when the client has gone, `close` at the end, once."""

    def __init__(self, pieces: AsyncGenerator[bytes], *, leave: Callable[[], None], close: Callable[[], None]) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__((), headers=headers, media_type=MEDIA_TYPE)
        self._pieces = pieces
        self._leave = leave
        self._close = close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.create_task(self._watch(receive))
        is_stalled = False

        def stall() -> None:
            nonlocal is_stalled
            is_stalled = True
            sender.cancel()

        sender = cast("asyncio.Task[None]", asyncio.current_task())
        limit = RenewedTimeout(stall)
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async with aclosing(self._pieces) as pieces:
                async for piece in pieces:
                    limit.begin(STALL)
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                    limit.end()
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except asyncio.CancelledError:
            if not is_stalled or sender.uncancel() > 0:  # it was cancelled by another, too
                raise
            outlet = cast("dict[str, Any]", scope.get("extensions") or {}).get(FILES)
            if outlet is None:
                raise TimeoutError from None
            cast("Outlet", outlet).gone()
        finally:
            limit.close()
            gone.cancel()
            self._close()

    async def _watch(self, receive: Callable[[], Awaitable[Any]]) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._leave()
