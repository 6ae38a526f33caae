"""Look-ups of many requests in one statement: each as fresh as one of its own, and paid once."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from server.database.shared_look_ups import SharedLookUps


class Table:
    """What is looked up: every key has the number of the statement that found it. A statement ends when it is let."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.error: Exception | None = None
        self._ends: list[asyncio.Event] = []

    async def find_all(self, keys: Sequence[str]) -> Mapping[str, int]:
        self.asked.append(list(keys))
        number = len(self.asked)
        self._ends.append(end := asyncio.Event())
        await end.wait()
        if self.error is not None:
            raise self.error
        return {key: number for key in keys if not key.startswith("no ")}

    async def end(self, number: int) -> None:
        """Let a statement end, once it has begun."""
        while len(self._ends) < number:
            await asyncio.sleep(0)
        self._ends[number - 1].set()


def test_what_comes_meanwhile_shares_the_next_statement() -> None:
    """The first begins at once; the next has each waiting key once, and none has what an earlier statement has read."""

    async def go() -> None:
        table = Table()
        look_ups = SharedLookUps(table.find_all)
        first = asyncio.create_task(look_ups.find("a"))
        while not table.asked:
            await asyncio.sleep(0)
        others = [asyncio.create_task(look_ups.find(key)) for key in ("a", "b", "a", "no c")]
        await asyncio.sleep(0)
        await table.end(1)
        assert await first == 1
        await table.end(2)
        assert await asyncio.gather(*others) == [2, 2, 2, None]
        assert table.asked == [["a"], ["a", "b", "no c"]]
        last = asyncio.create_task(look_ups.find("a"))  # nothing runs any more
        await table.end(3)
        assert await last == 3

    asyncio.run(go())


def test_a_look_up_that_comes_with_an_answer_is_looked_up() -> None:
    """At each step of the loop after a statement has ended: none is left waiting for a statement that never begins."""

    async def go(steps: int) -> None:
        table = Table()
        look_ups = SharedLookUps(table.find_all)
        first = asyncio.create_task(look_ups.find("a"))
        await table.end(1)
        for _ in range(steps):
            await asyncio.sleep(0)
        second = asyncio.create_task(look_ups.find("b"))
        await table.end(2)
        assert [await first, await second] == [1, 2]

    for steps in range(10):
        asyncio.run(go(steps))


def test_many_keys_are_several_statements() -> None:
    """One has 64 keys at most."""

    async def go() -> None:
        table = Table()
        look_ups = SharedLookUps(table.find_all)
        found = [asyncio.create_task(look_ups.find(str(number))) for number in range(150)]
        for number in (1, 2, 3):
            await table.end(number)
        await asyncio.gather(*found)
        assert [len(keys) for keys in table.asked] == [64, 64, 22]

    asyncio.run(go())


def test_an_error_reaches_all_that_waited_and_none_after() -> None:
    """A database that is away is away for these; the next statement is another attempt."""

    async def go() -> None:
        table = Table()
        look_ups = SharedLookUps(table.find_all)
        both = [asyncio.create_task(look_ups.find(key)) for key in "ab"]
        table.error = ConnectionError("away")
        await table.end(1)
        assert [type(one) for one in await asyncio.gather(*both, return_exceptions=True)] == [ConnectionError] * 2
        table.error = None
        again = asyncio.create_task(look_ups.find("a"))
        await table.end(2)
        assert await again == 2

    asyncio.run(go())


def test_a_request_that_is_given_up_takes_nothing_from_others() -> None:
    """Two ask for one key, and one of them goes away."""

    async def go() -> None:
        table = Table()
        look_ups = SharedLookUps(table.find_all)
        gone, stays = (asyncio.create_task(look_ups.find("a")) for _ in range(2))
        while not table.asked:
            await asyncio.sleep(0)
        gone.cancel()
        await table.end(1)
        assert await stays == 1
        with pytest.raises(asyncio.CancelledError):
            await gone

    asyncio.run(go())
