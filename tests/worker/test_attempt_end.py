"""What an attempt still does after its task has ended."""

import threading
from dataclasses import replace
from datetime import datetime

import pytest

from server.bootstrap import Services
from server.tracing import AttemptTrace, Tracing
from server.worker import attempt
from server.worker.runner import runner_of
from tests.harness.steps import FakeStep
from tests.harness.waiting import until
from tests.worker.attempts import SetSteps, register_task, task


class RecordedRoots(Tracing):
    """Records the roots of the traces, as the exporter would."""

    is_on = True

    def __init__(self) -> None:
        self.ended: list[tuple[str, datetime | None]] = []

    def attempt(self, task_id: str, number: int) -> AttemptTrace:
        recorded = self

        class Trace(AttemptTrace):
            is_on = True

            def task_ended(self, status: str, created: datetime | None) -> None:
                recorded.ended.append((status, created))

        return Trace()


def test_the_root_span_of_an_ended_task_is_recorded_however_slow_its_end_is(
    services: Services, set_steps: SetSteps, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task has ended and the process is slow: the heartbeat finds no claim any more, which is no loss."""
    monkeypatch.setattr(attempt, "HEARTBEAT_SECONDS", 0.01)
    set_steps(FakeStep("probe"))
    task_id = register_task(services)
    tracing = RecordedRoots()

    def heartbeat_has_ended() -> bool:
        return not any(thread.name == f"heartbeat-{task_id}" for thread in threading.enumerate())

    def drop_originals(_: str) -> None:
        until(heartbeat_has_ended, what="the heartbeat ends with the task")

    runner = replace(runner_of(services), tracing=tracing, drop_originals=drop_originals)
    claimed = runner.claim_next("test/1")
    assert claimed is not None
    runner.attempt(claimed, "").run()
    assert task(services)["status"] == "completed"
    ((status, created),) = tracing.ended
    assert status == "completed"
    assert created is not None
