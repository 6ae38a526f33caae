"""Steps that run side by side, each in a thread of its own.

Rule: the threads only run steps; the iterating thread writes their results, one step after the other.
A step that ends the file stops those beside it, and no step outlives the iteration.
"""

import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from server.errors import StepError
from server.pipeline.step import Cancelled, Step

Outcome = Mapping[str, object] | Exception
"""The columns that a step found out, or the exception that ended it."""

Work = Callable[[Step, threading.Event], Mapping[str, object]]


class Stop(threading.Event):
    """Is set when it is set itself, or when `outer` is."""

    def __init__(self, outer: threading.Event) -> None:
        super().__init__()
        self._outer = outer

    def is_set(self) -> bool:
        """Whether the steps have to stop."""
        return super().is_set() or self._outer.is_set()


def run(steps: Sequence[Step], work: Work, lost: threading.Event) -> Generator[tuple[Step, Outcome], None, None]:
    """Run `work` for each step at the same time. Yields each result as it comes, and the failures at the end.

    `work` gets an event that asks its step to stop: it is set with `lost`, when a required step found the file to
    blame, and when the caller iterates no further. A step that was stopped for another's failure is not yielded.
    """
    if len(steps) == 1:
        yield steps[0], _outcome(work, steps[0], lost)
        return
    stop, failed = Stop(lost), list[tuple[Step, Exception]]()
    with ThreadPoolExecutor(len(steps), thread_name_prefix="step") as pool:
        running = {pool.submit(_outcome, work, step, stop): step for step in steps}
        try:
            for future in as_completed(running):
                step, outcome = running[future], future.result()
                if not isinstance(outcome, Exception):
                    yield step, outcome
                    continue
                failed.append((step, outcome))
                if step.is_required and isinstance(outcome, StepError):
                    stop.set()
        finally:
            stop.set()
    yield from _reasons(failed)


def _outcome(work: Work, step: Step, stop: threading.Event) -> Outcome:
    try:
        return work(step, stop)
    except Exception as error:
        return error


def _reasons(failed: Sequence[tuple[Step, Exception]]) -> Sequence[tuple[Step, Exception]]:
    """Why steps failed: a fault of the file comes first, and a stopped step does not count beside it."""
    reasons = [one for one in failed if not isinstance(one[1], Cancelled)]
    return sorted(reasons or failed[:1], key=lambda one: not isinstance(one[1], StepError))
