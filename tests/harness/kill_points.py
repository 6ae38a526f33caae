"""Killing the process that a test plays at one of its steps: before or after the step with that number.

Rule: to the code under test it is SIGKILL. No `except Exception` sees it, and when the step has been reached, no later
step of the same life does anything either: a dead process does not tidy up.

    with monkeypatch.context() as patched:
        point = KillPoint(at=3, after=True)
        patched.setattr(DiskStore, "finish", point.step(DiskStore.finish))
        ...
"""

import contextlib
import itertools
import random
import sys
from collections.abc import Callable, Iterator
from typing import Any

NEVER = sys.maxsize
"""The number of a step that is not reached: such a point only counts."""


class KilledError(BaseException):
    """The process died here."""


class KillPoint:
    """Steps are counted from 1 in the order in which they are reached, whichever function they are of.

    The process dies before the step number `at`, or with `after` when that step is done.
    """

    def __init__(self, at: int, *, after: bool) -> None:
        self._at = at
        self._after = after
        self._count = itertools.count(1)
        self.reached = 0
        """How many steps there were."""

    def step(self, real: Callable[..., Any], *, after: bool | None = None) -> Callable[..., Any]:
        """`real` as a step. `after` replaces the choice for this function."""
        dies_after = self._after if after is None else after

        def call(*args: Any, **named: Any) -> Any:
            now = self._reach(dies_after)
            found = real(*args, **named)
            if now == self._at:
                raise KilledError
            return found

        return call

    def transaction(self, real: Callable[..., Any]) -> Callable[..., Any]:
        """A context manager as a step: the process dies before the commit, or after it."""

        @contextlib.contextmanager
        def manage(*args: Any, **named: Any) -> Iterator[Any]:
            now = self._reach(dies_after=True)
            with real(*args, **named) as session:
                yield session
                if now == self._at and not self._after:
                    raise KilledError
            if now == self._at:
                raise KilledError

        return manage

    def _reach(self, dies_after: bool) -> int:
        now = self.reached = next(self._count)
        if now > self._at or (now == self._at and not dies_after):
            raise KilledError
        return now


def sample(reached: int, most: int, dice: random.Random) -> list[int]:
    """At most so many of the steps that were reached, in their order, and the one after them: a life that goes on."""
    return [*sorted(dice.sample(range(1, reached + 1), min(most, reached))), reached + 1]


def kill(*_: object, **__: object) -> None:
    """In the place of a function: the process dies when it is called."""
    raise KilledError
