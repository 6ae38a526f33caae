"""A time limit that is set again and again ends a wait that really takes too long, and nothing else."""

import asyncio
from collections.abc import Awaitable, Callable

from server.events.timeouts import RenewedTimeout


class Clock:
    """The clock of an event loop, which the test moves."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._loop = asyncio.get_running_loop()
        self._loop.time = lambda: self._now  # type: ignore[method-assign]

    async def move(self, seconds: float) -> None:
        """So much later, and all timers that are due have fired."""
        self._now += seconds
        for _ in range(3):
            await asyncio.sleep(0)


def run(test: Callable[[Clock, RenewedTimeout, list[int]], Awaitable[None]]) -> None:
    """Run the test on a loop of its own; the list gets an item each time when the limit is reached."""

    async def main() -> None:
        reached: list[int] = []
        timeout = RenewedTimeout(lambda: reached.append(1))
        await test(Clock(), timeout, reached)
        timeout.close()

    asyncio.run(main())


def test_a_limit_that_is_reached_is_reported_once() -> None:
    """Not before its time, and not again after it."""

    async def test(clock: Clock, timeout: RenewedTimeout, reached: list[int]) -> None:
        timeout.begin(30)
        await clock.move(29)
        assert reached == []
        await clock.move(2)
        assert reached == [1]
        await clock.move(100)
        assert reached == [1]

    run(test)


def test_a_limit_counts_from_the_last_time_that_it_was_set() -> None:
    """The timer of the first limit fires in the middle of the last one, and ends nothing."""

    async def test(clock: Clock, timeout: RenewedTimeout, reached: list[int]) -> None:
        for _ in range(5):
            timeout.begin(30)
            await clock.move(20)
            timeout.end()
        assert reached == []
        timeout.begin(30)
        await clock.move(29)
        assert reached == []
        await clock.move(2)
        assert reached == [1]

    run(test)


def test_a_limit_that_was_ended_is_not_reached() -> None:
    """However long nothing is set; and one that is set then counts."""

    async def test(clock: Clock, timeout: RenewedTimeout, reached: list[int]) -> None:
        timeout.begin(30)
        timeout.end()
        await clock.move(1000)
        assert reached == []
        timeout.begin(1)
        await clock.move(2)
        assert reached == [1]

    run(test)


def test_a_shorter_limit_does_not_wait_for_the_timer_of_a_longer_one() -> None:
    """And a closed one is forgotten."""

    async def test(clock: Clock, timeout: RenewedTimeout, reached: list[int]) -> None:
        timeout.begin(30)
        timeout.begin(1)
        await clock.move(2)
        assert reached == [1]
        timeout.begin(1)
        timeout.close()
        await clock.move(2)
        assert reached == [1]

    run(test)
