"""Each retention removes what it names after its time, and nothing before; 0 keeps it for ever."""

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
from sqlalchemy import text, update

from server.auth.audit import AuditLog, Entry
from server.database.access_models import BrowserSession
from server.database.models import Task, Upload
from server.lifecycle import UploadStatus
from tests.harness.installation import DATA
from tests.maintenance.filled_installation import DAY, ENDS, FilledInstallation, each, numbers


def test_zero_keeps_everything_for_ever(installation: FilledInstallation) -> None:
    """Except the results of cancelled tasks, which no URL shows any more."""
    made = installation.fill(1000 * DAY)
    assert installation.sweep() == {"hidden_results": 1}
    assert installation.originals() >= {
        made["completed"],
        made["error"],
        made["cancelled"],
        made["open"],
        made["waiting"],
    }
    assert installation.posters() == {made["completed"], made["partial"], made["error"]}
    assert installation.quarantined_ids() == {made["infected"]}
    assert installation.sweep() == {}
    assert installation.services.checker.find_mismatches() == []


WEEK = 9 * DAY
"""The old tasks of `TwoAges` ended before that, the new ones after."""


class TwoAges(NamedTuple):
    """Tasks of every end, older and younger than `WEEK`; hidden results are removed already."""

    old: dict[str, str]
    new: dict[str, str]


@pytest.fixture
def two_ages(installation: FilledInstallation) -> TwoAges:
    found = TwoAges(installation.fill(10 * DAY), installation.fill(8 * DAY))
    assert installation.sweep() == {"hidden_results": 2}
    return found


def test_failed_retention_removes_failed_and_cancelled_originals(
    installation: FilledInstallation, two_ages: TwoAges
) -> None:
    """Those of failed files of a task that completed in part, too; results stay, and so do younger originals."""
    old = two_ages.old
    before, posters = installation.originals(), installation.posters()
    failed = {old["error"], old["cancelled"], installation.upload_of(old["partial"], "error")}
    assert installation.sweep(failed_retention=WEEK) == {"failed_originals": 3, "hidden_results": 2}
    assert before - installation.originals() == failed
    assert posters - installation.posters() == {old["error"]}
    assert installation.sweep(failed_retention=WEEK) == {}


def test_original_retention_removes_originals_of_ended_tasks(
    installation: FilledInstallation, two_ages: TwoAges
) -> None:
    """Of completed, failed and cancelled files, if their tasks are old enough; no result goes with them."""
    old, before, posters = two_ages.old, installation.originals(), installation.posters()
    ended = {old["completed"], old["error"], old["cancelled"]}
    ended |= {installation.upload_of(old["partial"], status) for status in ("error", "completed")}
    assert installation.sweep(original_retention=WEEK) == {"old_originals": 5}
    assert before - installation.originals() == ended
    assert installation.posters() == posters


def test_result_retention_removes_results_of_completed_files(
    installation: FilledInstallation, two_ages: TwoAges
) -> None:
    """Their rows say that there are none any more; results of failed files and every original stay."""
    old, originals, posters = two_ages.old, installation.originals(), installation.posters()
    assert installation.sweep(result_retention=WEEK) == {"old_results": 2}
    assert posters - installation.posters() == {old["completed"]}
    assert installation.originals() == originals
    (row,) = installation.query("SELECT has_results, playable FROM tasks WHERE id = :id", id=old["completed"])
    assert (bool(row["has_results"]), bool(row["playable"])) == (False, False)
    assert installation.sweep(result_retention=WEEK) == {}


def test_quarantine_retention_removes_infected_files(installation: FilledInstallation, two_ages: TwoAges) -> None:
    """Old ones from the quarantine, and nothing elsewhere."""
    before = installation.originals()
    assert installation.sweep(quarantine_retention=WEEK) == {"old_quarantine": 1}
    assert installation.quarantined_ids() == {two_ages.new["infected"]}
    assert installation.originals() == before
    assert installation.sweep(quarantine_retention=WEEK) == {}


