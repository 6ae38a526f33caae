"""Waiting without sleeping blindly: poll until something is so, with a deadline and a name for it.

Rule: that a machine is busy is no failure. Who waits only so that the test can go on is patient (`until`); who proves
that something happens soon counts the seconds in which the machine had time for it (`within`, `Stopwatch`).
"""

import time
from collections.abc import Callable, Iterator
from itertools import repeat
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 120.0
"""Seconds that nothing takes, on whatever machine: what has not happened by then never will."""

# Seconds between two looks. Each look takes processor time from what is waited for, so a long wait has fewer.
_PAUSE, _LONGEST_PAUSE = 0.02, 0.1

_PRESSURE = [Path("/proc/pressure/cpu"), Path("/proc/pressure/io")]


class Stopwatch:
    """Seconds since it was made, but for those in which a process waited for its turn on a processor or a disk.

    So a promise ("within two seconds") can be tested where ten other processes run. On a machine that does not tell
    (no `/proc/pressure`), and on one with nothing else to do, these are the clock's.
    """

    def __init__(self) -> None:
        self._began = time.monotonic(), _stalled()

    @property
    def seconds(self) -> float:
        """How many so far."""
        began, stalled = self._began
        return max(0.0, time.monotonic() - began - (_stalled() - stalled))


def pauses() -> Iterator[float]:
    """Seconds to sleep after each look: `_PAUSE` at first, a quarter more each time, `_LONGEST_PAUSE` in the end."""
    pause = _PAUSE
    while True:
        yield pause
        pause = min(pause * 1.25, _LONGEST_PAUSE)


def until(check: Callable[[], T], *, what: str, seconds: float = PATIENCE, every: float | None = None) -> T:
    """The first truthy answer of `check`; fails by name when it never comes.

    It is asked after each of `pauses`, or every `every` seconds where a short moment must not be missed.

    `seconds` is when it should have come, and is raised to `PATIENCE`: where a later answer is a failure, use `within`.
    """
    return _poll(check, time.monotonic, max(seconds, PATIENCE), what, repeat(every) if every else pauses())


def within(check: Callable[[], T], *, seconds: float, what: str, every: float = _PAUSE) -> T:
    """The same, asked every `every` seconds, where `seconds` are a promise: a later answer is a failure, unless the
    machine was busy meanwhile.
    """
    watch = Stopwatch()
    return _poll(check, lambda: watch.seconds, seconds, what, repeat(every))


def _poll(check: Callable[[], T], clock: Callable[[], float], seconds: float, what: str, sleeps: Iterator[float]) -> T:
    deadline, last_of_all = clock() + seconds, time.monotonic() + max(seconds, PATIENCE)
    while True:
        answer = check()
        if answer:
            return answer
        if clock() > deadline or time.monotonic() > last_of_all:
            raise AssertionError(f"{what}: not so within {seconds} s (last answer: {answer!r})")
        time.sleep(next(sleeps))


def _stalled() -> float:
    """Seconds since the start of the machine in which somebody waited for a processor, or for a disk."""
    total = 0.0
    for path in _PRESSURE:
        try:
            some = path.read_text().partition("\n")[0]
        except OSError:  # a kernel without it
            continue
        total += int(some.rpartition("total=")[2]) / 1e6
    return total
