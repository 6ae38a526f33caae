"""What a running task reports: progress, remaining seconds, and that it is playable."""

import threading
import time

import pytest

from server.bootstrap import Services
from server.pipeline.step import StepContext
from tests.harness.steps import FakeStep, held
from tests.harness.waiting import PATIENCE, until
from tests.worker.attempts import SetSteps, register_task, running, step, task


def test_a_task_is_playable_while_later_steps_run(services: Services, set_steps: SetSteps) -> None:
    """The MP4 is there, the next step lasts: the task says `playable`, and which step runs."""
    gate = threading.Event()
    set_steps(FakeStep("mp4", lambda _: {"has_mp4": True, "playable": True}), FakeStep("hls", held(gate)))
    register_task(services)
    with running(services):
        until(lambda: task(services)["step"] == "hls", seconds=20, what="the slow step runs")
        row = task(services)
        assert (row["status"], bool(row["playable"])) == ("processing", True)
        gate.set()
    assert (task(services)["status"], bool(task(services)["playable"])) == ("completed", True)


@pytest.mark.sampled(1)
def test_progress_and_remaining_seconds_are_written_while_a_step_runs(services: Services, set_steps: SetSteps) -> None:
    """The percent that a step reports is in its row, its file's and the task's, and the seconds that are left; they are
    told since the step has come far enough to judge by its own speed."""
    gate, began = threading.Event(), time.monotonic()

    def steady(context: StepContext) -> dict[str, object]:
        while not (gate.wait(0.05) or context.cancelled.is_set()):
            context.report(min(90, round(30 * (time.monotonic() - began))))
        return {}

    set_steps(FakeStep("probe", lambda _: {"width": 320, "height": 240}), FakeStep("mp4", steady, seconds=9))
    register_task(services)
    with running(services):
        until(lambda: task(services)["eta_seconds"] is not None, seconds=PATIENCE, what="the row has the seconds")
        until(lambda: step(services, "mp4")["progress"] >= 50, seconds=PATIENCE, what="the row has the step's percent")
        row = task(services)
        assert row["eta_seconds"] >= 1
        assert 1 <= row["progress"] <= 99
        gate.set()
    assert (task(services)["progress"], task(services)["eta_seconds"]) == (100, None)
