"""Limits for every request body: how slow it may be, and how many there may be at once.

Rule: a `Body` of a request is made here only.
"""

from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any

from server.errors import TooBusyError
from server.transport.body import TRAILERS, AsgiBody, NoBody, Pace, Receive
from server.transport.socket_body import HANDOVER, SocketBody

RequestBody = AsgiBody | SocketBody | NoBody


class Admission:
    """The bodies of this process. `idle_seconds` without a byte, or fewer than `min_rate` bytes a second for so long,
    end a body; of more than `most` at once the newest are refused.
    """

    def __init__(self, idle_seconds: float, min_rate: float, most: int) -> None:
        self.idle_seconds = idle_seconds
        self._min_rate = min_rate
        self._most = most
        self._count = 0
        self._none = NoBody(idle_seconds)  # nothing of it ever changes

    def body(self, scope: MutableMapping[str, Any], receive: Receive, length: int | None) -> RequestBody:
        """The body of a request, straight from its socket where the server hands it over. `length` is its declared
        length in bytes, None for a chunked one."""
        if length == 0 and str(scope.get("http_version", "1.1")).startswith("1"):
            return self._none  # with HTTP/2, a body need not be declared
        extensions: Mapping[str, Any] = scope.get("extensions") or {}
        handover = extensions.get(HANDOVER)
        pace = Pace(self._min_rate, self.idle_seconds)
        made: RequestBody
        if handover is not None:
            made = SocketBody(handover, self.idle_seconds, pace)
        else:
            made = AsgiBody(receive, self.idle_seconds, pace)
        made.trailers = extensions.get(TRAILERS, {})
        return made

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Count a body while it is received. Raises `TooBusyError`, before a byte is read, when there are too many."""
        if self._count >= self._most:
            raise TooBusyError
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1
