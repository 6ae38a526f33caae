"""What a running task reports: progress, remaining seconds, and that it is playable."""

import threading
import time

import pytest

from server.bootstrap import Services
from server.pipeline.step import StepContext
from server.worker.progress import StepProgress
from tests.harness.steps import FakeStep, held
from tests.harness.waiting import until
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
    """The percent that a step reports is in its row, its file's and the task's, and the seconds that are left."""
    gate = threading.Event()

    def half(context: StepContext) -> dict[str, object]:
        context.report(50)
        return dict(held(gate)(context))

    set_steps(FakeStep("probe"), FakeStep("mp4", half, weight=9))
    register_task(services)
    with running(services):
        until(lambda: task(services)["eta_seconds"] is not None, seconds=20, what="the row has the remaining seconds")
        assert 0 < task(services)["eta_seconds"] < 30
        assert (task(services)["progress"], step(services, "mp4")["progress"]) == (55, 50)
        gate.set()
    assert (task(services)["progress"], task(services)["eta_seconds"]) == (100, None)


@pytest.mark.parametrize(
    ("seconds", "begun_at", "percent", "expected"),
    [(10, 0, 50, 10), (10, 40, 50, 50), (1, 0, 50, None), (10, 40, 41, None), (10, 0, 99, 0)],
)
def test_remaining_seconds_come_from_the_speed_of_this_attempt(
    seconds: float, begun_at: int, percent: int, expected: int | None
) -> None:
    """At its own speed, not that of the attempt before; nothing is told while there is too little to go by."""
    progress = StepProgress(1, begun=(time.monotonic() - seconds, begun_at))
    progress.share({"mp4": 1}, ended=set()).report("mp4", percent)
    assert progress.eta_seconds == expected
