"""Wake: "look now" for the schedulers.

Rule: it is a hint. The row in the table is the task; a lost wake only delays the task until the next look. It never
blocks and never raises.

A FIFO in the data folder carries it between the processes of a host: it has one reader, the leading scheduler,
and as many writers as there are servers.
"""

import contextlib
import os
import select
from pathlib import Path


class Wake:
    """Both ends of the FIFO."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "wake.fifo"
        self._reader: int | None = None
        with contextlib.suppress(FileExistsError):
            os.mkfifo(self._path, 0o600)

    def notify(self) -> None:
        """Wake the scheduler: there may be work."""
        with contextlib.suppress(OSError):  # no scheduler listens, or enough wakes are waiting already
            descriptor = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                os.write(descriptor, b"\n")
            finally:
                os.close(descriptor)

    def listen(self) -> None:
        """Become the process that wakes reach. Earlier wakes are dropped."""
        # For writing too, so that the FIFO never reports an end when a writer closes.
        self._reader = os.open(self._path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def wait(self, seconds: float) -> bool:
        """Wait for a wake, at most `seconds`; returns whether one came. Blocking."""
        if self._reader is None:
            return False
        # Not select(): it cannot watch a descriptor above 1023, and a busy server has those.
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        ready = poll.poll(seconds * 1000)
        with contextlib.suppress(BlockingIOError):
            os.read(self._reader, 1 << 12)
        return bool(ready)

    def close(self) -> None:
        """Stop listening."""
        if self._reader is not None:
            os.close(self._reader)
            self._reader = None
