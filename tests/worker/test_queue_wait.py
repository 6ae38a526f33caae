"""The seconds that waiting tasks are told."""

import pytest

from server.bootstrap import Services
from server.pipeline.costs import Cost
from server.worker.learned_costs import LearnedCosts, Observation
from server.worker.queue_wait import QueueWait, forecast
from server.worker.remaining import Left
from tests.harness.rows import query
from tests.harness.steps import FakeStep
from tests.worker.attempts import register_task

SURE = Left(10.0, 1.0)


@pytest.mark.parametrize(
    ("running", "limit", "expected"),
    [
        ([4], 1, {"a": 14, "b": 24, "c": 34}),
        ([4, 30], 2, {"a": 14, "b": 24, "c": 34}),
        ([4, 6], 2, {"a": 14, "b": 16, "c": 24}),
        ([4], 2, {"a": 10, "b": 14, "c": 20}),
        ([4, None], 2, {}),
    ],
)
def test_a_task_waits_for_those_before_it(running: list[int | None], limit: int, expected: dict[str, int]) -> None:
    """Each takes the place that is free first; when a running task has no time, the others have none."""
    assert forecast({"a": SURE, "b": SURE, "c": SURE}, running, limit) == expected


def test_times_end_where_the_doubt_begins() -> None:
    """After a task of which nothing is known no time is told, since all later ones wait for it."""
    assert forecast({"a": SURE, "b": Left(100.0, 100.0), "c": SURE}, [5], 1) == {"a": 15}


def test_rows_get_the_seconds_once_files_of_their_size_are_known(services: Services) -> None:
    """Nothing is known: the rows stay NULL. Three files took 20 s each: the rows say 20 s more, one after the other. A
    running task without a time takes them away."""
    costs = LearnedCosts()
    step = FakeStep("mp4", seconds=10.0)
    wait = QueueWait(settings=services.settings, node=services.node, costs=costs, steps=[step], limit=1)
    ids = [register_task(services) for _ in range(2)]

    def told(*running: int | None) -> list[int | None]:
        with services.database.write() as session:
            wait.write(session, running)
        rows = {
            row["id"]: row["eta_seconds"]
            for row in query(services.settings.sqlalchemy_url, "SELECT id, eta_seconds FROM tasks")
        }
        return [rows[task_id] for task_id in ids]

    assert told(5) == [None, None]
    for _ in range(3):
        costs.learn(Observation(Cost("file mp4", 10.0), 20.0))
    assert told(5) == [25, 45]
    assert told(6) == [25, 45]  # not worth a write
    assert told(None) == [None, None]
