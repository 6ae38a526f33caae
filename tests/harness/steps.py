"""Steps for tests: they do what a test says, at once, and remember what they were given."""

import threading
from collections.abc import Callable, Mapping

from server.media_types import MediaType
from server.pipeline.costs import Cost, Material
from server.pipeline.step import Step, StepContext
from server.settings import Settings

Work = Callable[[StepContext], Mapping[str, object]]


def nothing(_context: StepContext) -> Mapping[str, object]:
    """Work that finds out nothing."""
    return {}


class FakeStep(Step):
    """A step for every file, whose work is a function; `calls` has the facts that each run was given."""

    name = "fake"

    def __init__(
        self,
        name: str,
        work: Work = nothing,
        *,
        seconds: float = 1.0,
        is_required: bool = True,
        beside: str | None = None,
    ) -> None:
        self.name = name  # type: ignore[misc]
        self.seconds = seconds
        self.is_required = is_required  # type: ignore[misc]
        self.beside = beside  # type: ignore[misc]
        self.work = work
        self.calls: list[Mapping[str, object]] = []

    def applies_to(self, media_type: MediaType | None) -> bool:
        return True

    def cost(self, material: Material, settings: Settings) -> Cost:
        return Cost(self.name, self.seconds)

    def run(self, context: StepContext) -> Mapping[str, object]:
        self.calls.append(context.facts)
        return self.work(context)


def held(gate: threading.Event) -> Work:
    """Work that lasts until the gate is opened, or the task is no longer this worker's."""

    def work(context: StepContext) -> Mapping[str, object]:
        while not (gate.wait(0.02) or context.cancelled.is_set()):
            pass
        return {}

    return work


def failing(*errors: Exception, then: Work = nothing) -> Work:
    """Work that raises these, one in each run, and then does something else."""
    left = list(errors)

    def work(context: StepContext) -> Mapping[str, object]:
        if left:
            raise left.pop(0)
        return then(context)

    return work
