"""A multipart/form-data body (RFC 7578) as parts that are pulled, each of them a `Body`.

Rule: nothing is gathered. At any time one chunk of the request is in memory, whatever the size of a part or of
the form; the headers of a part are bounded, and so is the number of parts.
"""

from collections import deque
from collections.abc import AsyncIterator

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from server.errors import MultipartInvalidError
from server.transport.body import Body, End

_MAX_PARTS = 2000


class Part(Body):
    """One part. What its reader leaves is skipped when the next part is asked for."""

    def __init__(self, reader: "FormReader", name: str, filename: str | None, idle_seconds: float) -> None:
        super().__init__(idle_seconds)
        self.name = name
        self.filename = filename
        self._reader = reader

    async def next_chunk(self, seconds: float) -> bytes | End | None:
        return await self._reader.next_data(seconds)

    def stop(self) -> None:
        self._reader.body.stop()


class FormReader:
    """Reads a form from `body`. `cut` tells why it ended early; None while it has not."""

    def __init__(self, body: Body, content_type: str | None, idle_seconds: float) -> None:
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if kind != b"multipart/form-data" or not boundary:
            raise MultipartInvalidError(reason="the Content-Type must be multipart/form-data with a boundary")
        self.body = body
        self.cut: End | None = None
        self.received = 0
        self._idle_seconds = idle_seconds
        self._events: deque[bytes | Part | None] = deque()  # None is the end of a part
        self._parts = 0
        self._begun = False
        self._over = False
        self._field = bytearray()
        self._value = bytearray()
        self._headers: dict[str, bytes] = {}
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._headers.clear,
                    "on_header_field": lambda data, start, end: self._field.extend(data[start:end]),
                    "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._begin_part,
                    "on_part_data": lambda data, start, end: self._events.append(data[start:end]),
                    "on_part_end": lambda: self._events.append(None),
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise MultipartInvalidError(reason=str(error)) from None

    async def parts(self) -> AsyncIterator[Part]:
        """The parts in order. Raises `MultipartInvalidError`; ends early, with `cut` set, when the body does."""
        while self.cut is None:
            event = self._events.popleft() if self._events else None
            if isinstance(event, Part):
                yield event
            elif not self._events and (self._over or not await self._pump(self._idle_seconds)):
                return

    async def next_data(self, seconds: float) -> bytes | End | None:
        """The next bytes of the current part, or its end; for `Part` only."""
        while not self._events:
            if self.cut is not None:
                return self.cut
            if not await self._pump(seconds):
                return self.cut
        if isinstance(self._events[0], Part):
            return End.COMPLETE
        event = self._events.popleft()
        # The end stays at the front, so that who asks again hears it again.
        if event is None:
            self._events.appendleft(None)
            return End.COMPLETE
        return event if isinstance(event, bytes) else None

    async def _pump(self, seconds: float) -> bool:
        """Parse one more chunk of the request; False when none came, or there is none."""
        chunk = await self.body.next_chunk(seconds)
        if isinstance(chunk, bytes):
            self.received += len(chunk)
            if not self._begun:
                chunk = self._begin(chunk)
            try:
                self._parser.write(chunk)
            except FormParserError as error:
                raise MultipartInvalidError(reason=str(error)) from None
            return True
        if chunk is End.COMPLETE and not self._over:
            raise MultipartInvalidError(reason="it ends before its last boundary")
        if chunk is not End.COMPLETE and (chunk is not None or seconds >= self._idle_seconds):
            self.cut = chunk or End.IDLE
        return False

    def _begin(self, chunk: bytes) -> bytes:
        """The first bytes without blank lines. What the parser skips behind those depends on where chunks end."""
        chunk = chunk.lstrip(b"\r\n")
        if chunk and not chunk.startswith(b"-"):
            raise MultipartInvalidError(reason="it must begin with its boundary")
        self._begun = bool(chunk)
        return chunk

    def _end_header(self) -> None:
        self._headers[self._field.decode("latin-1").lower()] = bytes(self._value)
        self._field.clear()
        self._value.clear()

    def _begin_part(self) -> None:
        self._parts += 1
        if self._parts > _MAX_PARTS:
            raise MultipartInvalidError(reason=f"it may have {_MAX_PARTS} parts")
        disposition = self._headers.get("content-disposition", b"")
        _, options = parse_options_header(disposition.decode("latin-1"))
        filename = options.get(b"filename")
        self._events.append(
            Part(
                self,
                _text(options.get(b"name", b"")),
                None if filename is None else _text(filename),
                self._idle_seconds,
            )
        )

    def _end(self) -> None:
        self._over = True


def _text(value: bytes) -> str:
    # RFC 7578 section 5.1: what browsers and phones send is UTF-8, unencoded.
    return value.decode("utf-8", errors="replace")
