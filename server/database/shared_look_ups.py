"""Look-ups of many requests in one statement: those that come while one runs share the next.

Rule: the answer to a request is of a statement that began after the request came, so it is as fresh as its own would
be. A lone look-up does not wait. One statement runs at a time: each costs a round trip and a change of threads, and
what waits meanwhile costs both only once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

V = TypeVar("V")

_MOST = 64  # keys of one statement


class SharedLookUps(Generic[V]):
    """Look-ups by key on one event loop. `find_all` finds the values of several keys; what is not there is left out."""

    def __init__(self, find_all: Callable[[Sequence[str]], Awaitable[Mapping[str, V]]]) -> None:
        self._find_all = find_all
        self._waiting: dict[str, asyncio.Future[V | None]] = {}
        self._running: asyncio.Task[None] | None = None

    async def find(self, key: str) -> V | None:
        """The value of a key, or None. Raises what `find_all` raises for the keys that were asked for together."""
        future = self._waiting.get(key)
        if future is None:
            loop = asyncio.get_running_loop()
            future = self._waiting[key] = loop.create_future()
            if self._running is None:
                self._running = loop.create_task(self._work_off())
        # A request that is given up takes nothing from others with the same key.
        return await asyncio.shield(future)

    async def _work_off(self) -> None:
        batch: dict[str, asyncio.Future[V | None]] = {}
        try:
            while self._waiting:
                batch = {key: self._waiting.pop(key) for key in list(self._waiting)[:_MOST]}
                try:
                    found = await self._find_all(list(batch))
                except Exception as error:
                    for future in batch.values():
                        future.set_exception(error)
                        future.exception()  # retrieved, in case that each of its requests was given up
                else:
                    for key, future in batch.items():
                        future.set_result(found.get(key))
        finally:
            self._running = None
            for future in (*batch.values(), *self._waiting.values()):
                future.cancel()  # the loop ends; all others are done
            self._waiting.clear()
