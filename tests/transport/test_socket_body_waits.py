"""A body straight from its socket waits without a thread, and lets go whenever it is told to."""

import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.transport.body import End, Moved, Pace, writers
from server.transport.socket_body import SocketBody
from tests.harness.waiting import PATIENCE
from tests.transport.pairs import LOOPS, MIB, NOISE, WAYS, Line, Target, run, send_later


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    path = tmp_path / "file"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    yield Target(path, descriptor)
    os.close(descriptor)


@pytest.mark.parametrize("way", WAYS)
def test_a_stop_ends_a_waiting_body_at_once(loop: str, target: Target, way: str) -> None:
    """A body that waits lets go at once, on the loop and in its thread."""

    async def stop(sent: int, pause: float) -> None:
        async with Line(MIB, idle=2 * PATIENCE) as line:
            with target.another() as own:
                line.client.sendall(NOISE[:sent])
                using = asyncio.ensure_future(WAYS[way](line.body, own, MIB))
                await asyncio.sleep(pause)
                line.body.stop()
                # It may take what has come already, and then it ends, long before the body is idle.
                found, end = await asyncio.wait_for(using, PATIENCE)
                assert end is End.STOPPED
                assert found == NOISE[: len(found)]
                line.body.stop()
                assert (await line.body.write_to(own.descriptor, 0, MIB)).end is End.STOPPED
                assert line.body.moved == len(found)

    async def work() -> None:
        # 10 ms are waited in the thread, the rest on the loop.
        for pause in (0, 0.001, 0.004, 0.008, 0.1):
            await asyncio.gather(*[stop(sent, pause) for sent in (0, 10, 200_000)])

    run(loop, work())


@pytest.mark.parametrize("way", ["write", "see", "feed"])
def test_a_stop_at_full_speed_writes_nothing_afterwards(loop: str, target: Target, way: str) -> None:
    """A stop in the middle of a big body: what was counted is in the file, and nothing is written afterwards."""
    size = 1 << 40

    async def work() -> None:
        async with Line(size) as line:
            sender = send_later(line.client, NOISE, 1000)
            using = asyncio.ensure_future(WAYS[way](line.body, target, size))
            await asyncio.sleep(0.05)
            line.body.stop()
            found, end = await using
            assert end is End.STOPPED
            assert len(found) > 0
            assert line.body.moved == len(found) == size - line.body._rest
            assert found == (NOISE * (len(found) // len(NOISE) + 1))[: len(found)]
            await asyncio.sleep(0.02)
            if way != "feed":
                assert target.path.stat().st_size == len(found)
            await line.body.close()
            line._server.close()
            sender.join()

    run(loop, work())


def test_a_cancelled_body_waits_for_its_thread(loop: str, target: Target) -> None:
    """Who is cancelled waits for his thread: afterwards the file is as long as was counted, and stays so."""

    async def work() -> None:
        for pause in (0, 0.003, 0.02, 0.2):
            os.ftruncate(target.descriptor, 0)
            async with Line(100 * len(NOISE)) as line:
                sender = send_later(line.client, NOISE * 2)
                using = asyncio.ensure_future(line.body.write_to(target.descriptor, 0, 100 * len(NOISE)))
                await asyncio.sleep(pause)
                using.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await using
                size = target.path.stat().st_size
                assert line.body.moved == size
                await asyncio.sleep(0.02)
                assert target.path.stat().st_size == size
                assert target.bytes() == (NOISE * 2)[:size]
                await line.body.close()
                line._server.close()
                sender.join()

    run(loop, work())


def hold_all(together: threading.Barrier) -> None:
    """Have every thread that moves bodies meet at one point: none of them has anything else to do."""
    for _ in range(together.parties - 1):
        writers.submit(together.wait, PATIENCE)
    together.wait(PATIENCE)


def came(body: SocketBody) -> int:
    """Bytes that are in the file, also while the mover has the body."""
    return body.moved + (body._slow.moved if body._slow else 0)


@pytest.mark.sampled(1)
def test_idle_bodies_hold_no_thread(loop: str, target: Target) -> None:
    """A thousand bodies that wait, each of which had some bytes: no thread works for them, and each goes on."""

    async def work() -> None:
        lines = [Line(2) for _ in range(1000)]
        using = [asyncio.ensure_future(line.body.write_to(target.descriptor, 0, 2)) for line in lines]
        for line in lines:
            line.client.send(b"a")
        while any(not line.body.is_waiting or came(line.body) != 1 for line in lines):
            await asyncio.sleep(0.02)
        await asyncio.to_thread(hold_all, threading.Barrier(17))
        assert not any(one.done() for one in using)
        for line in lines:
            line.client.send(b"b")
        assert await asyncio.gather(*using) == [Moved(2, End.LIMIT)] * 1000
        for line in lines:
            await line.__aexit__()

    run(loop, work())


@pytest.mark.sampled(1)
def test_a_wait_for_a_thread_is_not_counted_against_the_client(loop: str, target: Target) -> None:
    """While every thread is busy a fast body waits for one; nobody blames its client for that."""
    size = 40_000

    async def work() -> None:
        pace = Pace(10, 1)
        gate = threading.Event()
        async with Line(size, pace=pace) as line:
            line.client.sendall(NOISE[:size])
            for _ in range(16):
                writers.submit(gate.wait, PATIENCE)
            using = asyncio.ensure_future(line.body.write_to(target.descriptor, 0, size))
            await asyncio.sleep(1.3)
            assert not using.done()
            gate.set()
            assert await using == Moved(size, End.LIMIT)
            assert pace.left > 0

    run(loop, work())
