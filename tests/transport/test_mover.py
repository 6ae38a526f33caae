"""Slow bodies share one thread: each is moved as it comes, and none waits for another's client, file or end."""

import asyncio
import errno
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.transport.body import End, Moved, Pace, writers
from server.transport.mover import mover
from tests.harness.waiting import PATIENCE
from tests.transport.pairs import MIB, NOISE, Line, Target, run, send_later


@pytest.fixture
def loop() -> str:
    return "uvloop"  # the other one has the same calls, and `test_socket_body` for them


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    path = tmp_path / "file"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    yield Target(path, descriptor)
    os.close(descriptor)


class FullDisk:
    """A file that takes no byte."""

    def __call__(self) -> int:
        raise OSError(errno.ENOSPC, "full")

    def written(self, end: int) -> None:
        pass


class Stalled:
    """A file on a disk that hangs, until it is told to go on."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.is_reached, self.goes_on = threading.Event(), threading.Event()

    def __call__(self) -> int:
        self.is_reached.set()
        assert self.goes_on.wait(PATIENCE)
        return self._descriptor

    def written(self, end: int) -> None:
        pass


async def waits(line: Line) -> None:
    """Until the mover has it, and waits."""
    while not line.body.is_waiting:
        await asyncio.sleep(0.005)


def test_what_was_read_with_the_head_is_written_at_once(loop: str, target: Target) -> None:
    """Before the next packet comes, and at its place."""

    async def work() -> None:
        async with Line(100, NOISE[:60]) as line:
            using = asyncio.ensure_future(line.body.write_to(target.descriptor, 7, 100))
            while len(target.bytes()) < 67:
                await asyncio.sleep(0.005)
            line.client.sendall(NOISE[60:100])
            assert await using == Moved(100, End.LIMIT)
            assert target.bytes() == bytes(7) + NOISE[:100]
            assert (line.body.moved, line.calls) == (100, ["take", "give_back"])

    run(loop, work())


def test_pieces_are_moved_without_the_event_loop(loop: str, target: Target) -> None:
    """While the loop does nothing at all, what comes is written, within the longest pause."""

    async def work() -> None:
        async with Line(MIB) as line:
            using = asyncio.ensure_future(line.body.write_to(target.descriptor, 0, MIB))
            await waits(line)
            for number in range(4):
                line.client.sendall(NOISE[number * 100 : number * 100 + 100])
                deadline = time.monotonic() + PATIENCE
                while len(target.bytes()) < (number + 1) * 100 and time.monotonic() < deadline:
                    time.sleep(0.01)  # that is the point
                assert target.bytes() == NOISE[: (number + 1) * 100]
            line.body.stop()
            assert await using == Moved(400, End.STOPPED)

    run(loop, work())


def test_a_full_disk_ends_its_own_body_only(loop: str, target: Target) -> None:
    """The error is raised where it belongs; the bytes are counted as not written; others go on."""

    async def work() -> None:
        async with Line(MIB) as failing, Line(200) as other:
            fails = asyncio.ensure_future(failing.body.write_to(FullDisk(), 0, MIB))
            goes_on = asyncio.ensure_future(other.body.write_to(target.descriptor, 0, 200))
            await waits(failing)
            await waits(other)
            failing.client.sendall(b"a" * 100)
            with pytest.raises(OSError, match="full"):
                await fails
            assert failing.body.moved == 0
            other.client.sendall(NOISE[:200])
            assert await goes_on == Moved(200, End.LIMIT)
            assert target.bytes() == NOISE[:200]

    run(loop, work())


def test_a_fault_in_one_body_does_not_end_the_mover(loop: str, target: Target) -> None:
    """Whatever a sink raises is raised to its caller; the thread lives on."""

    def sink(_: memoryview) -> int:
        raise ZeroDivisionError

    async def work() -> None:
        for _ in range(2):
            async with Line(MIB) as line:
                using = asyncio.ensure_future(line.body.feed(sink, MIB))
                await waits(line)
                line.client.sendall(b"a")
                with pytest.raises(ZeroDivisionError):
                    await using

    run(loop, work())


def test_a_body_that_becomes_fast_gets_a_thread_of_its_own(loop: str, target: Target) -> None:
    """And is whole; after it has become slow again, it goes back to the mover."""
    movers: set[str] = set()

    class Seen:
        def __call__(self) -> int:
            movers.add(threading.current_thread().name.rpartition("_")[0] or "mover")
            return target.descriptor

        def written(self, end: int) -> None:
            pass

    async def work() -> None:
        async with Line(len(NOISE) + 10) as line:
            using = asyncio.ensure_future(line.body.write_to(Seen(), 0, 1 << 40))
            await waits(line)
            assert movers == set()
            sender = send_later(line.client, NOISE)
            while line.body.moved + (line.body._slow.moved if line.body._slow else 0) < len(NOISE):
                await asyncio.sleep(0.005)
            sender.join()
            assert "body" in movers
            await waits(line)
            movers.clear()
            line.client.sendall(b"0123456789")
            assert await using == Moved(len(NOISE) + 10, End.COMPLETE)
            assert target.bytes() == NOISE + b"0123456789"

    run(loop, work())


@pytest.mark.parametrize("how", ["stop", "cancel"])
def test_a_body_is_given_back_when_it_is_wanted(loop: str, target: Target, how: str) -> None:
    """With exact counts; afterwards nothing is written any more."""

    async def work() -> None:
        async with Line(MIB) as line:
            using = asyncio.ensure_future(line.body.write_to(target.descriptor, 0, MIB))
            await waits(line)
            line.client.sendall(NOISE[:1000])
            if how == "stop":
                line.body.stop()
                assert (await using).end is End.STOPPED
            else:
                using.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await using
            size = len(target.bytes())
            assert (line.body.moved, target.bytes()) == (size, NOISE[:size])
            line.client.sendall(NOISE[:1000])
            await asyncio.sleep(0.05)
            assert len(target.bytes()) == size

    run(loop, work())


def test_a_cancelled_body_waits_for_its_file(loop: str, target: Target) -> None:
    """The file must not be closed while the mover writes into it."""

    async def work() -> None:
        async with Line(MIB) as line:
            stalled = Stalled(target.descriptor)
            using = asyncio.ensure_future(line.body.write_to(stalled, 0, MIB))
            await waits(line)
            line.client.sendall(NOISE[:100])
            assert await asyncio.to_thread(stalled.is_reached.wait, PATIENCE)
            using.cancel()
            await asyncio.sleep(0.05)
            assert not using.done()
            stalled.goes_on.set()
            with pytest.raises(asyncio.CancelledError):
                await using
            assert (line.body.moved, target.bytes()) == (100, NOISE[:100])

    run(loop, work())


def test_a_slow_disk_is_not_counted_against_other_clients(loop: str, target: Target) -> None:
    """While the mover hangs in one file, the clients of the others could not have been quicker."""

    async def work() -> None:
        pace = Pace(10, 1)
        async with Line(MIB) as first, Line(2, pace=pace) as other:
            stalled = Stalled(target.descriptor)
            hangs = asyncio.ensure_future(first.body.write_to(stalled, 100, 5))
            with target.another() as own:
                using = asyncio.ensure_future(other.body.write_to(own.descriptor, 0, 2))
                await waits(first)
                await waits(other)
                first.client.sendall(b"12345")
                assert await asyncio.to_thread(stalled.is_reached.wait, PATIENCE)
                other.client.send(b"a")
                await asyncio.sleep(1.3)
                assert not using.done()
                stalled.goes_on.set()
                other.client.send(b"b")
                assert await using == Moved(2, End.LIMIT)
                assert pace.left > 0
            assert await hangs == Moved(5, End.LIMIT)

    run(loop, work())


def test_a_client_below_the_slowest_rate_is_ended(loop: str, target: Target) -> None:
    """A byte now and then does not keep a body alive for ever."""

    async def work() -> None:
        async with Line(MIB, pace=Pace(1000, 0.4)) as line:
            using = asyncio.ensure_future(line.body.write_to(target.descriptor, 0, MIB))
            while not using.done():
                line.client.send(b"a")
                await asyncio.sleep(0.1)
            assert (await using).end is End.IDLE

    run(loop, work())


def test_a_client_that_always_has_sent_a_byte_is_ended(loop: str, target: Target) -> None:
    """Also when each look finds one: it is their number that counts."""

    async def work() -> None:
        async with Line(MIB, pace=Pace(1000, 0.4)) as line:
            using = asyncio.ensure_future(line.body.write_to(target.descriptor, 0, MIB))
            async with asyncio.timeout(PATIENCE):
                while not using.done():
                    line.client.send(b"a")
                    await asyncio.sleep(0.002)
            assert (await using).end is End.IDLE

    run(loop, work())


def test_a_trickle_that_is_taken_in_pieces_is_ended(loop: str) -> None:
    """A form of empty parts: each call gets what it wants, and all of them together are too slow."""

    async def work() -> None:
        async with Line(MIB, pace=Pace(1000, 0.4)) as line:
            end = End.LIMIT
            async with asyncio.timeout(PATIENCE):
                while end is End.LIMIT:
                    using = asyncio.ensure_future(line.body.feed(len, 8))
                    while not using.done():
                        line.client.send(b"a")
                        await asyncio.sleep(0.01)
                    end = (await using).end
            assert end is End.IDLE

    run(loop, work())


def test_a_silent_client_is_ended(loop: str, target: Target) -> None:
    """After so many seconds without a byte, however many came before."""

    async def work() -> None:
        async with Line(MIB, NOISE[:10], idle=0.3) as line:
            began = time.monotonic()
            assert await line.body.write_to(target.descriptor, 0, MIB) == Moved(10, End.IDLE)
            assert time.monotonic() - began >= 0.25

    run(loop, work())


def test_the_mover_needs_none_of_the_threads_of_fast_bodies(loop: str, target: Target) -> None:
    """Sixteen fast bodies on a slow disk hold up no phone."""

    async def work() -> None:
        gate = threading.Event()
        for _ in range(16):
            writers.submit(gate.wait, PATIENCE)
        try:
            async with Line(100) as line:
                using = asyncio.ensure_future(line.body.write_to(target.descriptor, 0, 100))
                await waits(line)
                line.client.sendall(NOISE[:100])
                assert await using == Moved(100, End.LIMIT)
        finally:
            gate.set()

    run(loop, work())


def test_releasing_a_body_that_is_back_does_nothing(loop: str, target: Target) -> None:
    """A stop and the end may cross each other."""

    async def work() -> None:
        async with Line(10) as line:
            using = asyncio.ensure_future(line.body.write_to(target.descriptor, 0, 10))
            await waits(line)
            slow = line.body._slow
            assert slow is not None
            line.client.sendall(NOISE[:10])
            assert await using == Moved(10, End.LIMIT)
            mover.release(slow)
            mover.release(slow)
            assert not mover.holds(slow)

    run(loop, work())
