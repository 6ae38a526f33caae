"""One request at a time works on an upload: between tasks, threads and processes, and also when one dies."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.errors import UploadLockedError
from server.storage import file_locks as locks_module
from server.storage.file_locks import FileLocks
from tests.harness.server_process import ROOT
from tests.harness.waiting import PATIENCE, Stopwatch

ID = "8a6b1c6e-3f0e-4a58-9f57-0d8f1f1f9c11"
OTHER = "8a6b1c6e-3f0e-4a58-9f57-0d8f1f1f9c12"

# Another process: it holds the lock, lets go when asked if `obliging`, and says what it does a line each.
_HOLDER = """
import asyncio, sys
from pathlib import Path
from server.storage.file_locks import FileLocks

async def main(folder, upload, obliging):
    locks = FileLocks(Path(folder))
    locks.listen()
    asked = asyncio.Event()
    async with locks.hold(upload) as held:
        held.attach(asked.set)
        print("held", flush=True)
        await asked.wait()
        print("asked", flush=True)
        if obliging != "True":
            await asyncio.Event().wait()
    print("let go", flush=True)
    locks.close()

asyncio.run(main(*sys.argv[1:]))
"""


class Holder:
    """That process."""

    def __init__(self, folder: Path, *, obliging: bool = True) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _HOLDER, str(folder), ID, str(obliging)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.line() == "held"

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=PATIENCE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "locks"


@pytest.fixture
def holders() -> Iterator[list[Holder]]:
    made: list[Holder] = []
    yield made
    for holder in made:
        holder.end()


def left(folder: Path) -> list[str]:
    """What there is but the file on which the locks are."""
    return sorted(path.name for path in folder.iterdir() if path.name != ".held")


async def take(locks: FileLocks, seconds: list[float]) -> None:
    started = Stopwatch()
    async with locks.hold(ID):
        seconds.append(started.seconds)


def test_a_holder_in_another_process_is_asked_to_release(folder: Path, holders: list[Holder]) -> None:
    """A holder in another process is told that somebody waits, and the lock changes hands within 2 s."""
    holders.append(Holder(folder))
    seconds: list[float] = []
    asyncio.run(take(FileLocks(folder), seconds))
    assert seconds[0] < 2
    assert (holders[0].line(), holders[0].line()) == ("asked", "let go")
    holders[0].process.wait(PATIENCE)
    assert left(folder) == []


def test_a_killed_holder_frees_its_lock(folder: Path, holders: list[Holder]) -> None:
    """kill -9 of the holder: the next one has the lock at once, and `clean` removes what is left of the dead."""
    holders.append(Holder(folder, obliging=False))
    locks = FileLocks(folder)
    with locks.try_hold(ID) as held:
        assert not held
    holders[0].end()
    assert len(left(folder)) == 1  # its FIFO
    seconds: list[float] = []
    asyncio.run(take(locks, seconds))
    assert seconds[0] < 1
    assert locks.clean() == 1
    assert left(folder) == []


def test_a_lock_that_is_not_released_has_no_second_holder(
    folder: Path, holders: list[Holder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock that is not given in time is an error, never a second holder."""
    monkeypatch.setattr(locks_module, "PATIENCE_SECONDS", 0.3)
    holders.append(Holder(folder, obliging=False))
    with pytest.raises(UploadLockedError):
        asyncio.run(take(FileLocks(folder), []))
    assert holders[0].process.poll() is None
    assert holders[0].line() == "asked"


def test_clean_removes_fifos_of_dead_processes_only(folder: Path, holders: list[Holder]) -> None:
    """FIFOs of the dead go, also of one who died while he made his; who listens or is about to keeps his."""
    holders.append(Holder(folder, obliging=False))
    alive = left(folder)
    assert len(alive) == 1
    locks = FileLocks(folder)
    os.mkfifo(folder / "dead.fifo")
    os.mkfifo(folder / ".unborn.fifo")
    os.mkfifo(folder / ".dead.fifo")
    beginner = FileLocks(folder)

    async def listening() -> None:
        locks.listen()
        (own,) = {*left(folder)} - {*alive, "dead.fifo", ".dead.fifo", ".unborn.fifo"}
        with beginner.try_hold(".unborn.fifo") as held:
            assert held
            assert await asyncio.to_thread(locks.clean) == 2
            assert left(folder) == sorted([*alive, own, ".unborn.fifo"])
            assert await asyncio.to_thread(locks.clean) == 0
        locks.close()

    asyncio.run(listening())
    (folder / ".unborn.fifo").unlink()
    assert left(folder) == alive
    with locks.try_hold(ID) as held:
        assert not held


def test_invalid_messages_in_the_fifo_release_no_lock(folder: Path) -> None:
    """Whatever somebody writes to a process, only an upload that it holds and a later arrival make it let go."""

    async def main() -> None:
        locks = FileLocks(folder)
        locks.listen()
        (fifo,) = left(folder)
        asked: list[bool] = []
        async with locks.hold(ID) as held:
            held.attach(lambda: asked.append(True))
            later = time.monotonic_ns()
            for line in (ID, f"{ID} ", f"{ID} x", f"{ID} -1", f"{ID} 1", f"{OTHER} {later}", "", "\0", f" {later}"):
                (folder / fifo).write_text(line + "\n")
            (folder / fifo).write_bytes(b"\xff\xfe\n" * 100)
            await asyncio.sleep(0.1)
            assert asked == []
            (folder / fifo).write_text(f"{ID} {later}\n")
            while not asked:
                await asyncio.sleep(0.01)
        locks.close()

    asyncio.run(main())


