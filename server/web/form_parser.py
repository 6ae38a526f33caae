"""A multipart/form-data body (RFC 7578) as parts that are pulled, each of them a `Body`.

Rule: nothing is gathered. Bytes of a part go from the request to their sink through one buffer, whatever the
size of a part or of the form; the head of a part is bounded, and so are the text before the first part and the
number of parts.
"""

import sys
from collections.abc import AsyncIterator

from server.errors import MultipartInvalidError
from server.transport.body import Body, End, Moved, Sink
from server.transport.boundary import AtMost, Scanner, discard
from server.web import mime, part_head
from server.web.part_head import PartHead

_MAX_PARTS = 2000
_HEAD_BYTES = 1 << 14
_PREAMBLE_BYTES = 1 << 16
_MAX_BOUNDARY = 70  # RFC 2046 section 5.1.1
_CHARSET_FIELD = "_charset_"  # RFC 7578 section 4.6
_CHARSET_BYTES = 64


class Part(Body):
    """One part. Bytes that its reader leaves are skipped when the next part is read."""

    def __init__(self, reader: "FormParser", head: PartHead, idle_seconds: float) -> None:
        super().__init__(idle_seconds)
        self.head = head
        self.name = head.name
        self.filename = head.filename
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


class FormParser:
    """Reads a form from `body`. `cut` is why it ended early; None while it has not."""

    def __init__(self, body: Body, content_type: str | None, idle_seconds: float) -> None:
        kind, options = mime.parameters(content_type or "")
        boundary = options.get("boundary", "").encode("latin-1", "ignore")
        if kind != "multipart/form-data" or not 0 < len(boundary) <= _MAX_BOUNDARY:
            raise MultipartInvalidError(reason="form_content_type")
        self.body = body
        self.cut: End | None = None
        self._idle_seconds = idle_seconds
        self._scanner = Scanner(boundary)
        self._scanner.start()
        self._delimiter = b"\r\n--" + boundary
        self._charset = options.get("charset")

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
            self._scanner.start()
            if part.name == _CHARSET_FIELD and part.filename is None:
                await self._read_charset(part)
            yield part
            if self.cut is not None or not await self._skip(sys.maxsize):
                return
        if await self._head() is not None:
            raise MultipartInvalidError(reason="form_parts", limit=_MAX_PARTS)

    async def next_data(self, seconds: float) -> bytes | End | None:
        """The next bytes of the current part, or its end; for `Part` only."""
        data = bytearray()

        def collect(view: memoryview) -> int:
            data.extend(view)
            return len(view)

        while not data:
            if self._scanner.found:
                return End.COMPLETE
            chunk = await self._read_available(seconds)
            if not isinstance(chunk, bytes):
                return chunk
            used = self._scanner.send_to(collect)(memoryview(chunk))
            self.body.put_back(chunk[used:])
        return bytes(data)

    async def feed(self, sink: Sink, limit: int) -> Moved:
        """Let `sink` have at most `limit` bytes of the current part; for `Part` only."""
        if self._scanner.found:  # a read from the request would wait for bytes after this part
            return Moved(0, End.COMPLETE)
        target = AtMost(sink, limit)
        fed = await self.body.feed(self._scanner.send_to(target), sys.maxsize)
        return self._fed(target.count, fed.end)

    def _fed(self, count: int, end: End) -> Moved:
        if self._scanner.found:
            return Moved(count, End.COMPLETE)
        if end is not End.LIMIT:
            self._ended(end)
        return Moved(count, end)

    async def _skip_line_feeds(self) -> bool:
        """Skip line breaks before the first delimiter, which some clients send; False when the body ended before."""
        gone = 0
        while gone <= _PREAMBLE_BYTES:
            chunk = await self._read_available(self._idle_seconds)
            if not isinstance(chunk, bytes):
                return False
            rest = chunk.lstrip(b"\n")
            self.body.put_back(rest)
            if rest:
                return True
            gone += len(chunk)
        raise MultipartInvalidError(reason="form_begin")

    async def _skip(self, most: int) -> bool:
        """Read past the next delimiter; False when the body was cut off before it."""
        moved = await self.feed(discard, most)
        if moved.end is End.LIMIT:
            raise MultipartInvalidError(reason="form_begin")
        return self._scanner.found

    async def _head(self) -> Part | None:
        """The next part, or None when there is no other, or the body was cut off."""
        mark, end = await self.body.peek(2)
        if mark == b"--":
            await self._close()
            return None
        if mark[:1] == b"\n":
            raise MultipartInvalidError(reason="form_line_feeds")
        if len(mark) < 2:
            self._ended(end)
            return None
        head = bytearray()
        padding = True  # still in the rest of the delimiter's line
        stop = -1
        while stop < 0:
            chunk = await self._read_available(self._idle_seconds)
            if not isinstance(chunk, bytes):
                return None
            if padding and (text := chunk.lstrip(b" \t")):
                padding = False
                if text[:1] not in b"\r\n":
                    raise MultipartInvalidError(reason="form_boundary_line")
            known = max(0, len(head) - 3)  # no byte is searched twice, however small the pieces are
            room = _HEAD_BYTES + 4 - len(head)
            head += chunk[:room]
            self.body.put_back(chunk[room:])
            stop = head.find(b"\r\n\r\n", known)
            if stop < 0 and len(head) >= _HEAD_BYTES + 4:
                raise MultipartInvalidError(reason="form_head_size", limit=_HEAD_BYTES)
        if self._delimiter in head[:stop]:  # a head without an end: the next part would be taken for its fields
            raise MultipartInvalidError(reason="form_head_line")
        self.body.put_back(bytes(head[stop + 4 :]))
        return Part(self, part_head.parse(bytes(head[:stop]), self._charset), self._idle_seconds)

    async def _close(self) -> None:
        """The last delimiter: blanks, a line break or the end of the body follow.

        A line that goes on is not a delimiter that the client meant: all files after it would be lost silently.
        """
        mark, _ = await self.body.peek(3)
        if mark[2:] not in (b"", b" ", b"\t", b"\r", b"\n"):
            raise MultipartInvalidError(reason="form_boundary_line")

    async def _read_charset(self, part: Part) -> None:
        """A field that names the character set of the parts that follow it; its bytes stay in the part."""
        value, end = await part.peek(_CHARSET_BYTES)
        if end is End.COMPLETE:
            self._charset = value.decode("latin-1").strip() or self._charset

    async def _read_available(self, seconds: float) -> bytes | End | None:
        """The next bytes of the request, or its end."""
        chunk = await self.body.available(seconds)
        if isinstance(chunk, End):
            self._ended(chunk)
        elif chunk is None and seconds >= self._idle_seconds:
            self.cut = End.IDLE
        return chunk

    def _ended(self, end: End) -> None:
        if end is End.COMPLETE:
            raise MultipartInvalidError(reason="form_end")
        self.cut = end
