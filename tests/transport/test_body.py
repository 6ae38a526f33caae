"""A body accounts for every byte: how many were moved, why it stopped, and what is in the file."""

import asyncio
import os
import selectors
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from server.transport import body as body_module
from server.transport.body import AsgiBody, End, Moved
from tests.harness.waiting import PATIENCE, Stopwatch
from tests.transport.scripted import GONE, Message, Script, chunk, scripted, whole

IDLE = 0.05
MIB = 1 << 20


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Run to its end, and leave no task behind."""

    async def watched() -> Any:
        found = await work
        assert asyncio.all_tasks() == {asyncio.current_task()}, "a task is left"
        return found

    return asyncio.run(watched())


@pytest.fixture
def file(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    path = tmp_path / "file"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    yield descriptor, path
    os.close(descriptor)


Use = Callable[[AsgiBody, int], Awaitable[tuple[bytes, End]]]


async def by_peek(body: AsgiBody, limit: int) -> tuple[bytes, End]:
    return await body.peek(limit)


async def by_read(body: AsgiBody, limit: int) -> tuple[bytes, End]:
    buffer = bytearray(limit)
    moved = await body.read_into(memoryview(buffer))
    return bytes(buffer[: moved.count]), moved.end


async def by_drain(body: AsgiBody, limit: int) -> tuple[bytes, End]:
    moved = await body.drain(limit)
    return b"?" * moved.count, moved.end


def by_write(descriptor: int, path: Path) -> Use:
    async def write(body: AsgiBody, limit: int) -> tuple[bytes, End]:
        moved = await body.write_to(descriptor, 0, limit)
        assert path.stat().st_size == moved.count
        return path.read_bytes(), moved.end

    return write


# What is sent, how much is asked for, and what comes of it.
ENDS: dict[str, tuple[list[Message], int, bytes, End]] = {
    "limit": (whole([b"abc", b"def"]), 4, b"abcd", End.LIMIT),
    "limit at the end of a chunk": (whole([b"abc", b"def"]), 3, b"abc", End.LIMIT),
    "limit at the end of the body": (whole([b"abc"]), 3, b"abc", End.LIMIT),
    "nothing asked": (whole([b"abc"]), 0, b"", End.LIMIT),
    "complete": (whole([b"abc", b"def"]), 9, b"abcdef", End.COMPLETE),
    "complete in one message": ([chunk(b"abc", more=False)], 9, b"abc", End.COMPLETE),
    "complete without a byte": ([chunk(b"", more=False)], 9, b"", End.COMPLETE),
    "empty messages in between": (whole([b"", b"ab", b"", b"c"]), 9, b"abc", End.COMPLETE),
    "gone at once": ([GONE], 9, b"", End.GONE),
    "gone in the middle": ([chunk(b"abc"), GONE], 9, b"abc", End.GONE),
    "idle at once": ([], 9, b"", End.IDLE),
    "idle in the middle": ([chunk(b"abc"), chunk(b"d")], 9, b"abcd", End.IDLE),
}


@pytest.mark.parametrize("name", ENDS)
@pytest.mark.parametrize("how", ["peek", "read", "drain", "write"])
def test_each_way_to_use_a_body_reports_bytes_and_reason(file: tuple[int, Path], name: str, how: str) -> None:
    """Each way of using a body tells exactly what came and why it stopped; `moved` counts what was taken."""
    messages, limit, expected, end = ENDS[name]
    use: Use = {"peek": by_peek, "read": by_read, "drain": by_drain, "write": by_write(*file)}[how]

    async def work() -> None:
        body = scripted(messages, IDLE)
        try:
            found = await use(body, limit)
            assert found == (b"?" * len(expected) if how == "drain" else expected, end)
            assert body.moved == (0 if how == "peek" else len(expected))
            if end is not End.LIMIT:
                # An end is an end: who asks again hears the same at once.
                assert await body.drain(100) == Moved(len(expected) if how == "peek" else 0, end)
        finally:
            await body.close()

    run(work())


@pytest.mark.parametrize("how", ["peek", "read", "drain", "write"])
def test_a_stop_ends_a_wait_and_every_later_call(file: tuple[int, Path], how: str) -> None:
    """`stop` ends a wait at once, keeps what had come, and every later call ends so too."""
    use: Use = {"peek": by_peek, "read": by_read, "drain": by_drain, "write": by_write(*file)}[how]

    async def work() -> None:
        body = scripted([chunk(b"abc")], 30)
        using = asyncio.ensure_future(use(body, 100))
        await asyncio.sleep(0.2)
        assert not using.done()
        started = Stopwatch()
        body.stop()
        body.stop()
        found, end = await using
        assert started.seconds < 0.5
        assert (len(found), end) == (3, End.STOPPED)
        assert await body.drain(10) == Moved(3 if how == "peek" else 0, End.STOPPED)
        await body.close()

    run(work())


def test_a_body_stopped_before_its_first_byte_is_never_read(file: tuple[int, Path]) -> None:
    """A body that was told to let go before anybody asked is never read."""
    descriptor, path = file

    async def work() -> None:
        script = Script(whole([b"abc"]))
        body = AsgiBody(script.receive, 30)
        body.stop()
        assert await body.write_to(descriptor, 0, 100) == Moved(0, End.STOPPED)
        assert script.asked == 0
        await body.close()

    run(work())
    assert path.read_bytes() == b""


def test_a_body_is_read_only_on_demand() -> None:
    """Making a body reads nothing; a peek reads no more messages than it needs."""

    async def work() -> None:
        script = Script(whole([b"abc", b"def"]))
        body = AsgiBody(script.receive, 30)
        await body.peek(0)
        assert script.asked == 0
        await body.peek(3)
        assert script.asked == 1
        assert not body.consumed(6)
        await body.peek(4)
        assert (script.asked, body.consumed(6), body.consumed(None)) == (2, True, False)
        await body.drain(7)
        assert body.consumed(None)
        await body.close()

    run(work())


class Instant(selectors.DefaultSelector):
    """Waits for no timer: the time of its loop is what the timers ask for."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now += timeout or 0
        return super().select(timeout and 0)


