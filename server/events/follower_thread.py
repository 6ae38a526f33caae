"""The thread of a follower: it looks, rests until something happens, and stops when it is told.

Rule: a look that fails costs time and nothing else. After a failure the thread rests longer, and no notice wakes it.
"""

import threading
from collections.abc import Callable

import structlog

from server.database.session import AWAY, reason

LOOK_SECONDS = 0.5
_AWAY_SECONDS = 2.0


def _no_seconds() -> float:
    return 0.0


class FollowerThread:
    """Calls `look` from `start` to `stop`, and `end` last, on the thread. `log_failure` logs what `look` raised.

    After a notice, `gather` says how many seconds to wait for more of them.
    """

    def __init__(
        self,
        name: str,
        *,
        look: Callable[[], None],
        end: Callable[[], None],
        log: structlog.stdlib.BoundLogger,
        log_failure: Callable[[Exception], None],
        gather: Callable[[], float] = _no_seconds,
    ) -> None:
        self.changed = threading.Event()
        self._name = name
        self._look = look
        self._end = end
        self._log = log
        self._log_failure = log_failure
        self._gather = gather
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_stopping(self) -> bool:
        """Whether it was told to stop."""
        return self._stopping.is_set()

    def start(self, first: Callable[[], None] | None = None) -> None:
        """Look from now on; `first` comes before the first look, and is called again after it failed."""
        self._thread = threading.Thread(target=self._run, args=(first,), name=self._name, daemon=True)
        self._thread.start()

    def notify(self) -> None:
        """Something may have happened: look now."""
        self.changed.set()

    def tell_to_stop(self) -> None:
        """Begin no further look. Returns at once."""
        self._stopping.set()
        self.changed.set()

    def join(self) -> None:
        """Wait for the end of the thread, if it was started. Blocking."""
        if self._thread is not None:
            self._thread.join()

    def _run(self, first: Callable[[], None] | None) -> None:
        while not self._stopping.is_set():
            try:
                if first is not None:
                    first()
                    first = None
                self._look()
            except AWAY as error:
                self._log.warning("database_away", reason=reason(error))
                self._stopping.wait(_AWAY_SECONDS)
            except Exception as error:
                self._log_failure(error)
                self._stopping.wait(_AWAY_SECONDS)
            else:
                if self.changed.wait(LOOK_SECONDS):
                    self._stopping.wait(self._gather())
            self.changed.clear()
        self._end()
