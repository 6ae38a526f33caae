"""A sweep that is killed, or that meets another sweep, a retry or a lock, ends the same and removes nothing more."""

import contextlib
import threading
from datetime import datetime

import pytest

from server.bootstrap import Services
from server.cli import actions
from server.database.models import Upload
from server.maintenance.retention import Retention
from server.maintenance.sweep_report import SweepReport
from server.storage.disk import DiskStore
from server.storage.results import Results
from tests.harness import seed
from tests.harness.kill_points import NEVER, KilledError, KillPoint, sample
from tests.harness.waiting import PATIENCE
from tests.maintenance.filled_installation import DAY, FilledInstallation, each, fresh_retention

STEPS: list[tuple[type, str]] = [
    (DiskStore, "delete"),
    (DiskStore, "delete_from_quarantine"),
    (Results, "hide"),
    (Results, "remove"),
    (Results, "remove_empty"),
]


@pytest.mark.sampled(1)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("most", [6, pytest.param(NEVER, marks=pytest.mark.soak)], ids=["sample", "all"])
def test_a_sweep_that_is_killed_anywhere_is_completed_by_the_next(
    in_memory: FilledInstallation, monkeypatch: pytest.MonkeyPatch, after: bool, most: int
) -> None:
    """At any step and within any transaction."""
    with in_memory.with_settings(**each(DAY)) as services:
        killed, reached = _kill(in_memory, services, monkeypatch, NEVER, after=after)
        assert not killed
        assert reached > 20
        for at in sample(reached, most, seed.dice("retention", after)):
            killed, _ = _kill(in_memory, services, monkeypatch, at, after=after)
            assert killed == (at <= reached)


def _kill(
    in_memory: FilledInstallation, services: Services, monkeypatch: pytest.MonkeyPatch, at: int, *, after: bool
) -> tuple[bool, int]:
    """Whether a sweep was killed at this step, and how many it reached; the next two leave nothing."""

    def sweep() -> None:
        object.__setattr__(services.sweeper, "retention", fresh_retention(services))
        services.sweep()

    made = in_memory.fill(10 * DAY)
    with monkeypatch.context() as patched:
        point = KillPoint(at, after=after)
        for owner, name in STEPS:
            patched.setattr(owner, name, point.step(getattr(owner, name)))
        database = type(in_memory.services.database)
        patched.setattr(database, "write", point.transaction(database.write))
        try:
            sweep()
            killed = False
        except KilledError:
            killed = True
    sweep()
    assert in_memory.services.checker.find_mismatches() == []
    sweep()
    assert in_memory.originals() == {made["waiting"], made["open"]}
    assert [row["id"] for row in in_memory.query("SELECT id FROM tasks")] == [made["waiting"]]
    assert in_memory.quarantined_ids() == in_memory.posters() == set()
    assert not list((in_memory.settings.data_dir / "results").iterdir())
    for name in ("waiting", "open"):
        in_memory.services.store.delete(made[name])
    for table in ("tasks", "uploads"):
        in_memory.execute(f"DELETE FROM {table}")
    return killed, point.reached


def test_two_sweeps_at_once_remove_each_thing_once(installation: FilledInstallation) -> None:
    """Of two processes, and neither reports a failure."""
    for _ in range(3):
        installation.fill(10 * DAY)
    everything = each(DAY)
    with installation.with_settings(**everything) as one, installation.with_settings(**everything) as other:
        reports: list[SweepReport] = []
        threads = [threading.Thread(target=lambda of=of: reports.append(of.sweep())) for of in (one, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
    assert [report.numbers["failed"] for report in reports] == [0, 0]
    installation.sweep(**everything)
    installation.sweep(**everything)
    assert len(installation.query("SELECT id FROM tasks")) == 3
    assert len(installation.originals()) == 6
    assert installation.services.checker.find_mismatches() == []


def test_a_retried_task_has_its_original_whatever_the_sweep_did(installation: FilledInstallation) -> None:
    """The retry of a task whose original the sweep has removed is refused."""
    tasks = [installation.task("error", 10 * DAY, has_poster=True) for _ in range(12)]
    outcomes: dict[str, bool] = {}
    refusals: set[str] = set()

    def retry() -> None:
        for task in reversed(tasks):
            try:
                actions.retry(installation.services, task)
                outcomes[task] = True
            except actions.ActionRefusedError as refused:
                refusals.add(str(refused))
                outcomes[task] = False

    with installation.with_settings(failed_retention=DAY) as services:
        thread = threading.Thread(target=retry)
        thread.start()
        assert services.sweep().numbers["failed"] == 0
        thread.join(PATIENCE)
    assert refusals <= {"The task cannot be retried: the original is gone: clip.mp4."}
    there = installation.originals()
    assert {task for task, waits in outcomes.items() if waits} == there
    waiting = {
        row["id"] for row in installation.query("SELECT id FROM tasks WHERE status = 'uploaded' AND has_results")
    }
    assert waiting == there == installation.posters()
    assert installation.services.checker.find_mismatches() == []


def test_a_task_retried_during_the_sweep_keeps_everything(
    in_memory: FilledInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits again between the query of the sweep and the removal."""
    task = in_memory.task("error", 10 * DAY, has_poster=True)
    real = Retention._remove_original

    def late(self: Retention, row: Upload, until: datetime) -> bool:
        actions.retry(in_memory.services, task)
        return real(self, row, until)

    monkeypatch.setattr(Retention, "_remove_original", late)
    assert in_memory.sweep(failed_retention=DAY) == {}
    assert in_memory.originals() == in_memory.posters() == {task}


def test_a_locked_upload_is_removed_by_a_later_sweep(in_memory: FilledInstallation) -> None:
    """While a request holds the lock of an upload or a task, nothing of it changes."""
    made = in_memory.fill(10 * DAY)
    everything = each(DAY)
    with contextlib.ExitStack() as stack:
        for name in ("completed", "partial", "error", "cancelled", "infected"):
            assert stack.enter_context(in_memory.services.locks.try_hold(made[name]))
        in_memory.execute("DELETE FROM task_events")
        before = in_memory.state()
        assert in_memory.sweep(**everything) == {}
        assert in_memory.state() == before
    assert in_memory.sweep(**everything)["failed_originals"] == 3
