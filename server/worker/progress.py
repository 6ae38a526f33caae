"""How far a task is: told by its steps, read by the heartbeat.

Rule: it is of one attempt, and what it says of the time that is left counts that attempt alone.
"""

import time
from dataclasses import dataclass, field


@dataclass
class Progress:
    """How far a task is, in files, in percent of the running file, and in percent of its running step."""

    file_count: int
    position: int = 0
    file_id: str | None = None
    done_files: int = 0
    file_percent: int = 0
    step: str | None = None
    step_percent: int = 0
    begun: tuple[float, int] = field(default_factory=lambda: (time.monotonic(), 0))

    @property
    def percent(self) -> int:
        """Of the whole task; 100 is said by its end only."""
        return min(99, (100 * self.done_files + self.file_percent) // max(1, self.file_count))

    @property
    def eta_seconds(self) -> int | None:
        """Seconds that are left at the speed of this attempt; None while it cannot be told."""
        began, first = self.begun
        seconds, done = time.monotonic() - began, self.percent - first
        if done < 2 or seconds < 2:
            return None
        return round(seconds / done * (100 - self.percent))
