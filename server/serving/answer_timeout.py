"""A limit for clients that do not read their responses.

Rule: while bytes wait for a client, it must read some within the idle time and keep the slowest rate, or its
connection is reset. Only bytes that the client's kernel has confirmed count: our own accepts bytes that go nowhere.

Without this limit, a client that sends requests and never reads holds a connection for ever: the responses wait in the
buffer of the transport, and a closing transport first waits until that buffer is empty.
"""

import asyncio
import contextlib
import itertools
import socket
import struct
from collections.abc import Callable

from server.transport.body import Pace

_LOOKS = 8  # checks during the idle time
_LONGEST_PAUSE = 5.0  # seconds between two checks
_STALLED_SECONDS = 10.0  # after so long without a byte, a connection gives way to a new one
_ASKED = 16  # connections that are checked for a stall, before a new one is refused
_BYTES_ACKED = 120  # the offset of `tcpi_bytes_acked` in Linux's `struct tcp_info`
_LONGEST_USER_TIMEOUT = (1 << 31) - 1  # milliseconds
_TCP_INFO = getattr(socket, "TCP_INFO", None)


class AnswerClock:
    """The clock of one connection. It runs only while bytes wait in the transport's own buffer.

    `running` has the clocks that run and those of lent sockets, of all connections of a server, the oldest first.
    `give_up` is called when the client is too slow, or gives way; it resets the connection.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        idle_seconds: float,
        min_rate: float,
        running: "dict[AnswerClock, None]",
        give_up: Callable[[], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._idle_seconds = idle_seconds
        self._min_rate = min_rate
        self._running = running
        self._give_up = give_up
        self._pace = Pace(min_rate, idle_seconds, loop.time)
        self._confirmed = 0
        self._confirmed_at = 0.0  # when the last byte was confirmed, as of the last check
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Bytes were written. Does nothing when none of them wait, or when the clock runs."""
        if self._timer is not None or not self._transport.get_write_buffer_size():
            return
        self._pace = Pace(self._min_rate, self._idle_seconds, self._loop.time)
        self._confirmed, self._confirmed_at = _confirmed(self._transport), self._loop.time()
        self._running[self] = None
        self._wait()

    def lend(self) -> None:
        """The application writes into the socket itself, and has a clock of its own; the connection can give way."""
        self._confirmed, self._confirmed_at = _confirmed(self._transport), self._loop.time()
        self._running[self] = None

    def stop(self) -> None:
        """The connection is lost, or no bytes wait any more."""
        self._running.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self) -> None:
        self._pace.wait()
        pause = min(self._idle_seconds / _LOOKS, _LONGEST_PAUSE)
        self._timer = self._loop.call_later(pause, self._look)

    def _look(self) -> None:
        if not self._transport.get_write_buffer_size():
            self.stop()
            return
        is_fast_enough = self._pace.check(self._newly_confirmed())
        if is_fast_enough and self._loop.time() - self._confirmed_at < self._idle_seconds:
            self._wait()
        else:
            self.end()

    def _newly_confirmed(self) -> int:
        """Bytes that were confirmed since the last check."""
        before, self._confirmed = self._confirmed, _confirmed(self._transport)
        moved = max(0, self._confirmed - before)
        if moved:
            self._confirmed_at = self._loop.time()
        return moved

    def is_stalled(self) -> bool:
        """Whether the client has read nothing for so long that its connection may give way to a new one."""
        if self._loop.time() - self._confirmed_at < _STALLED_SECONDS:
            return False
        self._pace.check(self._newly_confirmed())
        self._pace.wait()
        return self._loop.time() - self._confirmed_at >= _STALLED_SECONDS

    def end(self) -> None:
        """Reset the connection."""
        self.stop()
        self._give_up()


def make_room(running: dict[AnswerClock, None]) -> bool:
    """Reset one connection whose client reads nothing; False when there is none among the oldest."""
    for clock in list(itertools.islice(running, _ASKED)):
        if clock.is_stalled():
            clock.end()
            return True
    return False


def limit_kernel(transport: asyncio.BaseTransport, seconds: float) -> None:
    """Have the kernel reset the connection when bytes wait for so long and the client reads none.

    A socket's buffer grows to megabytes, and the kernel keeps it for minutes after the connection was closed.
    """
    option, own = getattr(socket, "TCP_USER_TIMEOUT", None), transport.get_extra_info("socket")
    if option is None or own is None:
        return
    with contextlib.suppress(OSError):  # a Unix socket
        view = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fileno=own.fileno())
        try:
            view.setsockopt(socket.IPPROTO_TCP, option, min(round(seconds * 1000), _LONGEST_USER_TIMEOUT))
        finally:
            view.detach()


def _confirmed(transport: asyncio.Transport) -> int:
    """Bytes that the client's kernel has confirmed; without that value, a number that grows as the buffer empties."""
    own = transport.get_extra_info("socket")
    with contextlib.suppress(OSError, struct.error, AttributeError):
        view = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fileno=own.fileno())
        try:
            if _TCP_INFO is not None:
                info = view.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _BYTES_ACKED + 8)
                return int(struct.unpack_from("=Q", info, _BYTES_ACKED)[0])
        finally:
            view.detach()
    return -transport.get_write_buffer_size()
