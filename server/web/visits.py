"""Which looks belong to one visit, so that a page of many pictures is one line of the audit log.

Rule: a visit begins with a look and ends `VISIT_SECONDS` later, however many looks it has; the next look begins
another. What is forgotten too early costs a line more, never one less.

Each serving process counts for itself.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

VISIT_SECONDS = 600.0
_MOST = 1024


@dataclass(frozen=True, kw_only=True)
class Visits:
    """For the event loop. `monotonic` gives seconds; tests replace it."""

    monotonic: Callable[[], float] = time.monotonic
    _began: OrderedDict[Hashable, float] = field(default_factory=OrderedDict)

    def begins(self, key: Hashable) -> bool:
        """Whether this look begins a visit; `key` says who looks at what, and from where."""
        now = self.monotonic()
        began = self._began.get(key)
        if began is not None and now - began < VISIT_SECONDS:
            return False
        self._began[key] = now
        self._began.move_to_end(key)
        while len(self._began) > _MOST:
            self._began.popitem(last=False)
        return True
