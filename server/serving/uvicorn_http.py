"""The HTTP protocol classes that uvicorn uses; ours lends its socket to the application.

Rule: while the application has the socket, the connection neither reads nor writes. `http_limits.py` has the limits of
a connection, `body_handover.py` the handles that the application sees.

- Handover. Every body whose length is known is offered to the application (`HANDOVER`), which may take it from the
  socket itself. From then on this class reads nothing: the transport is paused without the knowledge of uvicorn's
  flow control, which therefore does not resume it. When the last byte was taken, a fresh parser replaces the old one,
  which still waits for that body, and reading goes on. After a body that was not read to its end, the next byte of
  the connection is in the middle of a message: it is closed after the response.
- Files. Every response may let the application write a part of its body into the socket itself (`FILES`): once the
  transport has nothing left to write, and until the application returns the socket. Our own code writes nothing while
  a request is being answered, so nothing comes in between.
"""

import asyncio
import os
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from server.serving import hosts
from server.serving.body_handover import BodyHandover, FileOutlet, WholeAnswer
from server.serving.http_limits import LimitedHttp, Phase, cut_off
from server.settings import Settings
from server.transport.sendfile import FILES
from server.transport.short_answer import SHORT_ANSWER
from server.transport.socket_body import HANDOVER


def http_class(settings: Settings) -> type[asyncio.Protocol]:
    """The value for uvicorn's setting `http`."""
    if settings.http == "portable":
        return PortableHttp

    class Configured(VideodockHttp):
        max_head_size = int(settings.max_head_size)
        head_timeout = settings.head_timeout
        max_connections = settings.max_connections
        keep_alive_timeout = settings.keep_alive_timeout
        idle_timeout = settings.body_idle_timeout
        min_rate = int(settings.body_min_rate)

    return Configured


class PortableHttp(HttpToolsProtocol):
    """uvicorn's own class, except for trailers, which must not become headers, also when they come with the head, and
    for requests that name no host or two."""

    def on_headers_complete(self) -> None:
        # uvicorn takes an error here for one of the parser, and responds with 400.
        self.url = hosts.settle(self.url, self.parser.get_http_version(), self.headers)
        super().on_headers_complete()
        self.headers = []


class VideodockHttp(LimitedHttp):
    """A connection whose socket the application may read and write itself."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._on_lost: Callable[[], None] | None = None  # of the writer that has the socket

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._on_lost is not None:
            self._on_lost()

    def _add_extensions(self, extensions: dict[str, Any]) -> None:
        extensions[SHORT_ANSWER] = WholeAnswer(self.cycle)
        if self.scheme != "http":  # the bytes on a socket with TLS are encrypted
            return
        extensions[FILES] = FileOutlet(self, self.cycle)
        if self._framing.length is not None:
            extensions[HANDOVER] = BodyHandover(self, self.cycle, self._framing.length)

    # A body that the application reads itself

    def hand_over(self, cycle: RequestResponseCycle) -> int:
        """Stop reading; a descriptor for the socket, or -1 when the connection is gone.

        For `BodyHandover`, when a part of the body is still to come.
        """
        if cycle.disconnected or self.transport.is_closing():
            return -1
        if cycle.waiting_for_100_continue:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            cycle.waiting_for_100_continue = False
        self.transport.pause_reading()
        # So that uvicorn, which resumes at several places, finds nothing to resume.
        self.flow.read_paused = False
        return os.dup(self.transport.get_extra_info("socket").fileno())

    def take_back(self, cycle: RequestResponseCycle) -> None:
        """The body was read to its end: go on with the bytes after it."""
        cycle.more_body = False
        cycle.message_event.set()
        if self._ignores_input or self.transport.is_closing():
            return
        self.parser = self._new_parser()
        self._phase = Phase.BETWEEN
        self.transport.resume_reading()

    def give_up(self, cycle: RequestResponseCycle) -> None:
        """The client left in the middle of its body."""
        cut_off(cycle)
        self.close()

    # A response that the application writes itself

    async def lend_socket(self, cycle: RequestResponseCycle, on_lost: Callable[[], None]) -> int:
        """Wait until everything is written; a descriptor for the socket, or -1 when the connection is gone."""
        if not self.transport.is_closing() and self.transport.get_write_buffer_size():
            # From here on the transport calls its buffer full until it is empty.
            self.transport.set_write_buffer_limits(0)
            try:
                await self.flow.drain()
            finally:
                if not self.transport.is_closing():
                    self.transport.set_write_buffer_limits()
        if cycle.disconnected or self.transport.is_closing():
            return -1
        self._on_lost = on_lost
        self._clock.lend()
        return os.dup(self.transport.get_extra_info("socket").fileno())

    def reclaim_socket(self) -> None:
        """The application writes no more by itself."""
        self._on_lost = None
        self._clock.stop()

    def reset(self, cycle: RequestResponseCycle) -> None:
        """End a connection whose client does not read its response; what the kernel still has for it is freed."""
        cut_off(cycle)
        self._abort(is_open=not self.transport.is_closing())
