"""A response from bytes that are not on this machine, whole or in ranges.

Rules:

- As `file_response.py`: it sends nothing before the first byte is there, and then sends what it announced or closes the
  connection.
- At most one piece is in memory. A client that reads slowly slows the reading down; one that reads nothing for
  `body_idle_timeout`, or is gone, ends it.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from server import threads
from server.errors import UnavailableError
from server.settings import Settings
from server.storage.stored_file import Read
from server.web.file_response import Range, StoredFileResponse

# Threads of their own: a place that does not answer holds up no other work.
_threads = ThreadPoolExecutor(32, "streams")


class StreamedFileResponse(StoredFileResponse):
    """What `read` gives, as if it were a file with this `stat`, of which only the size counts."""

    def __init__(
        self,
        read: Read,
        stat: os.stat_result,
        media_type: str,
        headers: dict[str, str],
        ranges: Sequence[Range] | None,
        refuse: Callable[[Exception, Scope], Response],
        settings: Settings,
    ) -> None:
        super().__init__(Path("/"), stat, media_type, headers, ranges, refuse, settings)
        self._read = read

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        framing, end = self._framed()
        status = 200 if self._ranges is None else 206
        start = {"type": "http.response.start", "status": status, "headers": self.raw_headers}
        if scope["method"] == "HEAD":
            await send(start)
            await send({"type": "http.response.body", "body": b""})
            return
        async with aclosing(self._bodies(framing)) as bodies:
            try:
                first = await anext(bodies, b"")
            except (FileNotFoundError, UnavailableError) as error:
                await self._refuse_open(error, scope)(scope, receive, send)
                return
            gone = asyncio.create_task(_until_gone(receive))
            try:
                await send(start)
                await self._send(send, first)
                async for body in bodies:
                    if gone.done():  # a server drops what is sent to nobody, and would read all of it
                        return
                    await self._send(send, body)
            except TimeoutError:
                return  # without the last message, the server closes the connection
            finally:
                gone.cancel()
        # Reached only with all bytes: what an error cuts off above ends with the connection.
        await send({"type": "http.response.body", "body": end, "more_body": False})

    async def _send(self, send: Send, body: bytes) -> None:
        async with asyncio.timeout(self._settings.body_idle_timeout):
            await send({"type": "http.response.body", "body": body, "more_body": True})

    async def _bodies(self, framing: Sequence[tuple[bytes, Range]]) -> AsyncGenerator[bytes]:
        for head, (first, stop) in framing:
            if head:
                yield head
            pieces = self._read(first, stop)
            try:
                while piece := await threads.run(next, pieces, b"", pool=_threads):
                    yield piece
            finally:
                if isinstance(pieces, Generator):
                    pieces.close()


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