def test_event_retention_removes_events_of_ended_tasks(installation: FilledInstallation, two_ages: TwoAges) -> None:
    """Of old tasks that have ended, and of no others."""
    events = {row["task_id"] for row in installation.query("SELECT task_id FROM task_events")}
    assert installation.sweep(event_retention=WEEK)["old_events"] >= 5
    ended = {two_ages.old[name] for name in ENDS}
    assert events - {row["task_id"] for row in installation.query("SELECT task_id FROM task_events")} == ended
    assert installation.sweep(event_retention=WEEK) == {}


@pytest.mark.sampled(1)
def test_audit_retention_removes_old_entries(installation: FilledInstallation) -> None:
    """By the age of the entry; 0 keeps all. A dry run counts the same."""
    installation.execute("DELETE FROM audit_log")
    for days in (8, 10):
        at = datetime.now(UTC) - timedelta(days=days)
        audit = AuditLog(database=installation.services.database, clock=lambda at=at: at)  # type: ignore[misc]
        audit.record_now(Entry(action=f"a{days}", actor="operator"))
    assert installation.sweep(audit_retention=0) == {}
    assert numbers(installation.report(dry_run=True, audit_retention=WEEK)) == {"old_audit": 1}
    assert installation.sweep(audit_retention=WEEK) == {"old_audit": 1}
    assert installation.query("SELECT action FROM audit_log") == [{"action": "a8"}]
    assert installation.sweep(audit_retention=WEEK) == {}


def test_sign_ins_that_have_ended_are_removed(installation: FilledInstallation) -> None:
    """By idle time and by lifetime; those in use stay."""
    now = datetime.now(UTC)
    for hours, lifetime in ((1, 1), (1, 100), (9, 100)):  # the last is idle by the default of eight hours
        row = BrowserSession(
            id_hash=f"{hours}{lifetime}",
            owner="ann",
            scopes=["read"],
            credential="key:1",
            created_at=now - timedelta(hours=hours),
            used_at=now - timedelta(hours=hours),
            expires_at=now - timedelta(hours=hours - lifetime),
        )
        with installation.services.database.write() as session:
            session.add(row)
    assert numbers(installation.report(dry_run=True)) == {"sessions": 2}
    assert installation.sweep() == {"sessions": 2}
    assert installation.query("SELECT id_hash FROM browser_sessions") == [{"id_hash": "1100"}]


def test_all_retentions_together_leave_nothing_of_old_tasks(
    installation: FilledInstallation, two_ages: TwoAges
) -> None:
    """Each takes what those before it left; rows are the last, younger tasks keep everything, and all rows are true."""
    old, new = two_ages
    for retention, expected in (
        ("failed_retention", {"failed_originals": 3, "hidden_results": 2}),
        ("original_retention", {"old_originals": 2}),
        ("result_retention", {"old_results": 2}),
        ("quarantine_retention", {"old_quarantine": 1}),
        ("event_retention", None),
        ("row_retention", {"old_tasks": 5}),
    ):
        setting: dict[str, Any] = {retention: WEEK}
        removed = installation.sweep(**setting)
        assert removed == expected if expected else removed["old_events"] >= 5, retention
    assert installation.posters() == {new["completed"], new["partial"], new["error"]}
    left = {row["id"] for row in installation.query("SELECT id FROM tasks")}
    assert left == {task for name, task in new.items() if name != "open"} | {old["waiting"]}
    assert len(installation.query("SELECT id FROM uploads")) == 6 + 2 + 2
    assert installation.sweep(**each(WEEK)) == {}
    assert installation.services.checker.find_mismatches() == []


@pytest.mark.sampled(1)
def test_a_row_outlasts_its_files(installation: FilledInstallation) -> None:
    """A row goes when its original, results and file in quarantine are gone, and not before."""
    made = installation.fill(10 * DAY)
    assert installation.sweep(row_retention=DAY) == {"hidden_results": 1}
    everything = each(DAY)
    assert "old_tasks" not in installation.sweep(**everything)
    assert installation.sweep(**everything) == {"old_tasks": 5}
    assert {row["id"] for row in installation.query("SELECT id FROM tasks")} == {made["waiting"]}
    assert installation.originals() == {made["waiting"], made["open"]}
    assert not list((installation.settings.data_dir / "results").iterdir())
    assert installation.services.checker.find_mismatches() == []


