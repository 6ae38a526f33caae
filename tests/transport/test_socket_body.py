"""A body straight from its socket: every byte once, in order, in the file or still in the body, whatever happens."""

import asyncio
import errno
import hashlib
import os
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from server.transport.body import End, Moved
from server.transport.mover import bytes_waiting
from tests.harness.waiting import PATIENCE
from tests.transport.pairs import LOOPS, MIB, NOISE, WAYS, Line, Target, by_read, by_write, run, send_later

KIB = 1 << 10
SIZES = [1, 64, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, MIB - 1, MIB, MIB + 1, 6 * MIB]


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
@pytest.mark.parametrize("size", SIZES)
def test_a_body_is_read_to_its_end_and_not_beyond(loop: str, target: Target, size: int, way: str) -> None:
    """A body of any size, some of it read by the parser already: all of it, and not a byte of what is behind it."""

    async def work() -> None:
        for front in {0, 1, min(size, 70_000), size - 1, size}:
            os.ftruncate(target.descriptor, 0)
            async with Line(size, NOISE[:front]) as line:
                sender = send_later(line.client, NOISE[front:size] + b"next")
                found, end = await WAYS[way](line.body, target, size + 5)
                sender.join()
                assert found == NOISE[:size]
                assert end is End.COMPLETE
                assert line.body.moved == (0 if way == "peek" else size)
                assert line.calls == (["take", "give_back"] if front < size else ["take"])
                assert line.body.consumed(size)
                await asyncio.sleep(0)
                assert line.left() == b"next"

    run(loop, work())


@pytest.mark.parametrize("way", ["write", "see", "feed", "read"])
def test_a_call_reads_no_more_than_its_limit(loop: str, target: Target, way: str) -> None:
    """Never more than was asked for; what is left comes with the next call, also after a look at it."""

    async def work() -> None:
        async with Line(300_000, NOISE[:1000]) as line:
            line.client.sendall(NOISE[1000:300_000])
            got, at = b"", 0
            for limit in (0, 1, 998, 1, 1, 65_536, 100_000):
                os.ftruncate(target.descriptor, 0)
                front, _ = await line.body.peek(limit + 3)
                assert front == NOISE[at : at + limit + 3]
                found, end = await WAYS[way](line.body, target, limit)
                assert (len(found), end) == (limit, End.LIMIT)
                got, at = got + found, at + limit
                assert line.body.moved == at
                assert not line.body.consumed(300_000)
            line.body.put_back(got[-500:])
            os.ftruncate(target.descriptor, 0)
            found, end = await WAYS[way](line.body, target, MIB)
            assert end is End.COMPLETE
            assert got[:-500] + found == NOISE[:300_000]
            assert line.body.moved == 300_000

    run(loop, work())


def end_by_fin(client: socket.socket) -> None:
    client.close()


def end_by_reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


@pytest.mark.parametrize("way", WAYS)
def test_a_cut_or_silent_body_keeps_what_came(loop: str, target: Target, way: str) -> None:
    """A client that leaves, or falls silent: what came is there, and every later call says the same."""

    async def cut(how: Callable[[socket.socket], None] | None, sent: int) -> None:
        async with Line(MIB, NOISE[:5], idle=2 * PATIENCE if how else 0.3) as line:
            with target.another() as own:
                line.client.sendall(NOISE[5 : 5 + sent])
                using = asyncio.ensure_future(WAYS[way](line.body, own, MIB))
                await asyncio.sleep(0.1)
                if how:
                    how(line.client)
                found, end = await using
                assert found == NOISE[: 5 + sent]
                assert end is (End.GONE if how else End.IDLE)
                assert line.calls == (["take", "gone"] if how else ["take"])
                assert (await line.body.write_to(own.descriptor, 0, MIB)).end is end
                assert line.body.moved == 5 + sent

    async def work() -> None:
        cases = [cut(how, sent) for how in (end_by_fin, end_by_reset, None) for sent in (0, 10, 200_000)]
        await asyncio.gather(*cases)

    run(loop, work())


def test_bytes_that_a_sink_leaves_stay_in_the_body(loop: str) -> None:
    """What a sink leaves stays in the body, wherever it stops: in what the parser had, in a read, between two."""

    async def work() -> None:
        for stops in ([3], [1000], [1001], [70_000], [10, 990, 1, 500_000, 3]):
            async with Line(MIB, NOISE[:1000]) as line:
                sender = send_later(line.client, NOISE[1000:MIB])
                got = b""
                for stop in stops:
                    room = [stop]
                    taken = bytearray()

                    def sink(view: memoryview, room: list[int] = room, taken: bytearray = taken) -> int:
                        used = min(len(view), room[0])
                        room[0] -= used
                        taken.extend(view[:used])
                        return used

                    assert await line.body.feed(sink, MIB) == Moved(stop, End.LIMIT)
                    got += taken
                    assert line.body.moved == len(got)
                assert got + (await by_read(line.body, None, 2 * MIB))[0] == NOISE[:MIB]  # type: ignore[arg-type]
                sender.join()

    run(loop, work())


