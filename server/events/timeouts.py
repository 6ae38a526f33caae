"""A time limit that is set for each message of a thousand streams, and nearly never reached.

Rule: setting it costs no timer of the event loop. The timer of before stays, and is moved only when it fires too early.
"""

import asyncio
from collections.abc import Callable


class RenewedTimeout:
    """Calls `expire` on the event loop when more than the seconds of `begin` have passed before `end`."""

    def __init__(self, expire: Callable[[], None]) -> None:
        self._expire = expire
        self._until: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, seconds: float) -> None:
        """Set the limit, from now."""
        loop = asyncio.get_running_loop()
        until = self._until = loop.time() + seconds
        if self._timer is None or self._timer.when() > until:
            self.close()
            self._until = until
            self._timer = loop.call_at(until, self._look)

    def end(self) -> None:
        """There is no limit any more, until the next `begin`."""
        self._until = None

    def close(self) -> None:
        """The same, and the event loop forgets it."""
        self._until = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if self._until is None:
            return
        loop = asyncio.get_running_loop()
        if loop.time() < self._until:
            self._timer = loop.call_at(self._until, self._look)
        else:
            self._until = None
            self._expire()
