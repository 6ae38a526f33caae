"""How many seconds a running step will go on: by its own speed, and by what it costs usually.

Rule: pure, but for the reports that a run collects. Times are those of one monotonic clock, in seconds.
"""

import math
from dataclasses import dataclass, field

PACE_SECONDS, SLOWEST, FASTEST, ODD = 4.0, 3.0, 0.4, 4.0
"""The pace of an attempt: seconds at the usual speed that stand before its own; its bounds; and how many times off a
step may be and still count."""

_MEASURED = 0.1  # how far off the speed of a step may be, as a share
_LEAST_PERCENT, _LEAST_SECONDS = 2, 1.0  # before a speed counts
_HALF_KNOWN, _HALF_UNKNOWN = 5.0, 2.0  # percent at which the speed counts as much as the expectation
_WRONG, _CLEAR = 2.0, 5.0  # times off, and percent at which it is clear that another kind of work was expected
_OVERRUN = 0.15  # of its seconds, that a step goes on beyond its expectation
_RECENT = 0.35  # of its seconds, whose speed counts as much as that of all
_SILENT = 0.5


@dataclass(frozen=True)
class Left:
    """Seconds that are left, and of how many of them that may be wrong."""

    seconds: float = 0.0
    doubt: float = 0.0

    def __add__(self, other: "Left") -> "Left":
        return Left(self.seconds + other.seconds, self.doubt + other.doubt)


@dataclass
class Run:
    """A step that runs since `began`."""

    began: float
    _reports: list[tuple[float, int]] = field(default_factory=list)

    @property
    def percent(self) -> int:
        """The last that it reported."""
        return self._reports[-1][1] if self._reports else 0

    def report(self, at: float, percent: int) -> None:
        """It is done to so many percent."""
        if percent > self.percent:
            self._reports.append((at - self.began, percent))

    def left(self, now: float, expected: float, doubt: float) -> Left:
        """What is left, where `expected` seconds are usual and `doubt` is the share by which that may be wrong."""
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
            share = 1.0  # it lasts longer than expected, and says nothing
        return Left(seconds, seconds * share)

    def _weight(self, measured: float, expected: float, doubt: float) -> float:
        percent = self.percent
        weight = percent / (percent + (_HALF_KNOWN if doubt < 1 else _HALF_UNKNOWN))
        is_wrong = not 1 / _WRONG < measured / max(expected, 1e-3) < _WRONG
        return max(weight, min(1.0, percent / _CLEAR)) if is_wrong else weight

    def _measured(self, over: float) -> float | None:
        """All its seconds at its own speed; None while too little was reported."""
        percent = self.percent
        if percent < _LEAST_PERCENT or over < _LEAST_SECONDS:
            return None
        times = [0.0, *(at for at, _ in self._reports)]
        at = times[-1]
        # A report that does not come says that the step became slower.
        longest = max(_SILENT, *(later - earlier for earlier, later in zip(times[-6:], times[-5:], strict=False)))
        seen = max(at, over - 2 * longest, 1e-3)
        # From the first report on: before, the step started its program.
        first, least = self._reports[0] if percent - self._reports[0][1] >= _LEAST_PERCENT else (0.0, 0)
        speed = (percent - least) / max(seen - first, 1e-3)
        since, before = next(
            ((one, value) for one, value in reversed([(0.0, 0), *self._reports]) if one <= at * (1 - _RECENT)), (0.0, 0)
        )
        if percent > before and seen > since:
            speed = (speed + (percent - before) / (seen - since)) / 2
        return seen + (100 - percent) / speed
