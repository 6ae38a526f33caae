"""Finding where a part of a multipart body ends (RFC 2046 section 5.1.1), in bytes that come in any pieces.

Rule: bytes that could begin a delimiter are held back until more is known; all others are passed on at once,
without a copy. A delimiter is CRLF, two hyphens and the boundary: without the CRLF before them they are data.
"""

from typing import cast

from server.transport.body import Sink


class Scanner:
    """A sink that passes the bytes before the next delimiter to another sink.

    It has enough when it has found the delimiter, which it drops, or when the other sink has enough.
    """

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"\r\n--" + boundary
        self._held = b""
        self._lent = 0  # bytes at the front of what is held that are not the body's
        self._target: Sink = discard
        self.found = False

    def send_to(self, target: Sink) -> "Scanner":
        """Pass the bytes to this sink from now on; returns itself."""
        self._target = target
        return self

    def start(self) -> None:
        """A body, or a part of one, begins with the next byte, and a delimiter may be there at once.

        The CRLF of that delimiter is the one before the body, or the blank line after the head of the part, which
        has no body then (RFC 2046 section 5.1.1: `MIME-part-headers [CRLF *OCTET]`).
        """
        self._held = b"\r\n"
        self._lent = len(self._held)
        self.found = False

    def __call__(self, view: memoryview) -> int:
        if self.found:
            return 0
        if self._held:
            used = self._resolve_held_back(view)
            if used or self._held:
                return used
        data, end = cast("bytes | bytearray", view.obj), len(view)
        at = data.find(self._delimiter, 0, end)
        stop = at if at >= 0 else self._open(data, end)
        gave = self._give(view[:stop])
        if gave < stop:
            return gave
        if at >= 0:
            self.found = True
            return at + len(self._delimiter)
        self._held = bytes(view[stop:])
        return end

    def _resolve_held_back(self, view: memoryview) -> int:
        """Decide about the bytes that were held back, by those that follow; returns how many of those were used up.

        When it is 0, either the held bytes went to the target, or the target has enough.
        """
        held, size = self._held, len(self._delimiter)
        joined = held + bytes(view[: size - 1])
        at = joined.find(self._delimiter)
        data = at if at >= 0 else min(self._open(joined, len(joined)), len(held))
        own = min(self._lent, data)
        gave = own + self._give(memoryview(joined)[own:data])
        self._lent -= own
        self._held = held[gave:]
        if gave < data or data == len(held):
            return 0
        if at >= 0:
            self._held, self._lent, self.found = b"", 0, True
            return at + size - len(held)
        # So it goes on to the end of the view, which is shorter than a delimiter.
        self._held = joined[data:]
        return len(view)

    def _open(self, data: bytes | bytearray, end: int) -> int:
        """Where a possible delimiter begins; `end` if nowhere."""
        at = data.find(b"\r", max(0, end - len(self._delimiter) + 1), end)
        while at >= 0 and not self._delimiter.startswith(data[at:end]):
            at = data.find(b"\r", at + 1, end)
        return end if at < 0 else at

    def _give(self, view: memoryview) -> int:
        return self._target(view) if view else 0


class AtMost:
    """A sink that passes at most `room` bytes to another one; `count` is how many it got."""

    def __init__(self, sink: Sink, room: int) -> None:
        self._sink = sink
        self._room = room
        self.count = 0

    def __call__(self, view: memoryview) -> int:
        view = view[: self._room - self.count]
        used = self._sink(view) if view else 0
        self.count += used
        return used


def discard(view: memoryview) -> int:
    """A sink that discards what it gets."""
    return len(view)
