"""A response from bytes that are not on this machine, whole or in ranges.

Rule: as `file_response.py`: it sends nothing before the first byte is there, and then sends what it announced or closes
the connection. At most one piece is in memory; a client that reads slowly slows the reading down.
"""

import os
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from server import threads
from server.errors import UnavailableError
from server.settings import Settings
from server.storage.stored_file import Read
from server.web.file_response import Range, StoredFileResponse


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
        bodies = self._bodies(framing)
        try:
            first = await anext(bodies, b"")
        except (FileNotFoundError, UnavailableError) as error:
            await self._refuse_open(error, scope)(scope, receive, send)
            return
        await send(start)
        await send({"type": "http.response.body", "body": first, "more_body": True})
        async for body in bodies:
            await send({"type": "http.response.body", "body": body, "more_body": True})
        # Reached only with all bytes: what an error cuts off above ends with the connection.
        await send({"type": "http.response.body", "body": end, "more_body": False})

    async def _bodies(self, framing: Sequence[tuple[bytes, Range]]) -> AsyncIterator[bytes]:
        for head, (first, stop) in framing:
            if head:
                yield head
            pieces = self._read(first, stop)
            while piece := await threads.run(next, pieces, b""):
                yield piece
