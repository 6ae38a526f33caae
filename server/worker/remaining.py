"""How many more seconds a running step takes: by its own speed, and by its usual cost.

Rule: pure, except for the reports that a run collects. Times are those of one monotonic clock, in seconds.
"""

import math
from dataclasses import dataclass, field
from itertools import pairwise

PACE_SECONDS, SLOWEST, FASTEST, ODD = 10.0, 3.0, 0.4, 4.0
"""The pace of an attempt: seconds at the usual speed that stand before its own; its bounds; and how many times off a
step may be and still count."""

_MEASURED = 0.1  # how far off the speed of a step may be, as a share
_LEAST_PERCENT, _LEAST_SECONDS = 2, 1.0  # before a speed counts
_HALF = 4.0  # percent at which the speed counts as much as an expectation that may be off by all of it
_WRONG, _CLEAR = 2.0, 5.0  # times off, and percent at which it is clear that another kind of work was expected
_OVERRUN = 0.15  # of its seconds, that a step goes on beyond its expectation
_RECENT = 0.35  # of its seconds, whose speed counts as much as that of all
_SILENT = 0.5


@dataclass(frozen=True)
class Left:
    """Seconds that are left, and by how many seconds that may be wrong."""

    seconds: float = 0.0
    doubt: float = 0.0

    def __add__(self, other: "Left") -> "Left":
        return Left(self.seconds + other.seconds, self.doubt + other.doubt)


@dataclass
class Run:
    """A step that has run since `began`."""

    began: float
    _reports: list[tuple[float, int]] = field(default_factory=list)

    @property
    def percent(self) -> int:
        """Its last report."""
        return self._reports[-1][1] if self._reports else 0

    def report(self, at: float, percent: int) -> None:
        """Record that it has done so many percent."""
        if percent > self.percent:
            self._reports.append((at - self.began, percent))

    def left(self, now: float, expected: float, doubt: float) -> Left:
        """What is left. The step usually takes `expected` seconds; `doubt` is the share by which that may be wrong."""
        over = now - self.began
        total, share = expected, doubt
        measured = self._measured(over)
        if measured is not None:
            weight = self._weight(measured, expected, doubt)
            total = math.exp((1 - weight) * math.log(max(expected, 1e-3)) + weight * math.log(measured))
            share = (1 - weight) * doubt + weight * _MEASURED
        least = over * _OVERRUN * (100 - self.percent) / 100
        seconds = max(total - over, least, 0.0)
        if total - over < least and measured is None:
            share = 1.0  # it takes longer than expected, and has reported nothing
        return Left(seconds, seconds * share)

    def _weight(self, measured: float, expected: float, doubt: float) -> float:
        seen = self.percent - self._reports[0][1]
        weight = seen / (seen + _HALF / doubt)
        is_wrong = not 1 / _WRONG < measured / max(expected, 1e-3) < _WRONG
        return max(weight, min(1.0, seen / _CLEAR)) if is_wrong else weight

    def _measured(self, over: float) -> float | None:
        """The total seconds at its own speed; None while it has reported too little.

        The speed counts from the first report on: before, the step starts its program, and reads the file.
        """
        percent = self.percent
        if over < _LEAST_SECONDS or not self._reports or percent - self._reports[0][1] < _LEAST_PERCENT:
            return None
        times = [at for at, _ in self._reports]
        # A missing report means that the step became slower.
        longest = max(_SILENT, *(later - earlier for earlier, later in pairwise(times[-6:])))
        seen = max(times[-1], over - 2 * longest)
        speeds = [self._speed(0, seen), self._speed(self._recent(times), seen)]
        return seen + (100 - percent) * len(speeds) / sum(speeds)

    def _speed(self, since: int, seen: float) -> float:
        """Percent a second since the report with this number."""
        at, percent = self._reports[since]
        return (self.percent - percent) / max(seen - at, 1e-3)

    def _recent(self, times: list[float]) -> int:
        """The number of the last report before the recent ones."""
        begin = times[-1] - _RECENT * (times[-1] - times[0])
        return next((number for number in range(len(times) - 2, 0, -1) if times[number] <= begin), 0)
