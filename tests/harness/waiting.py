"""Waiting without sleeping blindly: poll until something is so, with a deadline and a name for it."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(check: Callable[[], T], *, seconds: float, what: str, every: float = 0.02) -> T:
    """The first truthy answer of `check`, asked every `every` seconds; fails by name after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        answer = check()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not so within {seconds} s (last answer: {answer!r})")
        time.sleep(every)