def test_fifos_of_dead_processes_do_not_block_a_request(folder: Path, holders: list[Holder]) -> None:
    """FIFOs of dead processes, and full ones, do not keep the others from being asked."""
    for name in ("0.fifo", "~.fifo"):
        if not folder.exists():
            folder.mkdir()
        os.mkfifo(folder / name)
    full = os.open(folder / "0.fifo", os.O_RDWR | os.O_NONBLOCK)
    os.write(full, b"x" * (1 << 16))
    holders.append(Holder(folder))
    seconds: list[float] = []
    asyncio.run(take(FileLocks(folder), seconds))
    os.close(full)
    assert (holders[0].line(), holders[0].line()) == ("asked", "let go")


def test_tasks_hold_a_lock_one_at_a_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred tasks contend through two sets of locks: at any time one is inside, and all get their turn."""
    # On a busy machine a hundred turns take longer than a request waits.
    monkeypatch.setattr(locks_module, "PATIENCE_SECONDS", PATIENCE)
    monkeypatch.setattr(locks_module, "DEFERENCE_SECONDS", PATIENCE)
    inside = 0
    turns = 0

    async def work(locks: FileLocks) -> None:
        nonlocal inside, turns
        async with locks.hold(ID):
            inside += 1
            assert inside == 1, "two hold the lock"
            await asyncio.sleep(0)
            await asyncio.to_thread(lambda: None)
            assert inside == 1, "two hold the lock"
            inside -= 1
            turns += 1

    async def main() -> None:
        # Two of them, as two processes have: they know nothing of each other but the files.
        pair = (FileLocks(folder), FileLocks(folder))
        for locks in pair:
            locks.listen()
        await asyncio.gather(*(work(pair[number % 2]) for number in range(100)))
        for locks in pair:
            locks.close()

    asyncio.run(main())
    assert turns == 100
    assert left(folder) == []


def test_threads_hold_a_lock_one_at_a_time(folder: Path) -> None:
    """Threads that try at the same time, with `clean` in between: one holds, or none."""
    inside = threading.Semaphore(1)
    errors: list[str] = []
    got = [0]
    stop = time.monotonic() + 1.5

    def work(locks: FileLocks) -> None:
        while time.monotonic() < stop and got[0] < 500:
            with locks.try_hold(ID) as held:
                if held:
                    if not inside.acquire(blocking=False):
                        errors.append("two hold the lock")
                        return
                    got[0] += 1
                    inside.release()

    def clean(locks: FileLocks) -> None:
        while time.monotonic() < stop and got[0] < 500:
            try:
                locks.clean()
            except Exception as error:
                errors.append(repr(error))
                return

    threads = [threading.Thread(target=work, args=(FileLocks(folder),)) for _ in range(6)]
    threads.append(threading.Thread(target=clean, args=(FileLocks(folder),)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert errors == []
    assert got[0] > 20
    assert left(folder) == []


def test_a_request_before_the_attach_is_delivered(folder: Path) -> None:
    """Who was asked before it attached is told at once; the next holder starts unasked."""

    async def main() -> None:
        locks = FileLocks(folder)
        asked = asyncio.Event()
        async with locks.hold(ID) as held:
            waiting = asyncio.ensure_future(take(locks, []))
            while not held.wanted:
                await asyncio.sleep(0.01)
            held.attach(asked.set)
            assert asked.is_set()
        await waiting
        async with locks.hold(ID) as held:
            assert not held.wanted

    asyncio.run(main())


def test_try_hold_and_clean_ask_no_holder(folder: Path) -> None:
    """`try_hold` and `clean` disturb no holder."""

    async def main() -> None:
        locks = FileLocks(folder)
        async with locks.hold(ID) as held:
            with locks.try_hold(ID) as second:
                assert not second
            locks.clean()
            assert not held.wanted
            with locks.try_hold(ID) as third:
                assert not third

    asyncio.run(main())


def test_a_holder_that_fails_releases_its_lock(folder: Path) -> None:
    """A holder that fails lets go."""

    async def fail(locks: FileLocks) -> None:
        async with locks.hold(ID):
            raise RuntimeError("boom")

    locks = FileLocks(folder)
    with pytest.raises(RuntimeError, match="boom"):
        asyncio.run(fail(locks))
    with pytest.raises(RuntimeError, match="boom"), locks.try_hold(ID):
        raise RuntimeError("boom")
    with locks.try_hold(ID) as held:
        assert held
    assert left(folder) == []


def test_a_cancelled_waiter_gets_no_lock(folder: Path) -> None:
    """A request that is cancelled while it waits for a lock does not get it afterwards."""

    async def main() -> None:
        locks = FileLocks(folder)
        async with locks.hold(ID):
            for _ in range(20):
                waiting = asyncio.ensure_future(take(locks, []))
                await asyncio.sleep(0.005)
                waiting.cancel()
                await asyncio.wait({waiting})
                assert waiting.cancelled()
        deadline = time.monotonic() + PATIENCE
        while True:
            with locks.try_hold(ID) as held:
                if held:
                    break
            assert time.monotonic() < deadline, "nobody has the lock, and nobody can get it"
            await asyncio.sleep(0.01)

    asyncio.run(main())
    assert left(folder) == []


def test_a_lock_concerns_one_upload(folder: Path) -> None:
    """A lock is of one upload."""
    locks = FileLocks(folder)
    with locks.try_hold(ID) as first, locks.try_hold(ID.replace("8a6b", "8a6c")) as second:
        assert first
        assert second