class InstantLoop(asyncio.SelectorEventLoop):
    """A loop on whose time a busy machine has no influence."""

    def __init__(self) -> None:
        self._instant = Instant()
        super().__init__(self._instant)

    def time(self) -> float:
        return self._instant.now


@pytest.mark.parametrize(("pause", "moved"), [(0.149, Moved(10, End.COMPLETE)), (0.151, Moved(0, End.IDLE))])
def test_the_idle_limit_counts_silence(pause: float, moved: Moved) -> None:
    """A body that brings a byte before each limit is never idle, however long it takes."""

    async def work() -> None:
        arrivals = asyncio.Queue[Message]()

        async def client() -> None:
            for _ in range(10):
                await asyncio.sleep(pause)
                arrivals.put_nowait(chunk(b"x"))
            arrivals.put_nowait(chunk(b"", more=False))

        sending = asyncio.ensure_future(client())
        body = AsgiBody(arrivals.get, 0.15)
        assert await body.drain(100) == moved
        await sending
        await body.close()

    with asyncio.Runner(loop_factory=InstantLoop) as runner:
        runner.run(work())


def test_small_pieces_are_written_soon(file: tuple[int, Path]) -> None:
    """What has come is in the file soon, not only when there is more: a crash loses a moment."""
    descriptor, path = file

    async def work() -> None:
        body = scripted([chunk(b"abc"), chunk(b"def")], 30)
        writing = asyncio.ensure_future(body.write_to(descriptor, 0, 100))
        deadline = time.monotonic() + PATIENCE
        while path.read_bytes() != b"abcdef":
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        assert not writing.done()
        body.stop()
        assert await writing == Moved(6, End.STOPPED)
        await body.close()

    run(work())


def test_a_fast_stream_of_small_pieces_is_written(file: tuple[int, Path]) -> None:
    """Pieces that come in no time, one after the other without end, do not keep each other from the file."""
    descriptor, path = file

    async def crumbs() -> Message:
        await asyncio.sleep(0.005)
        return chunk(b"x")

    async def work() -> None:
        body = AsgiBody(crumbs, 30)
        writing = asyncio.ensure_future(body.write_to(descriptor, 0, 10_000))
        deadline = time.monotonic() + PATIENCE
        while not path.read_bytes():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        assert not writing.done()
        body.stop()
        assert (await writing).end is End.STOPPED
        await body.close()

    run(work())


def test_bytes_are_written_at_their_offset(file: tuple[int, Path]) -> None:
    """Bytes go to the offset that was asked for, not one behind the limit, and what stood before it stays."""
    descriptor, path = file
    path.write_bytes(b"0123456789")

    async def work() -> None:
        body = scripted(whole([b"ab", b"cdef"]), 30)
        assert await body.write_to(descriptor, 3, 4) == Moved(4, End.LIMIT)
        assert await body.peek(5) == (b"ef", End.COMPLETE)
        await body.close()

    run(work())
    assert path.read_bytes() == b"012abcd789"