def refuse(monkeypatch: pytest.MonkeyPatch, number: int, *, after: int, into_pipe: bool = False) -> list[int]:
    """Let splice fail with this error once it has moved so many bytes into files (or pipes); how often it was asked."""
    real, moved, calls = os.splice, [0], [0]

    def splice(src: int, dst: int, count: int, **more: Any) -> int:
        if ("offset_dst" in more) is not into_pipe:
            calls[0] += 1
            if moved[0] >= after:
                raise OSError(number, os.strerror(number))
            moved[0] += (done := real(src, dst, min(count, after - moved[0]), **more))
            return done
        return real(src, dst, count, **more)

    monkeypatch.setattr(os, "splice", splice)
    return calls


@pytest.mark.parametrize("way", ["write", "see"])
@pytest.mark.parametrize("after", [0, 100_000, 3 * MIB + 1])
def test_a_file_system_without_splice_gets_every_byte(
    loop: str, target: Target, monkeypatch: pytest.MonkeyPatch, way: str, after: int
) -> None:
    """A file system without splice: every byte is there, through a buffer, and splice is not asked again."""
    calls = refuse(monkeypatch, errno.EINVAL, after=after)

    async def work() -> None:
        async with Line(6 * MIB, NOISE[:9]) as line:
            sender = send_later(line.client, NOISE[9:])
            while bytes_waiting(line._server.fileno()) < 1 << 15:  # else it would be a slow body
                await asyncio.sleep(0.005)
            assert await WAYS[way](line.body, target, 7 * MIB) == (NOISE, End.COMPLETE)
            sender.join()
            assert not line.body._can_splice

    run(loop, work())
    if after == 0:
        assert calls[0] == 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_pipe_that_is_not_empty_is_not_used_again(
    loop: str, tmp_path: Path, target: Target, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """An upload that the disk refused leaves bytes in its pipe: the next one, of somebody else, gets only its own."""

    async def work() -> None:
        with monkeypatch.context() as patch:
            refuse(patch, number, after=300_000)
            async with Line(MIB) as line:
                line.client.sendall(NOISE[:MIB])
                with pytest.raises(OSError) as caught:
                    await line.body.write_to(target.descriptor, 0, MIB)
                assert caught.value.errno == number
                assert target.bytes() == NOISE[:300_000]
                assert line.body.moved == 300_000
        os.ftruncate(target.descriptor, 0)
        async with Line(MIB) as other:
            other.client.sendall(b"\0" * MIB)
            assert await by_write(other.body, target, MIB) == (b"\0" * MIB, End.LIMIT)

    run(loop, work())


def test_an_urgent_byte_does_not_block_a_thread(loop: str, target: Target) -> None:
    """Splice stops before an urgent byte for ever, though the socket polls as readable: reading passes over it."""

    async def work() -> None:
        for pause in (0, 0.1):
            os.ftruncate(target.descriptor, 0)
            async with Line(200_000) as line:
                line.client.sendall(NOISE[:100_000])
                line.client.send(b"U", socket.MSG_OOB)
                using = asyncio.ensure_future(by_write(line.body, target, MIB))
                await asyncio.sleep(pause)
                line.client.sendall(NOISE[100_000:200_000])
                assert await asyncio.wait_for(using, PATIENCE) == (NOISE[:200_000], End.COMPLETE)

    run(loop, work())


def test_a_hash_sees_every_byte_in_order(loop: str, target: Target) -> None:
    """A hash that looks on sees the bytes of the file, in order, over several calls."""

    async def work() -> None:
        hashed = hashlib.sha256()
        async with Line(len(NOISE), NOISE[:1000]) as line:
            sender = send_later(line.client, NOISE[1000:])
            at = 0
            for limit in (500, 1000, 3 * MIB, 4 * MIB):
                at += (await line.body.write_to(target.descriptor, at, limit, hashed.update)).count
            sender.join()
        assert target.bytes() == NOISE
        assert hashed.digest() == hashlib.sha256(NOISE).digest()

    run(loop, work())


def test_an_error_of_the_hash_is_raised(loop: str, target: Target) -> None:
    """What looking on raises is raised, and what was written is counted."""

    async def work() -> None:
        def see(_: bytes | memoryview) -> None:
            raise ValueError("broken")

        async with Line(5 * MIB) as line:
            sender = send_later(line.client, NOISE[: 5 * MIB])
            with pytest.raises(ValueError, match="broken"):
                await line.body.write_to(target.descriptor, 0, 5 * MIB, see)
            assert line.body.moved == len(target.bytes())
            assert target.bytes() == NOISE[: line.body.moved]
            await line.body.close()
            line._server.close()
            sender.join()

    run(loop, work())


def test_a_connection_lost_before_the_handover_keeps_parsed_bytes(loop: str, target: Target) -> None:
    """A connection that was lost before: what the parser had is kept."""

    async def work() -> None:
        async with Line(100, b"front") as line:
            line._rest = 0  # so that there is no descriptor
            taken = line.take()
            line.calls.clear()
            line.take = lambda: type(taken)(b"front", -1, 95)  # type: ignore[method-assign]
            assert await by_write(line.body, target, 100) == (b"front", End.GONE)
            assert line.calls == ["gone"]
            assert await line.body.peek(1) == (b"", End.GONE)

    run(loop, work())
