"""Many phones at once: uploads that all begin within a second, flow at one rate, and all end within a second.

Rules: what is due is sent every 200 ms, as a telephone's radio does; a socket that is full takes less, and the rest
stays due. A process of its own asks for HEAD of another upload from before the first byte until after the last answer,
and all of its answers count: a server that stands still does so when bodies begin and when they end. An upload that did
not come to its end is counted as broken.
"""

import contextlib
import selectors
import socket
import time
from dataclasses import dataclass

from bench.clients import Connection, connect, is_whole, parse
from bench.probe import Probe, latency
from bench.servers.base import Answer, ClientError, Server
from bench.source import Slice

BEGIN_SECONDS = 1.0  # within which all begin
PERIOD = 0.2  # seconds between two pieces of one upload
_CONNECT_SECONDS = 10
_END_SECONDS = 60  # after the last byte, for the answers


@dataclass
class _Phone:
    content: Slice
    target: str
    begins: float  # seconds after the first
    connection: socket.socket | None = None
    head: bytes = b""
    sent: int = 0
    data: bytes = b""
    answer: Answer | None = None

    @property
    def is_over(self) -> bool:
        return self.answer is not None or (self.connection is None and self.sent > 0)


class Phones:
    """One upload for each content, at `rate` bytes a second.

    `prepare`, then `run`; then `whole` are those that came to their end.
    """

    def __init__(self, server: Server, contents: list[Slice], rate: float) -> None:
        self._server = server
        self._contents = contents
        self._rate = rate
        self._phones: list[_Phone] = []
        self._other = ""
        self._selector = selectors.DefaultSelector()

    def prepare(self) -> None:
        """Create all uploads, and the one that is looked at; connect."""
        with Connection(self._server.port) as connection:
            targets = []
            for content in [*self._contents, self._contents[0]]:
                request = self._server.create_request(content.length)
                targets.append(self._server.created(connection.ask(request) if request else None))
        self._other = targets.pop()
        for number, (content, target) in enumerate(zip(self._contents, targets, strict=True)):
            phone = _Phone(content, target, BEGIN_SECONDS * number / len(targets))
            phone.head = self._server.append_request(target, 0, content.length, {})
            self._phones.append(phone)

    def run(self) -> dict[str, float]:
        """`broken` uploads, and of the HEADs over the whole time p50, p99 and the maximum in ms."""
        with Probe(self._server.port, self._server.head_request(self._other)) as probe:
            self._flow()
            times = probe.times()
        return {"broken": sum(phone.answer is None for phone in self._phones), **latency(times)}

    def whole(self) -> list[tuple[Slice, str, Answer]]:
        """Content, path and last answer of the uploads that came to their end."""
        return [(phone.content, phone.target, phone.answer) for phone in self._phones if phone.answer is not None]

    def close(self) -> None:
        """Close what is open."""
        for phone in self._phones:
            self._drop(phone)
        self._selector.close()

    def _flow(self) -> None:
        began = time.monotonic()
        longest = max(phone.content.length for phone in self._phones) / self._rate
        deadline = began + BEGIN_SECONDS + longest + _END_SECONDS
        turns = [(phone.begins, number) for number, phone in enumerate(self._phones)]
        while not all(phone.is_over for phone in self._phones) and time.monotonic() < deadline:
            # Evenly spread over the period, each at its own time of it.
            at, number = turns.pop(0)
            self._listen(max(0.0, began + at - time.monotonic()))
            phone = self._phones[number]
            if phone.sent < phone.content.length and not phone.is_over:
                self._send(phone, time.monotonic() - began - phone.begins)
            turns.append((at + PERIOD, number))

    def _listen(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while True:
            for key, _ in self._selector.select(max(0.0, until - time.monotonic())):
                self._hear(key.data)
            if time.monotonic() >= until:
                return

    def _send(self, phone: _Phone, elapsed: float) -> None:
        due = min(phone.content.length, int(self._rate * (elapsed + PERIOD)))
        try:
            if phone.connection is None:
                phone.connection = connect(self._server.port, _CONNECT_SECONDS)
                phone.connection.sendall(phone.head)
                phone.connection.setblocking(False)
                self._selector.register(phone.connection, selectors.EVENT_READ, phone)
            with contextlib.suppress(BlockingIOError):
                phone.sent += phone.connection.send(phone.content.read(phone.sent, due - phone.sent))
        except (OSError, ClientError):
            self._break(phone)

    def _hear(self, phone: _Phone) -> None:
        if phone.connection is None:
            return
        try:
            more = phone.connection.recv(1 << 16)
            if not more:
                raise ConnectionResetError
            phone.data += more
            if is_whole(phone.data, is_head=False):
                answer = parse(phone.data)
                self._server.check_appended(answer, phone.content.length)
                phone.answer = answer
                self._drop(phone)
        except (OSError, ClientError):
            self._break(phone)

    def _break(self, phone: _Phone) -> None:
        phone.sent = max(phone.sent, 1)  # it was begun, and is over
        self._drop(phone)

    def _drop(self, phone: _Phone) -> None:
        if phone.connection is not None:
            with contextlib.suppress(KeyError):
                self._selector.unregister(phone.connection)
            phone.connection.close()
            phone.connection = None
