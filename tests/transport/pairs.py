"""A socket body between two ends of a TCP connection, with a server that only notes what it is told."""

import asyncio
import os
import random
import socket
import threading
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import uvloop

from server.transport import socket_body, transfer
from server.transport.body import End, Pace
from server.transport.mover import mover
from server.transport.socket_body import SocketBody, Taken
from tests.harness.processes import descriptors
from tests.harness.waiting import PATIENCE

MIB = 1 << 20
NOISE = random.Random(7).randbytes(6 * MIB)
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


class Line:
    """One connection: `client` sends, `body` is what arrives; it is also the `Handover`."""

    def __init__(
        self, length: int, front: bytes = b"", *, idle: float = 2 * PATIENCE, pace: Pace | None = None
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.client = socket.create_connection(listener.getsockname(), timeout=PATIENCE)
            self._server, _ = listener.accept()
        self.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._server.setblocking(False)
        self._front = front
        self._rest = length - len(front)
        self.calls: list[str] = []
        self.body = SocketBody(self, idle, pace)

    def take(self) -> Taken:
        assert "take" not in self.calls, "a body is taken once"
        self.calls.append("take")
        return Taken(self._front, os.dup(self._server.fileno()) if self._rest else -1, self._rest)

    def give_back(self) -> None:
        self.calls.append("give_back")

    def gone(self) -> None:
        self.calls.append("gone")

    def left(self) -> bytes:
        """What is still in the server's socket."""
        try:
            return self._server.recv(1 << 20)
        except BlockingIOError:
            return b""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.body.close()
        self.client.close()
        self._server.close()


@dataclass
class Target:
    """A file to write into."""

    path: Path
    descriptor: int

    def bytes(self) -> bytes:
        return self.path.read_bytes()

    @contextmanager
    def another(self) -> "Iterator[Target]":
        """A second file beside this one."""
        path = self.path.with_name(uuid.uuid4().hex)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
        try:
            yield Target(path, descriptor)
        finally:
            os.close(descriptor)


def run(loop: str, work: Coroutine[Any, Any, Any]) -> Any:
    """Run to its end on that loop, and leave no task, no descriptor and no full pipe behind."""

    async def watched() -> Any:
        transfer.pipes.close()
        mover.start()  # it has descriptors of its own
        before = descriptors()
        found = await asyncio.wait_for(work, 2 * PATIENCE)
        assert asyncio.all_tasks() == {asyncio.current_task()}, "a task is left"
        for pipe in transfer.pipes._free:
            assert pipe.filled == 0
            assert in_pipe(pipe.out) == b""
        transfer.pipes.close()
        assert descriptors() <= before, "a descriptor is left"
        return found

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        return runner.run(watched())


def in_pipe(out: int) -> bytes:
    """What is in a pipe that nobody waits for."""
    try:
        return os.read(out, 1 << 20)
    except BlockingIOError:
        return b""


def send_later(client: socket.socket, data: bytes, times: int = 1) -> threading.Thread:
    """Send from a thread, however far it comes."""

    def send() -> None:
        try:
            for _ in range(times):
                client.sendall(data)
        except OSError:
            pass

    thread = threading.Thread(target=send)
    thread.start()
    return thread


Take = Callable[[SocketBody, Target, int], Awaitable[tuple[bytes, End]]]


async def by_write(body: SocketBody, target: Target, limit: int) -> tuple[bytes, End]:
    moved = await body.write_to(target.descriptor, 0, limit)
    assert len(target.bytes()) == moved.count
    return target.bytes(), moved.end


async def by_see(body: SocketBody, target: Target, limit: int) -> tuple[bytes, End]:
    seen = bytearray()
    moved = await body.write_to(target.descriptor, 0, limit, seen.extend)
    assert target.bytes() == bytes(seen)
    assert len(seen) == moved.count
    return bytes(seen), moved.end


async def by_see_beside_others(body: SocketBody, target: Target, limit: int) -> tuple[bytes, End]:
    with socket_body._shown.count():
        return await by_see(body, target, limit)


async def by_feed(body: SocketBody, target: Target, limit: int) -> tuple[bytes, End]:
    seen = bytearray()

    def sink(view: memoryview) -> int:
        seen.extend(view)
        return len(view)

    moved = await body.feed(sink, limit)
    assert len(seen) == moved.count
    return bytes(seen), moved.end


async def by_read(body: SocketBody, target: Target, limit: int) -> tuple[bytes, End]:
    buffer = bytearray(limit)
    moved = await body.read_into(memoryview(buffer))
    return bytes(buffer[: moved.count]), moved.end


async def by_peek(body: SocketBody, target: Target, limit: int) -> tuple[bytes, End]:
    return await body.peek(limit)


WAYS: dict[str, Take] = {
    "write": by_write,
    "see": by_see,
    "beside": by_see_beside_others,
    "feed": by_feed,
    "read": by_read,
    "peek": by_peek,
}