def test_an_error_of_the_file_is_raised(file: tuple[int, Path]) -> None:
    """An error of the file is raised; an error is never mistaken for an end of the body."""
    _, path = file
    only_read = os.open(path, os.O_RDONLY)

    async def work() -> None:
        body = scripted(whole([b"abc"]), 30)
        with pytest.raises(OSError, match="Bad file descriptor"):
            await body.write_to(only_read, 0, 10)
        await body.close()

    run(work())
    os.close(only_read)


def test_short_writes_are_continued(file: tuple[int, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that takes less than it was given gets the rest again."""
    descriptor, path = file
    real = os.pwrite
    data = os.urandom(100_000)
    monkeypatch.setattr("server.transport.body.os.pwrite", lambda d, view, at: real(d, view[:777], at))

    async def work() -> None:
        body = scripted(whole([data[:33_333], data[33_333:]]), 30)
        assert await body.write_to(descriptor, 0, len(data)) == Moved(len(data), End.LIMIT)
        await body.close()

    run(work())
    assert path.read_bytes() == data


def test_many_bytes_in_bounded_memory(file: tuple[int, Path]) -> None:
    """A body of any length is read as it is written: never more than a batch ahead of the file."""
    descriptor, path = file
    piece = os.urandom(64 * 1024)
    ahead: list[int] = []

    async def work() -> None:
        sent = 0

        async def receive() -> Message:
            nonlocal sent
            ahead.append(sent - path.stat().st_size)
            sent += len(piece)
            return chunk(piece, more=sent < 32 * MIB)

        body = AsgiBody(receive, 30)
        assert await body.write_to(descriptor, 0, 64 * MIB) == Moved(32 * MIB, End.COMPLETE)
        await body.close()

    run(work())
    assert max(ahead) <= 512 * 1024
    assert path.stat().st_size == 32 * MIB


def test_a_cancelled_request_waits_for_its_writer(file: tuple[int, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written after the answer: a request that is cancelled ends when its thread has ended.

    Else the store closes the descriptor under the thread, and its number may be another upload's by then.
    """
    descriptor, _ = file
    entered, go_on, left = threading.Event(), threading.Event(), threading.Event()
    real = body_module.Writer.__call__

    def slow(*args: Any) -> int:
        entered.set()
        go_on.wait(PATIENCE)
        written = real(*args)
        left.set()
        return written

    monkeypatch.setattr(body_module.Writer, "__call__", slow)

    async def work() -> None:
        body = scripted(whole([b"abc"]), 30)
        writing = asyncio.ensure_future(body.write_to(descriptor, 0, 3))
        while not entered.is_set():
            await asyncio.sleep(0.01)
        # As a server that stops cancels what is left.
        writing.cancel()
        await asyncio.wait({writing}, timeout=0.2)
        ended_early = writing.done()
        go_on.set()
        await asyncio.wait({writing})
        await body.close()
        while not left.is_set():
            await asyncio.sleep(0.01)
        assert not ended_early, "write_to ended while its thread was still writing"

    run(work())


Step = tuple[str, int]


@hypothesis_settings(max_examples=150, deadline=None)
@given(
    pieces=st.lists(st.binary(max_size=40), max_size=12),
    steps=st.lists(st.tuples(st.sampled_from(["peek", "read", "write", "drain"]), st.integers(0, 70)), max_size=12),
    end=st.sampled_from(["complete", "gone", "last message has bytes"]),
)
def test_any_chunks_give_the_same_bytes_in_order(pieces: list[bytes], steps: list[Step], end: str) -> None:
    """Whatever the chunks and whatever is done with them, the bytes come in order, each once."""
    data = b"".join(pieces)
    messages = whole(pieces)
    if end == "gone":
        messages[-1] = GONE
    elif end == "last message has bytes":
        messages[-2:] = [chunk(pieces[-1] if pieces else b"", more=False)]
    ended = End.GONE if end == "gone" else End.COMPLETE
    descriptor = os.memfd_create("body")

    async def work() -> None:
        body = scripted(messages, 30)
        at = 0
        for kind, limit in [*steps, ("read", len(data) + 1)]:
            expected = data[at : at + limit]
            enough = End.LIMIT if len(expected) == limit else ended
            if kind == "peek":
                assert await body.peek(limit) == (expected, enough)
                continue
            if kind == "read":
                buffer = bytearray(limit)
                assert await body.read_into(memoryview(buffer)) == Moved(len(expected), enough)
                assert buffer[: len(expected)] == expected
            elif kind == "write":
                os.ftruncate(descriptor, 0)
                assert await body.write_to(descriptor, 5, limit) == Moved(len(expected), enough)
                assert os.pread(descriptor, 1000, 5) == expected
            else:
                assert await body.drain(limit) == Moved(len(expected), enough)
            at += len(expected)
            assert body.moved == at
        await body.close()

    try:
        run(work())
    finally:
        os.close(descriptor)
