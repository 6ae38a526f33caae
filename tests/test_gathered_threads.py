"""Equal work for many callers on a few threads: each gets its own result, and a burst is few batches."""

import asyncio
import threading
from collections.abc import Sequence

import pytest

from server import threads


def test_what_comes_while_all_threads_work_is_one_batch() -> None:
    """Of 101 callers the first has a thread alone; the others wait for it, and are begun together and done in order."""
    entered, goes_on = threading.Event(), threading.Event()
    begun: list[Sequence[int]] = []
    done: list[int] = []

    def work(number: int) -> None:
        if number == 0:
            entered.set()
            assert goes_on.wait(30)
        done.append(number)

    async def burst() -> None:
        gathered = threads.Gathered(work, begun.append, 1)
        first = asyncio.ensure_future(gathered.run(0))
        await asyncio.to_thread(entered.wait, 30)
        others = [asyncio.ensure_future(gathered.run(number)) for number in range(1, 101)]
        await asyncio.sleep(0)  # each of them is in the queue now
        goes_on.set()
        await asyncio.gather(first, *others)

    asyncio.run(burst())
    assert done == list(range(101))
    assert begun == [list(range(1, 101))]


def test_callers_of_one_turn_share_a_thread() -> None:
    """Also with idle threads: all that come in one turn of the event loop are one batch."""
    begun: list[Sequence[int]] = []

    async def burst() -> None:
        gathered = threads.Gathered(str, begun.append, 8)
        await asyncio.gather(*(gathered.run(number) for number in range(20)))
        await gathered.run(20)

    asyncio.run(burst())
    assert begun == [list(range(20))]


def test_an_error_is_raised_to_its_own_caller() -> None:
    """Work that fails disturbs no other of its batch, and later work runs."""

    def work(number: int) -> None:
        if number % 2:
            raise ValueError(str(number))

    async def burst() -> list[BaseException | None]:
        gathered = threads.Gathered(work, len, 2)
        found = await asyncio.gather(*(gathered.run(number) for number in range(4)), return_exceptions=True)
        await gathered.run(4)
        return found

    assert [str(error) for error in asyncio.run(burst())] == ["None", "1", "None", "3"]


def test_an_error_of_the_beginning_is_raised_to_all_of_the_batch() -> None:
    """None of the work is done, each caller gets the error, and no thread is lost."""

    def begin(_: Sequence[int]) -> None:
        raise ValueError("no beginning")

    async def burst() -> list[BaseException | None]:
        gathered = threads.Gathered(str, begin, 1)
        found = await asyncio.gather(*(gathered.run(number) for number in range(3)), return_exceptions=True)
        await gathered.run(3)
        return found

    assert [str(error) for error in asyncio.run(burst())] == ["no beginning"] * 3


def test_a_cancelled_caller_waits_for_its_work() -> None:
    """It holds a lock that must not be released while the work runs."""
    entered, goes_on = threading.Event(), threading.Event()
    done: list[int] = []

    def work(number: int) -> None:
        entered.set()
        assert goes_on.wait(30)
        done.append(number)

    async def cancelled() -> None:
        gathered = threads.Gathered(work, len, 1)
        caller = asyncio.ensure_future(gathered.run(1))
        await asyncio.to_thread(entered.wait, 30)
        caller.cancel()
        await asyncio.sleep(0)
        assert not caller.done()
        goes_on.set()
        with pytest.raises(asyncio.CancelledError):
            await caller

    asyncio.run(cancelled())
    assert done == [1]
