"""clamd, the virus scanner: a client for its INSTREAM and PING (clamd(8), section COMMANDS).

Rule: three replies of clamd are answers: `OK`, `FOUND`, and that a limit of its own stopped it. Everything else (no
connection, silence, a connection that ends, another reply) is `AwayError` and never a clean file.

It is our own because the synchronous libraries (clamd, clamdpy) send with blocking calls and read once the stream has
ended: they cannot be cancelled meanwhile, and lose an early answer in a broken pipe.
"""

import contextlib
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import BinaryIO

from server.pipeline.step import Cancelled

_PIECE_BYTES = 256 << 10
_MAX_ANSWER = 4 << 10
_TICK = 0.1  # seconds between two checks of `cancelled`
_CONNECT_SECONDS = 5.0
_SILENCE_SECONDS = 30.0  # without clamd taking a byte; it may work for longer once it has them all

# clamd replies this with `AlertExceedsMax yes`; without it, clamd calls a file clean of which it saw a part.
_LIMIT_SIGNATURE = "Heuristics.Limits.Exceeded"


class AwayError(Exception):
    """clamd does not answer. The text is for the log."""


class Finding(Enum):
    """clamd's verdict on a file."""

    CLEAN = auto()
    INFECTED = auto()
    BEYOND_LIMITS = auto()
    """It has scanned only a part, if anything."""


@dataclass(frozen=True)
class Verdict:
    """A finding, and the name of the signature that was found."""

    finding: Finding
    signature: str = ""


def ping(address: str, *, seconds: float, cancelled: threading.Event | None = None) -> None:
    """Check that clamd answers, in at most `seconds`. Blocking. Raises `AwayError`, and `Cancelled` like `scan`."""
    with _talk(address, _Watch(time.monotonic() + seconds, cancelled or threading.Event())) as talk:
        talk.send(b"zPING\0")
        answer = talk.answer()
    if answer != "PONG":
        raise AwayError(f"it answered PING with {answer[:100]!r}")


def scan(
    address: str,
    source: BinaryIO,
    *,
    seconds: float,
    cancelled: threading.Event,
    report_sent: Callable[[int], None],
) -> Verdict:
    """Have all bytes of `source` scanned, in at most `seconds`. Blocking.

    `report_sent` gets the number of bytes sent so far.

    `address` is `unix:/path` or `tcp://host:port`. Raises `AwayError`, `Cancelled` (within 0.2 s, but for the time
    that the system takes to look up a host's name), what `report_sent` raises, and `OSError` when `source` cannot be
    read.
    """
    count = 0
    with _talk(address, _Watch(time.monotonic() + seconds, cancelled)) as talk:
        listens = talk.send(b"zINSTREAM\0")
        while listens and (piece := source.read(_PIECE_BYTES)):
            listens = talk.send(len(piece).to_bytes(4, "big") + piece)
            count += len(piece)
            report_sent(count)
        listens = listens and talk.send(bytes(4))
        verdict = _verdict(talk.answer())
    if not listens and verdict.finding is not Finding.BEYOND_LIMITS:
        raise AwayError("it answered before it had the whole file")
    return verdict


def _verdict(answer: str) -> Verdict:
    if answer == "stream: OK":
        return Verdict(Finding.CLEAN)
    if answer.startswith("stream: ") and answer.endswith(" FOUND"):
        signature = answer.removeprefix("stream: ").removesuffix(" FOUND")[:100]
        is_limit = signature.startswith(_LIMIT_SIGNATURE)
        return Verdict(Finding.BEYOND_LIMITS if is_limit else Finding.INFECTED, signature)
    if answer == "INSTREAM size limit exceeded. ERROR":
        return Verdict(Finding.BEYOND_LIMITS, "StreamMaxLength")
    raise AwayError(f"it answered {answer[:100]!r}")


@dataclass(frozen=True)
class _Watch:
    """How long a conversation may last, and what may end it early."""

    deadline: float
    cancelled: threading.Event

    def wait(self, connection: socket.socket, events: int, patience: float, otherwise: str) -> int:
        """Wait until one of `events`, an error or an end is there, and return it."""
        poll = select.poll()
        poll.register(connection, events)
        end = min(self.deadline, time.monotonic() + patience)
        while True:
            if self.cancelled.is_set():
                raise Cancelled
            left = end - time.monotonic()
            ready = poll.poll(1000 * max(0.0, min(_TICK, left)))
            if ready:
                return int(ready[0][1])
            if left <= 0:
                raise AwayError(otherwise)


class _Talk:
    """An open connection to clamd."""

    def __init__(self, connection: socket.socket, watch: _Watch) -> None:
        self._connection = connection
        self._watch = watch

    def send(self, data: bytes) -> bool:
        """Send; False when clamd has replied or closed the connection meanwhile: then read its answer."""
        view = memoryview(data)
        with _errors_as_away():
            while view:
                ready = self._wait(select.POLLIN | select.POLLOUT, _SILENCE_SECONDS, "it takes no more bytes")
                if ready & ~select.POLLOUT:
                    return False
                with contextlib.suppress(BlockingIOError):
                    view = view[self._connection.send(view) :]
        return True

    def answer(self) -> str:
        """clamd's reply, up to the NUL that ends it."""
        said = b""
        with _errors_as_away():
            while not said.endswith(b"\0"):
                self._wait(select.POLLIN, float("inf"), "no answer came in time")
                more = self._connection.recv(_MAX_ANSWER)
                said += more
                if not more or len(said) > _MAX_ANSWER:
                    raise AwayError(f"it ended the conversation after {said[:100]!r}")
        # For the log and for people: no character that a terminal or a page could interpret.
        return "".join(chr(byte) if 32 <= byte < 127 else "?" for byte in said[:-1])

    def _wait(self, events: int, patience: float, otherwise: str) -> int:
        return self._watch.wait(self._connection, events, patience, otherwise)


@contextlib.contextmanager
def _talk(address: str, watch: _Watch) -> Iterator[_Talk]:
    with _errors_as_away():
        connection = _connect(address, watch)
    with connection:
        yield _Talk(connection, watch)


def _connect(address: str, watch: _Watch) -> socket.socket:
    """A connection to the first address of the name that accepts one."""
    problem: Exception = AwayError("the host has no address")
    for family, place in _places(address):
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            _join(connection, place, watch)
        except (OSError, AwayError) as error:
            connection.close()
            problem = error
        except BaseException:
            connection.close()
            raise
        else:
            return connection
    raise problem


def _join(connection: socket.socket, place: str | tuple[object, ...], watch: _Watch) -> None:
    connection.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        connection.connect(place)
    watch.wait(connection, select.POLLOUT, _CONNECT_SECONDS, "it does not take the connection")
    if code := connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        raise OSError(code, os.strerror(code))


def _places(address: str) -> list[tuple[socket.AddressFamily, str | tuple[object, ...]]]:
    kind, _, place = address.partition(":")
    if kind == "unix":
        return [(socket.AF_UNIX, place)]
    host, _, port = place.removeprefix("//").rpartition(":")
    found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    return [(family, at) for family, _, _, _, at in found]


@contextlib.contextmanager
def _errors_as_away() -> Iterator[None]:
    """Turn errors of the network into the one error that callers handle."""
    try:
        yield
    except (OSError, OverflowError, UnicodeError) as error:  # the last two: a port or host that cannot be
        raise AwayError(str(error)) from error
