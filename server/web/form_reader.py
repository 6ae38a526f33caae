"""A multipart/form-data body (RFC 7578) as parts that are pulled, each of them a `Body`.

Rule: nothing is gathered. Bytes of a part go from the request to whoever wants them through one buffer, whatever the
size of a part or of the form; the head of a part is bounded, and so are what stands before the first part and the
number of parts.
"""

import re
import sys
from collections.abc import AsyncIterator

from python_multipart.multipart import parse_options_header

from server.errors import MultipartInvalidError
from server.transport.body import Body, End, Moved, Sink
from server.transport.boundary import AtMost, Scanner, nowhere

_MAX_PARTS = 2000
_HEAD_BYTES = 1 << 14
_PREAMBLE_BYTES = 1 << 16
_MAX_BOUNDARY = 70  # RFC 2046 section 5.1.1
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2


class Part(Body):
    """One part. What its reader leaves is skipped when the next part is asked for."""

    def __init__(self, reader: "FormReader", name: str, filename: str | None, idle_seconds: float) -> None:
        super().__init__(idle_seconds)
        self.name = name
        self.filename = filename
        self._reader = reader

    async def next_chunk(self, seconds: float) -> bytes | End | None:
        return await self._reader.next_data(seconds)

    async def feed(self, sink: Sink, limit: int) -> Moved:
        count = min(limit, self._pending_bytes)
        first = await super().feed(sink, count) if count else Moved(0, End.LIMIT)
        if first.count < count or first.count == limit:
            return first
        rest = await self._reader.feed(sink, limit - first.count)
        self.moved += rest.count
        return Moved(first.count + rest.count, rest.end)

    def stop(self) -> None:
        self._reader.body.stop()


class FormReader:
    """Reads a form from `body`. `cut` tells why it ended early; None while it has not."""

    def __init__(self, body: Body, content_type: str | None, idle_seconds: float) -> None:
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if kind != b"multipart/form-data" or not 0 < len(boundary) <= _MAX_BOUNDARY:
            raise MultipartInvalidError(reason="the Content-Type must be multipart/form-data with a boundary")
        self.body = body
        self.cut: End | None = None
        self._idle_seconds = idle_seconds
        self._scanner = Scanner(boundary)

    @property
    def received(self) -> int:
        """Bytes of the form so far."""
        return self.body.arrived

    async def parts(self) -> AsyncIterator[Part]:
        """The parts in order. Raises `MultipartInvalidError`; ends early, with `cut` set, when the body does."""
        if not await self._skip_line_feeds() or not await self._skip(_PREAMBLE_BYTES):
            return
        for _ in range(_MAX_PARTS):
            part = await self._head()
            if part is None:
                return
            self._scanner.next()
            yield part
            if self.cut is not None or not await self._skip(sys.maxsize):
                return
        if await self._head() is not None:
            raise MultipartInvalidError(reason=f"it may have {_MAX_PARTS} parts")

    async def next_data(self, seconds: float) -> bytes | End | None:
        """The next bytes of the current part, or its end; for `Part` only."""
        data = bytearray()

        def collect(view: memoryview) -> int:
            data.extend(view)
            return len(view)

        while not data:
            if self._scanner.found:
                return End.COMPLETE
            chunk = await self._some(seconds)
            if not isinstance(chunk, bytes):
                return chunk
            used = self._scanner.into(collect)(memoryview(chunk))
            self.body.put_back(chunk[used:])
        return bytes(data)

    async def feed(self, sink: Sink, limit: int) -> Moved:
        """Let `sink` have at most `limit` bytes of the current part; for `Part` only."""
        if self._scanner.found:  # asking the request for more would wait for what is none of this part
            return Moved(0, End.COMPLETE)
        target = AtMost(sink, limit)
        fed = await self.body.feed(self._scanner.into(target), sys.maxsize)
        return self._fed(target.count, fed.end)

    def _fed(self, count: int, end: End) -> Moved:
        if self._scanner.found:
            return Moved(count, End.COMPLETE)
        if end is not End.LIMIT:
            self._ended(end)
        return Moved(count, end)

    async def _skip_line_feeds(self) -> bool:
        """Some clients begin with a line break that is none; False when the body was cut off before anything else."""
        gone = 0
        while gone <= _PREAMBLE_BYTES:
            chunk = await self._some(self._idle_seconds)
            if not isinstance(chunk, bytes):
                return False
            rest = chunk.lstrip(b"\n")
            self.body.put_back(rest)
            if rest:
                return True
            gone += len(chunk)
        raise MultipartInvalidError(reason="it must begin with its boundary")

    async def _skip(self, most: int) -> bool:
        """Go behind the next delimiter; False when the body was cut off before."""
        moved = await self.feed(nowhere, most)
        if moved.end is End.LIMIT:
            raise MultipartInvalidError(reason="it must begin with its boundary")
        return self._scanner.found

    async def _head(self) -> Part | None:
        """The next part, or None when there is no other, or the body was cut off."""
        mark, end = await self.body.peek(2)
        if len(mark) < 2:
            self._ended(end)
            return None
        if mark == b"--":
            return None
        head = bytearray()
        while (stop := head.find(b"\r\n\r\n")) < 0 and len(head) <= _HEAD_BYTES:
            chunk = await self._some(self._idle_seconds)
            if not isinstance(chunk, bytes):
                return None
            head += chunk
        if not 0 <= stop <= _HEAD_BYTES:
            raise MultipartInvalidError(reason=f"the head of a part may have {_HEAD_BYTES} bytes")
        self.body.put_back(bytes(head[stop + 4 :]))
        return self._part(bytes(head[:stop]))

    async def _some(self, seconds: float) -> bytes | End | None:
        """What there is of the request."""
        chunk = await self.body.some(seconds)
        if isinstance(chunk, End):
            self._ended(chunk)
        elif chunk is None and seconds >= self._idle_seconds:
            self.cut = End.IDLE
        return chunk

    def _ended(self, end: End) -> None:
        if end is End.COMPLETE:
            raise MultipartInvalidError(reason="it ends before its last boundary")
        self.cut = end

    def _part(self, head: bytes) -> Part:
        # The rest of the delimiter's line may only be blanks (RFC 2046: transport padding).
        padding, *lines = head.split(b"\r\n")
        headers: dict[bytes, bytes] = {}
        for line in lines:
            name, colon, value = line.partition(b":")
            if not colon or not _TOKEN.fullmatch(name):
                raise MultipartInvalidError(reason="the head of a part has a line that is no header")
            headers[name.lower()] = value.strip()
        if padding.strip(b" \t"):
            raise MultipartInvalidError(reason="behind a boundary there must be the end of the line")
        disposition = headers.get(b"content-disposition", b"")
        _, options = parse_options_header(disposition.decode("latin-1"))
        filename = options.get(b"filename")
        return Part(
            self,
            _text(options.get(b"name", b"")),
            None if filename is None else _text(filename),
            self._idle_seconds,
        )


def _text(value: bytes) -> str:
    # RFC 7578 section 5.1: what browsers and phones send is UTF-8, unencoded.
    return value.decode("utf-8", errors="replace")
