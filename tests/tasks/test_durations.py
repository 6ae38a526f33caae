"""The durations of the last steps, as estimates read them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import update

from server.bootstrap import Services
from server.database.models import Task, TaskFile, TaskStep
from server.pipeline.order import STEPS
from server.settings import Settings
from server.tasks import durations
from server.tasks.durations import StepTime
from server.worker import planning
from tests.harness.steps import FakeStep
from tests.worker.attempts import SetSteps, register_task, run_attempt
from tests.worker.conftest import services as services
from tests.worker.conftest import set_steps as set_steps
from tests.worker.conftest import settings as settings

BEGIN = datetime(2026, 11, 30, 12, tzinfo=UTC)
FACTS: dict[str, Any] = {
    "size": 60_000_000,
    "container": "mp4",
    "duration": 60.0,
    "width": 1920,
    "height": 1080,
    "frame_rate": 30.0,
    "video_codec": "hevc",
    "audio_codec": "aac",
    "hdr": False,
}


def took(name: str, begin: float, end: float, file_id: str = "1") -> StepTime:
    """A step that ran from one second to another."""
    return StepTime(file_id, name, FACTS, BEGIN + timedelta(seconds=begin), BEGIN + timedelta(seconds=end))


def test_last_steps_come_with_the_facts_of_their_files(services: Services, set_steps: SetSteps) -> None:
    """Completed steps of tasks that came to their end at once, the oldest first; a second attempt is left out."""
    set_steps(FakeStep("probe", lambda _: {"width": 320, "height": 240}), FakeStep("mp4"))
    tasks = []
    for _ in range(3):
        tasks.append(register_task(services))
        assert run_attempt(services)
    with services.database.write() as session:
        session.execute(update(Task).where(Task.id == tasks[1]).values(attempt=2))
        session.execute(update(TaskStep).where(TaskStep.name == "mp4").values(finished_at=BEGIN))
        session.execute(update(TaskStep).where(TaskStep.name == "mp4").values(started_at=BEGIN - timedelta(seconds=7)))
        session.execute(update(TaskFile).values(container="mp4"))
    with services.database.read() as session:
        found = durations.last(session, services.node)
        elsewhere = durations.last(session, "another folder")
    assert elsewhere == []
    assert [one.name for one in found] == ["mp4", "mp4", "probe", "probe"]
    assert len({one.file_id for one in found}) == 2
    assert {(one.facts["width"], one.facts["height"], one.facts["container"]) for one in found} == {(320, 240, "mp4")}
    assert {(one.finished_at - one.started_at).total_seconds() for one in found if one.name == "mp4"} == {7.0}


def test_steps_that_overlapped_count_as_a_crowd() -> None:
    """Two encodes at the same time, and one that half of another's time ran beside."""
    assert list(durations.crowds([took("mp4", 0, 10), took("mp4", 0, 10)])) == [2.0, 2.0]
    assert list(durations.crowds([took("mp4", 0, 10), took("mp4", 5, 25)])) == [1.5, 1.25]
    assert list(durations.crowds([took("mp4", 0, 0)])) == [1.0]


def test_observations_are_of_the_steps_and_of_whole_files() -> None:
    """An encode of a minute is of its kind, and the file counts as a whole for those that were not looked at yet."""
    times = [took("probe", 0, 1), took("mp4", 1, 61), took("poster", 1, 3), took("storyboard", 61, 71)]
    found = {one.cost.kind: one for one in planning.observations(times, STEPS, Settings())}
    assert set(found) == {"probe", "mp4 encoded", "poster", "storyboard", "file mp4"}
    assert (found["mp4 encoded"].seconds, found["mp4 encoded"].beside) == (60.0, 1.0)
    assert found["file mp4"].seconds == 71.0
