"""What steps cost on this machine: `costs.py`, corrected by the last steps of the same kind.

Rule: the median of the nearest few decides, so one odd video changes nothing; and a kind without enough of them is
treated as unknown, so that no time is shown before there is ground for it.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median

from server.pipeline.costs import Cost

ENOUGH = 3
"""Steps of a kind after which its cost counts as known."""

_KEPT = 60  # of each kind
_NEAREST = 9
_MOST_OFF = 20.0  # times; beyond that it was another kind of work than the facts said
_LEAST_SECONDS = 0.02
_UNKNOWN, _SURE, _SPREADS = 1.0, 0.15, 1.5  # doubt without others, and of others that agree


@dataclass(frozen=True)
class Observation:
    """A step that has ended: what it should have cost, and the seconds that it took. `beside` is how many heavy steps
    ran on the machine meanwhile, on average, itself included."""

    cost: Cost
    seconds: float
    beside: float = 1.0


@dataclass(frozen=True)
class Expected:
    """`seconds` that a step will take, alone on the machine; `doubt` is how far off that may be, as a share of it."""

    seconds: float
    doubt: float


@dataclass
class _Running:
    """A heavy step that runs. `crowd` adds up the number of heavy steps over the seconds since it began."""

    began: float
    crowd: float = 0.0


class LearnedCosts:
    """What this process knows. For any thread."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._loading = threading.Lock()
        self._known: dict[str, deque[tuple[float, float]]] = {}
        self._heavy: dict[object, _Running] = {}
        self._counted = monotonic()
        self._is_loaded = False

    def load(self, read: Callable[[], Iterable[Observation]]) -> None:
        """Learn what earlier processes did, oldest first, once. Raises what `read` raises, and then asks it again."""
        with self._loading:
            if self._is_loaded:
                return
            found = list(read())
            self._is_loaded = True
        with self._lock:
            later, self._known = self._known, {}
            for one in found:
                self._add(one)
            for kind, ratios in later.items():
                self._of(kind).extend(ratios)

    def expect(self, cost: Cost) -> Expected:
        """What a step will take."""
        with self._lock:
            ratios = list(self._known.get(cost.kind, ()))
            others = [] if ratios else [median(ratio for _, ratio in known) for known in self._known.values()]
        if not ratios:
            # As slow as this machine is with other steps.
            return Expected(cost.seconds * math.exp(median(others or [0.0])), _UNKNOWN)
        at = math.log(max(_LEAST_SECONDS, cost.seconds))
        ratios.reverse()  # so that of two that are as near the later one counts
        near = [ratio for _, ratio in sorted(ratios, key=lambda one: abs(one[0] - at))[:_NEAREST]]
        middle = median(near)
        spread = median(abs(ratio - middle) for ratio in near)
        doubt = min(_UNKNOWN, _SURE + _SPREADS * spread) if len(near) >= ENOUGH else _UNKNOWN
        return Expected(cost.seconds * math.exp(middle), doubt)

    def begin(self, cost: Cost) -> object:
        """A step begins; give what this returns to `end`, however it ends."""
        token = object()
        if cost.is_heavy:
            with self._lock:
                self._count()
                self._heavy[token] = _Running(self._monotonic())
        return token

    def end(self, token: object) -> float:
        """A step has ended; how many heavy steps ran meanwhile, on average."""
        with self._lock:
            self._count()
            running = self._heavy.pop(token, None)
            if running is None:
                return 1.0
            seconds = self._monotonic() - running.began
            return running.crowd / seconds if seconds > 0 else 1.0

    def learn(self, one: Observation) -> None:
        """A step came to a good end."""
        with self._lock:
            self._add(one)

    @property
    def crowd(self) -> int:
        """How many heavy steps run now."""
        return len(self._heavy)

    def _count(self) -> None:
        now = self._monotonic()
        for running in self._heavy.values():
            running.crowd += (now - self._counted) * len(self._heavy)
        self._counted = now

    def _add(self, one: Observation) -> None:
        should = max(_LEAST_SECONDS, one.cost.seconds)
        took = max(_LEAST_SECONDS, one.seconds / max(1.0, one.beside if one.cost.is_heavy else 1.0))
        if 1 / _MOST_OFF < took / should < _MOST_OFF:
            self._of(one.cost.kind).append((math.log(should), math.log(took / should)))

    def _of(self, kind: str) -> deque[tuple[float, float]]:
        return self._known.setdefault(kind, deque(maxlen=_KEPT))
