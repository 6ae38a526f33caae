"""The slowest that a body may be: a trickle is given up, a bad line is not."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from server.transport.body import AsgiBody, End, Moved, Pace
from tests.transport.scripted import Message, Script, chunk

Use = Callable[[AsgiBody, Path], Awaitable[tuple[bytes, End]]]


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


# Rate and window are 10 bytes a second over 60 s. Each wait: how long it took, what it brought; then what is left.
WAITS: dict[str, tuple[list[tuple[float, int]], float]] = {
    "silence": ([(59, 0)], 1),
    "a window of silence": ([(60, 0)], 0),
    "a byte a second": ([(1, 1)] * 66, 0.6),
    "a byte a second for too long": ([(1, 1)] * 67, -0.3),
    "the rate, for ever": ([(1, 10)] * 1000, 60),
    "just below it, for long": ([(1, 9)] * 500, 10),
    "just below it, for too long": ([(1, 9)] * 601, -0.1),
    "the rate, once a window": ([(59, 0), (0.5, 595)] * 100, 60),
    "much, and then nothing": ([(1, 1_000_000), (59, 0)], 1),
    "silence, and then little": ([(59, 0), (0, 100)], 11),
    "what came by itself": ([(0, 5)] * 100, 60),
}


@pytest.mark.parametrize("name", WAITS)
def test_bytes_earn_patience_at_the_slowest_rate(name: str) -> None:
    """Waiting spends a window of patience, bytes earn it back at the rate, and never more than the window."""
    waits, left = WAITS[name]
    clock = Clock()
    pace = Pace(10, 60, clock)
    for seconds, count in waits:
        clock.now += 1000  # between two waits the server is at work, and nobody counts that
        pace.wait()
        clock.now += seconds
        is_patient = pace.check(count)
        assert is_patient == (pace.left > 0)
    assert pace.left == pytest.approx(left)


def test_without_a_rate_nothing_is_too_slow() -> None:
    """Without a rate nothing is ever too slow."""
    clock = Clock()
    pace = Pace(0, 60, clock)
    pace.wait()
    clock.now += 1e9
    assert pace.check(0)


@hypothesis_settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 50), st.integers(0, 2000)), max_size=60))
def test_a_body_is_given_up_only_below_the_average_rate(waits: list[tuple[float, int]]) -> None:
    """A body is given up only after a stretch of more than the window in which it was slower than the rate."""
    clock = Clock()
    pace = Pace(10, 60, clock)
    for number, (seconds, count) in enumerate(waits):
        pace.wait()
        clock.now += seconds
        if not pace.check(count):
            last = waits[: number + 1]
            stretches = [last[start:] for start in range(len(last))]
            sums = [(sum(each[0] for each in part), sum(each[1] for each in part)) for part in stretches]
            assert any(waited >= 59.99 and came < 10 * waited for waited, came in sums)
            return


async def by_peek(body: AsgiBody, path: Path) -> tuple[bytes, End]:
    return await body.peek(1000)


async def by_read(body: AsgiBody, path: Path) -> tuple[bytes, End]:
    buffer = bytearray(1000)
    moved = await body.read_into(memoryview(buffer))
    return bytes(buffer[: moved.count]), moved.end


async def by_write(body: AsgiBody, path: Path) -> tuple[bytes, End]:
    with path.open("wb") as file:
        moved = await body.write_to(file.fileno(), 0, 1000)
    assert path.stat().st_size == moved.count
    return path.read_bytes(), moved.end


@pytest.mark.parametrize("use", [by_peek, by_read, by_write])
def test_a_trickling_body_is_given_up_and_its_bytes_counted(tmp_path: Path, use: Use) -> None:
    """A body of a byte a second is given up, whatever is done with it; every byte that came is accounted for."""
    clock = Clock()

    async def receive() -> Message:
        clock.now += 1
        return chunk(b"x")

    async def work() -> None:
        body = AsgiBody(receive, 30, Pace(10, 30, clock))
        # 30 s of patience, and 0.1 s for each byte.
        assert await use(body, tmp_path / "file") == (b"x" * 34, End.IDLE)
        left = 34 - body.moved  # a look takes nothing
        assert await body.drain(1000) == Moved(left, End.IDLE)
        assert body.moved == 34
        await body.close()

    asyncio.run(work())


def test_a_slow_body_that_is_complete_is_accepted() -> None:
    """The last byte is the last, however late it is: a body that is whole is never given up."""
    clock = Clock()

    async def receive() -> Message:
        clock.now += 31
        return chunk(b"x", more=False)

    async def work() -> None:
        body = AsgiBody(receive, 30, Pace(10, 30, clock))
        assert await body.drain(1000) == Moved(1, End.COMPLETE)
        await body.close()

    asyncio.run(work())


def test_a_slow_body_that_falls_silent_is_given_up_early() -> None:
    """A body that used up its patience is not waited for as long as one that falls silent."""

    async def work() -> None:
        clock = Clock()
        pace = Pace(10, 30, clock)
        pace.wait()
        clock.now += 30 - 0.05
        assert pace.check(0)
        pace._clock = time.monotonic
        body = AsgiBody(Script([]).receive, 30, pace)
        assert await body.drain(1000) == Moved(0, End.IDLE)
        await body.close()

    asyncio.run(work())
