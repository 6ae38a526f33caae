"""The progress of a task: written by its steps, read by the heartbeat.

Rule: it belongs to one attempt, and its estimate of the remaining time counts that attempt only.
"""

import time
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field


class Shares:
    """The progress of one file's steps. Steps that run side by side report from threads of their own."""

    def __init__(self, weights: Mapping[str, int], ended: AbstractSet[str]) -> None:
        self._weights = weights
        self._percents = dict.fromkeys(weights, 0) | dict.fromkeys(ended, 100)
        self._running: frozenset[str] = frozenset()

    def begin(self, step: str) -> None:
        """A step starts to run."""
        self._running |= {step}

    def report(self, step: str, percent: int) -> None:
        """A step is done to so many percent."""
        self._percents[step] = percent

    def end(self, step: str) -> None:
        """A step has ended, with or without success."""
        self._percents[step] = 100
        self._running -= {step}

    @property
    def percent(self) -> int:
        """The percent of the file, by the weights of its steps."""
        done = sum(weight * self._percents[step] for step, weight in self._weights.items())
        return done // max(1, sum(self._weights.values()))

    @property
    def running(self) -> Mapping[str, int]:
        """The running steps and their percent, at most 99."""
        return {step: min(99, self._percents[step]) for step in self._running}


@dataclass
class StepProgress:
    """The progress of a task, in files, and in percent of the running file and of its running steps."""

    file_count: int
    position: int = 0
    file_id: str | None = None
    done_files: int = 0
    shares: Shares | None = None
    begun: tuple[float, int] = field(default_factory=lambda: (time.monotonic(), 0))

    def begin_file(self, position: int, file_id: str) -> None:
        """The next file begins, with nothing done yet."""
        self.position, self.file_id, self.shares = position, file_id, None

    def share(self, weights: Mapping[str, int], ended: AbstractSet[str]) -> Shares:
        """The steps of the running file, with their weights, and which of them have ended before."""
        self.shares = Shares(weights, ended)
        return self.shares

    def end_file(self) -> None:
        """The running file has ended."""
        self.done_files, self.shares = self.done_files + 1, None

    @property
    def file_percent(self) -> int:
        """The percent of the running file."""
        shares = self.shares  # once: the heartbeat reads from another thread
        return shares.percent if shares else 0

    @property
    def running_steps(self) -> Mapping[str, int]:
        """The running steps of the running file, and their percent."""
        shares = self.shares
        return shares.running if shares else {}

    @property
    def percent(self) -> int:
        """The percent of the whole task; only its end sets 100."""
        return min(99, (100 * self.done_files + self.file_percent) // max(1, self.file_count))

    @property
    def eta_seconds(self) -> int | None:
        """Seconds that are left at the speed of this attempt; None while that is unknown."""
        began, first = self.begun
        seconds, done = time.monotonic() - began, self.percent - first
        if done < 2 or seconds < 2:
            return None
        return round(seconds / done * (100 - self.percent))
