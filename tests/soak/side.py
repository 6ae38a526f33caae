"""One server of a soak with its clients: what they share, and whether they may go on.

Rule: clients know origins and the records; only faults, the auditor and the operator know the server.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.harness.server_process import ServerProcess
from tests.soak.upload_records import UploadRecords
from tests.soak.videos import Videos
from tests.soak.wire import Origin


@dataclass(frozen=True)
class Times:
    """Of a server, in seconds: they are settings of it, and what its clients and the checker reckon with."""

    expiry: int = 60
    originals: int = 45
    results: int = 60
    failed: int = 40
    events: int = 70
    rows: int = 100
    answers: int = 120
    sweep: float = 3
    idle: float = 15

    def settings(self) -> dict[str, object]:
        """As settings of the server."""
        return {
            "upload_expiry": self.expiry,
            "original_retention": self.originals,
            "result_retention": self.results,
            "failed_retention": self.failed,
            "quarantine_retention": self.failed,
            "event_retention": self.events,
            "row_retention": self.rows,
            "form_answer_expiry": self.answers,
            "sweep_interval": self.sweep,
            "body_idle_timeout": self.idle,
        }


class Gate:
    """Clients pass it before each upload; whoever shuts it waits until all of them stand before it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._is_open = True
        self._inside = 0
        self.is_over = False

    @contextmanager
    def passing(self) -> Iterator[bool]:
        """Wait until it is open; whether there is anything left to do."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_open or self.is_over)
            if self.is_over:
                yield False
                return
            self._inside += 1
        try:
            yield True
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    def shut(self, seconds: float) -> bool:
        """Let nobody in any more; whether all were out within that time."""
        with self._changed:
            self._is_open = False
            return self._changed.wait_for(lambda: not self._inside, seconds)

    def open(self) -> None:
        """Go on."""
        with self._changed:
            self._is_open = True
            self._changed.notify_all()

    def end(self) -> None:
        """Nobody begins anything new."""
        with self._changed:
            self.is_over = True
            self._changed.notify_all()


class Side:
    """A server, the records of its clients, and the ways to it.

    `patience` is for how many seconds a client goes on trying; `backlog` tells how many tasks are not over.
    """

    def __init__(
        self, name: str, server: ServerProcess, folder: Path, times: Times, videos: Videos, patience: float
    ) -> None:
        self.name = name
        self.server = server
        self.folder = folder
        self.times = times
        self.videos = videos
        self.patience = patience
        self.records = UploadRecords()
        self.gate = Gate()
        self.origins: Sequence[Origin] = ()
        self.backlog: Callable[[], int] = lambda: 0
        folder.mkdir(parents=True, exist_ok=True)

    def origin(self, dice: random.Random, *, good: bool = False) -> Origin:
        """One of the ways; a `good` one is not cut on purpose."""
        found = [origin for origin in self.origins if not good or origin.name != "bad line"]
        return dice.choice(found)

    def may_be_gone(self, touched: float) -> bool:
        """Whether an upload whose last byte came then may have expired by now."""
        return time.monotonic() - touched > self.times.expiry - 5
