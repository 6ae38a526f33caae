"""Counts of a sliding window in the memory of this process, as a storage of the library `limits`.

Rule: a step costs the same whatever is in it, and it holds no more than `most` keys: the one that was used least
recently goes first. (The library's own memory looks at every key after each request, and forgets none under a flood.)

For the event loop or one thread: it has no lock.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from limits.storage import Storage
from limits.storage.base import SlidingWindowCounterSupport

MOST = 20_000
"""Keys; each takes about 300 bytes."""


@dataclass(slots=True)
class _Counts:
    window: int
    """The number of the current window since the clock's begin."""
    previous: int = 0
    current: int = 0


class WindowCounter(Storage, SlidingWindowCounterSupport):
    """Two counts for each key: of the current window, and of the one before."""

    STORAGE_SCHEME = None

    def __init__(self, most: int = MOST, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._most = most
        self._clock = clock
        self._counts: OrderedDict[str, _Counts] = OrderedDict()

    def __len__(self) -> int:
        return len(self._counts)

    def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count `amount` more in the window of `expiry` seconds; False, and nothing counted, above `limit`."""
        now = self._clock()
        counts = self._moved(key, expiry, now)
        left = expiry - now % expiry
        if counts is None:
            counts = _Counts(int(now // expiry))
        if math.floor(counts.previous * left / expiry) + counts.current + amount > limit:
            return False
        counts.current += amount
        self._counts[key] = counts
        self._counts.move_to_end(key)
        if len(self._counts) > self._most:
            self._counts.popitem(last=False)
        return True

    def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """Counts of the previous and the current window, each with the seconds that it still has effect."""
        now = self._clock()
        counts = self._moved(key, expiry, now)
        if counts is None:
            return 0, 0.0, 0, 0.0
        left = expiry - now % expiry
        return counts.previous, left if counts.previous else 0.0, counts.current, left + expiry

    def clear_sliding_window(self, key: str, expiry: int) -> None:  # noqa: ARG002  # a key has one expiry
        """Forget a key."""
        self.clear(key)

    def clear(self, key: str) -> None:
        """Forget a key."""
        self._counts.pop(key, None)

    def reset(self) -> int | None:
        """Forget every key; how many there were."""
        known = len(self._counts)
        self._counts.clear()
        return known

    def check(self) -> bool:
        """It is always there."""
        return True

    def _moved(self, key: str, expiry: int, now: float) -> _Counts | None:
        """The counts as of now; None when the key has none any more."""
        counts = self._counts.get(key)
        if counts is None:
            return None
        passed = int(now // expiry) - counts.window
        if passed > 1 or (passed == 1 and not counts.current):
            del self._counts[key]
            return None
        if passed == 1:
            counts.window, counts.previous, counts.current = counts.window + 1, counts.current, 0
        return counts

    # Of other strategies; the base class asks for them.

    @property
    def base_exceptions(self) -> type[Exception]:
        return ValueError

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        raise NotImplementedError

    def get(self, key: str) -> int:
        raise NotImplementedError

    def get_expiry(self, key: str) -> float:
        raise NotImplementedError
