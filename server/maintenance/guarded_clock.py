"""A clock that does not leap, for the removal of what is old.

Rule: it follows the wall clock while that advances as fast as the monotonic clock. After a leap ahead, everything
would be due at once; so the clock ignores the leap for a day, in which an operator can notice it.
"""

import time
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

_LEAP = timedelta(hours=1)
_DOUBT_SECONDS = 86400
_log = structlog.stdlib.get_logger("videodock.maintenance")


class GuardedClock:
    """A clock that may not leap: a time more than an hour ahead of the time that has passed since the start is accepted
    only after a day."""

    def __init__(self, clock: Callable[[], datetime], passed: Callable[[], float] | None = None) -> None:
        """`passed` counts seconds, also while the machine sleeps."""
        self._clock = clock
        self._passed = passed or (lambda: time.clock_gettime(time.CLOCK_BOOTTIME))
        self._start = clock(), self._passed()
        self._doubted: float | None = None

    def now(self) -> datetime:
        """The time, or the latest one that is plausible."""
        now, passed = self._clock(), self._passed()
        began, since = self._start
        most = began + timedelta(seconds=passed - since) + _LEAP
        if now <= most:
            self._doubted = None
            return now
        if self._doubted is None:
            self._doubted = passed
            _log.warning("clock_leapt", seconds=round((now - most + _LEAP).total_seconds()))
        elif passed - self._doubted >= _DOUBT_SECONDS:
            self._start, self._doubted = (now, passed), None
            return now
        return most
