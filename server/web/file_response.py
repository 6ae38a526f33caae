"""A response from a file, whole or in ranges (RFC 9110 section 14).

Rule: it sends nothing before the file is open, and then sends what it announced or closes the connection.

Where the server offers it (`sendfile.FILES`), the file's bytes go by `sendfile`, and only heads pass through
`send`. Otherwise `FileResponse` reads and sends them. Its faults are handled before it gets the request: it
responds to an invalid Range with 400, where RFC 9110 ignores it, refuses all ranges because of one,
and begins a response before it has opened the file.
"""

import os
import re
from collections.abc import Callable, Sequence
from secrets import token_hex

from starlette.responses import FileResponse, Response
from starlette.types import Message, Receive, Scope, Send

from server import threads
from server.settings import Settings
from server.transport.body import Pace
from server.transport.sendfile import FILES, FileSender
from server.tus.headers import Head

_BYTES = re.compile(r"(?i:bytes)=(.*)")
_RANGE = re.compile(r"([0-9]{0,999})-([0-9]{0,999})")

Range = tuple[int, int]
"""The first byte, and the one after the last."""


class StoredFileResponse(FileResponse):
    """The file with this `stat`, in `ranges` from the function `ranges`; `refuse` responds when it cannot be opened."""

    def __init__(
        self,
        path: os.PathLike[str],
        stat: os.stat_result,
        media_type: str,
        headers: dict[str, str],
        ranges: Sequence[Range] | None,
        refuse: Callable[[Exception, Scope], Response],
        settings: Settings,
    ) -> None:
        super().__init__(path, headers=headers, media_type=media_type, stat_result=stat)
        self._size = stat.st_size
        self._ranges = ranges
        self._refuse_open = refuse
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        outlet = (scope.get("extensions") or {}).get(FILES)
        if outlet is None or scope["method"] == "HEAD":
            await self._stream(scope, receive, send)
            return
        try:
            file = await threads.run(os.open, self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            await self._refuse_open(error, scope)(scope, receive, send)
            return
        idle = self._settings.body_idle_timeout
        sender = FileSender(outlet, idle, Pace(self._settings.body_min_rate, idle))
        try:
            await self._send_file(sender, file, send)
        finally:
            scope.setdefault("state", {})["bytes_out"] = sender.sent
            # The last close of a deleted file frees all of its blocks: that may take a while.
            await threads.run(os.close, file)

    async def _send_file(self, sender: FileSender, file: int, send: Send) -> None:
        framing, end = self._framed()
        status = 200 if self._ranges is None else 206
        await send({"type": "http.response.start", "status": status, "headers": self.raw_headers})
        for head, (start, stop) in framing:
            if head:
                await send({"type": "http.response.body", "body": head, "more_body": True})
            if not await sender.send(file, start, stop - start):
                return
        await send({"type": "http.response.body", "body": end, "more_body": False})

    def _framed(self) -> tuple[list[tuple[bytes, Range]], bytes]:
        """The text before each range, and after the last one; and the headers of the response."""
        if self._ranges is None:
            return [(b"", (0, self._size))], b""
        if len(self._ranges) == 1:
            start, stop = self._ranges[0]
            self.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{self._size}"
            self.headers["Content-Length"] = str(stop - start)
            return [(b"", (start, stop))], b""
        boundary, kind = token_hex(16), self.headers["Content-Type"]
        self.headers["Content-Type"] = f"multipart/byteranges; boundary={boundary}"
        framing, before = [], ""
        for start, stop in self._ranges:
            place = f"Content-Range: bytes {start}-{stop - 1}/{self._size}"
            head = f"{before}--{boundary}\r\nContent-Type: {kind}\r\n{place}\r\n\r\n".encode("latin-1")
            framing.append((head, (start, stop)))
            before = "\r\n"
        end = f"{before}--{boundary}--\r\n".encode()
        length = sum(len(head) + stop - start for head, (start, stop) in framing) + len(end)
        self.headers["Content-Length"] = str(length)
        return framing, end

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        # The request may have another method (X-HTTP-Method-Override), and conditions were checked already.
        method = "HEAD" if scope["method"] == "HEAD" else "GET"
        others = [(name, value) for name, value in scope["headers"] if name not in (b"range", b"if-range")]
        if self._ranges:
            specs = ",".join(f"{start}-{stop - 1}" for start, stop in self._ranges)
            others.append((b"range", f"bytes={specs}".encode()))
        held: list[Message] = []
        is_open = False

        async def send_when_open(message: Message) -> None:
            nonlocal is_open
            if message["type"] == "http.response.start":
                held.append(message)
                return
            is_open = True
            while held:
                await send(held.pop())
            await send(message)

        try:
            await super().__call__({**scope, "method": method, "headers": others}, receive, send_when_open)
        except OSError as error:
            if is_open:
                raise  # half a response cannot be taken back
            await self._refuse_open(error, scope)(scope, receive, send)


def ranges(head: Head, size: int, tag: str, modified: str) -> list[Range] | None:
    """The ranges that can be sent, of those requested, in order and none touching another; None for everything.

    An empty list: none can be sent. A Range that cannot be understood, of other units or of too many parts, or one
    whose If-Range is for other bytes, requests everything, and so does one with another method than GET.
    """
    values = head.headers.get("range", ())
    conditions = head.headers.get("if-range", ())
    asked = _BYTES.fullmatch(values[0]) if len(values) == 1 and head.method == "GET" else None
    if asked is None or size == 0 or (conditions and conditions not in ((tag,), (modified,))):
        return None
    specs = [spec.strip(" \t") for spec in asked[1].split(",")]
    specs = [spec for spec in specs if spec]  # a list may have empty elements (section 5.6.1)
    if not specs or len(specs) > FileResponse.max_ranges:
        return None
    good: list[Range] = []
    for spec in specs:
        found = _RANGE.fullmatch(spec)
        if found is None or spec == "-" or (found[1] and found[2] and int(found[2]) < int(found[1])):
            return None
        start = int(found[1]) if found[1] else max(0, size - int(found[2]))
        stop = min(size, int(found[2]) + 1) if found[1] and found[2] else size
        if start < stop:
            good.append((start, stop))
    return _joined(good)


def _joined(found: list[Range]) -> list[Range]:
    joined: list[Range] = []
    for start, stop in sorted(found):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], stop))
        else:
            joined.append((start, stop))
    return joined
