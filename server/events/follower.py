"""What follows the events beside a leader.

Rule: it has threads of its own, and none of its methods raises because of what it works on.
"""

from typing import Protocol


class Follower(Protocol):
    """Runs from `start` to `stop`, each called once; `notify` may be called from any thread."""

    def start(self, dead: str = "") -> None:
        """Begin, on threads. Processes whose names begin with `dead` have ended."""

    def notify(self) -> None:
        """Something may have happened: look now."""

    def stop(self) -> None:
        """End. Blocking, for about a second."""
