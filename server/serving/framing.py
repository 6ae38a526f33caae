"""How long a request body is, by its head, and which trailers may come after it (RFC 9112 section 6, RFC 9110 6.5).

Rule: trailers are no headers. Those that the head announced are kept apart, the others are dropped.
"""

from collections.abc import Iterable


class FramingError(Exception):
    """The body has a coding with which it would be stored as it is."""


class Framing:
    """The framing of one request, from its headers with names in lower case. Raises `FramingError`."""

    def __init__(self, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self.line = b""
        """The header that declares the length, for another parser; empty where there is no body."""
        self.length: int | None = 0
        """Bytes of the body; None is chunked."""
        self.trailers: dict[str, str] = {}
        """By name in lower case; complete when the body is."""
        announced: set[str] = set()
        for name, value in headers:
            if name == b"transfer-encoding":
                # llhttp accepts several codings when `chunked` is the last; the bytes would be stored in the others.
                if value.strip().lower() != b"chunked":
                    raise FramingError
                self.line = b"Transfer-Encoding: chunked\r\n"
                self.length = None
            elif name == b"content-length":
                self.line = b"Content-Length: " + value + b"\r\n"
                self.length = int(value)
            elif name == b"trailer":
                announced.update(part.strip().lower() for part in value.decode("latin-1").split(","))
        self._announced = frozenset(announced)

    def keep_trailer(self, name: bytes, value: bytes) -> None:
        """A trailer came."""
        key = name.decode("latin-1").lower()
        if key in self._announced:
            text = value.decode("latin-1").strip()
            # A repeated field is a list (RFC 9110 section 5.3); code that expects one value finds it invalid.
            self.trailers[key] = f"{self.trailers[key]}, {text}" if key in self.trailers else text