def test_rows_of_uploads_without_a_task_go_by_the_age_of_their_end(installation: FilledInstallation) -> None:
    """Expired, terminated and refused ones; a partial upload goes after its final."""
    old = [installation.open(DATA[:10]) for _ in range(3)]
    for upload, status in zip(old, ("EXPIRED", "TERMINATED", "REJECTED"), strict=True):
        installation.services.deletion.remove(upload, UploadStatus[status])
    part, final, young = installation.open(), installation.open(), installation.open()
    for upload in (part, final, young):
        installation.services.deletion.remove(upload, UploadStatus.TERMINATED)
    installation.execute("UPDATE uploads SET concat = 'partial' WHERE id = :id", id=part)
    installation.execute("UPDATE uploads SET concat = 'final;x' WHERE id = :id", id=final)
    installation.execute("INSERT INTO upload_parts (final_id, position, part_id) VALUES (:f, 1, :p)", f=final, p=part)
    ago = datetime.now(UTC) - timedelta(days=2)
    with installation.services.database.write() as session:
        session.execute(update(Upload).where(Upload.id != young).values(updated_at=ago))
    assert installation.sweep(row_retention=DAY) == {"old_uploads": 4}
    assert installation.sweep(row_retention=DAY) == {"old_uploads": 1}
    assert [row["id"] for row in installation.query("SELECT id FROM uploads")] == [young]


def test_tasks_of_another_data_folder_are_not_removed(installation: FilledInstallation) -> None:
    """The sweep of their own data folder removes them."""
    installation.fill(10 * DAY)
    installation.execute("UPDATE tasks SET node = 'another'")
    before = installation.state()
    assert installation.sweep(**each(DAY)) == {}
    assert installation.state() == before


@pytest.mark.sampled(1)
def test_a_dry_run_reports_the_next_sweep_and_changes_nothing(installation: FilledInstallation) -> None:
    """Of every kind, in numbers and bytes; no row and no file changes."""
    installation.fill(10 * DAY)
    installation.fill(2 * DAY)
    expired, unborn, removed = installation.open(DATA[:10]), installation.open(), installation.open(DATA[:7])
    installation.execute("UPDATE uploads SET expires_at = '2020-01-01 00:00:00.000000' WHERE id = :id", id=expired)
    installation.path(unborn).unlink()
    installation.execute("UPDATE uploads SET status = 'terminated' WHERE id = :id", id=removed)
    installation.open(DATA)
    installation.open(DATA, protocol="multipart", length=None)
    (installation.settings.data_dir / "work" / "left.1").mkdir()
    settings: dict[str, Any] = each(5 * DAY) | {"original_retention": DAY}
    with installation.with_settings(**settings):
        before = installation.state()
    reports = [installation.report(dry_run=True, **settings) for _ in range(2)]
    assert installation.state() == before
    done = installation.report(**settings)
    for report in reports:
        assert numbers(report) == numbers(done)
        assert report.sizes == done.sizes
    assert done.numbers["failed_originals"]
    assert done.freed > 5 * len(DATA)


def test_the_row_of_a_task_without_results_says_so(in_memory: FilledInstallation) -> None:
    """All flags are false, so that no answer has a URL."""
    task = in_memory.task("completed", 10 * DAY, has_poster=True, playable=True)
    in_memory.execute("UPDATE tasks SET playable = true")
    assert in_memory.sweep(result_retention=DAY) == {"old_results": 1}
    (file,) = in_memory.query("SELECT has_poster, has_mp4, has_hls, has_storyboard, playable FROM task_files")
    assert not any(file.values())
    with in_memory.services.database.read() as session:
        row = session.get_one(Task, task)
        assert (row.playable, row.has_results, row.status.value) == (False, False, "completed")
        assert session.execute(text("SELECT count(*) FROM task_events WHERE upload_id IS NULL")).scalar() == 1
