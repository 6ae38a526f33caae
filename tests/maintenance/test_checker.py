"""What the inventory finds: everything that does not fit, and nothing else, also beside a running server."""

import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import text

from server.bootstrap import Services, new_id
from server.cli.main import main
from server.lifecycle import UploadStatus
from server.maintenance.checker import MismatchKind
from tests.harness.installation import DATA, Installation

NOW = "2026-01-01 00:00:00.000000"


@pytest.fixture
def installation(tmp_path: Path, database_url: str) -> Iterator[Installation]:
    made = Installation(tmp_path / "data", database_url)
    with made.services:
        yield made


def _unknown(installation: Installation) -> str:
    upload = new_id()
    installation.path(upload).write_bytes(DATA)
    return f"uploads/{upload[:2]}/{upload}"


def _nonsense(installation: Installation) -> str:
    installation.path("ab").write_bytes(DATA)
    return "uploads/ab"


def _told_to_be_gone(installation: Installation) -> str:
    upload = installation.complete()
    installation.execute("UPDATE uploads SET has_bytes = false WHERE id = :id", id=upload)
    return f"uploads/{upload[:2]}/{upload}"


def _missing(installation: Installation) -> str:
    upload = installation.complete()
    installation.path(upload).unlink()
    return upload


def _missing_of_open(installation: Installation) -> str:
    upload = installation.open(DATA[:10])
    installation.execute("UPDATE uploads SET received = 10 WHERE id = :id", id=upload)
    installation.path(upload).unlink()
    return upload


def _shorter(installation: Installation) -> str:
    upload = installation.complete()
    os.truncate(installation.path(upload), 499)
    return upload


def _longer(installation: Installation) -> str:
    return installation.open(DATA + b"more")


def _unregistered(installation: Installation) -> str:
    return installation.open(DATA)


def _unborn(installation: Installation) -> str:
    upload = installation.open()
    installation.path(upload).unlink()
    return upload


def _half_removed(installation: Installation) -> str:
    upload = installation.open(DATA[:10])
    installation.execute("UPDATE uploads SET status = 'terminated' WHERE id = :id", id=upload)
    return upload


def _file_half_removed(installation: Installation) -> str:
    task = installation.ended()
    installation.execute("UPDATE task_files SET removing = true WHERE task_id = :id", id=task)
    return installation.file_of(task)


def _form(installation: Installation) -> str:
    return installation.open(DATA, protocol="multipart", length=None)


def _without_task(installation: Installation) -> str:
    upload = installation.complete()
    installation.execute("DELETE FROM tasks WHERE id = :id", id=upload)
    return upload


def _member_of_ended(installation: Installation) -> str:
    task, upload = installation.ended(), installation.open(DATA[:10])
    installation.execute("UPDATE uploads SET task_id = :task WHERE id = :id", task=task, id=upload)
    return upload


def _quarantine_unknown(installation: Installation) -> str:
    upload = installation.complete()
    installation.aside(upload).write_bytes(DATA)
    return f"quarantine/{upload}"


def _quarantine_half(installation: Installation) -> str:
    name = f".{new_id()}"
    installation.aside(name).write_bytes(DATA[:9])
    return f"quarantine/{name}"


def _quarantine_missing(installation: Installation) -> str:
    upload = installation.complete()
    installation.services.deletion.quarantine(upload)
    installation.aside(upload).unlink()
    return upload


def _no_files(installation: Installation) -> str:
    upload = installation.complete()
    installation.execute("DELETE FROM task_files WHERE task_id = :id", id=upload)
    installation.execute("DELETE FROM uploads WHERE id = :id", id=upload)
    installation.path(upload).unlink()
    return upload


def _group(installation: Installation) -> str:
    upload = installation.complete()
    installation.execute("UPDATE tasks SET gather_until = :now WHERE id = :id", now=NOW, id=upload)
    return upload


def _results_unknown(installation: Installation) -> str:
    task = installation.ended(has_poster=False)
    installation.result(task)
    installation.execute("UPDATE tasks SET has_results = false WHERE id = :id", id=task)
    return f"results/{task}"


def _results_of_nobody(installation: Installation) -> str:
    task = new_id()
    (installation.settings.data_dir / "results" / f".{task}").mkdir()
    return f"results/{task}"


def _results_missing(installation: Installation) -> str:
    task = installation.ended(has_poster=True, has_mp4=True)
    installation.result(task)
    return f"results/{task}/{installation.file_of(task)}"


def _work(installation: Installation) -> str:
    name = f"{installation.complete()}.1"
    (installation.settings.data_dir / "work" / name).mkdir()
    return f"work/{name}"


def _work_nonsense(installation: Installation) -> str:
    (installation.settings.data_dir / "work" / "something").touch()
    return "work/something"


def _fifo(installation: Installation) -> str:
    os.mkfifo(installation.settings.data_dir / "locks" / "dead.fifo")
    return "locks/dead.fifo"


def _unborn_fifo(installation: Installation) -> str:
    os.mkfifo(installation.settings.data_dir / "locks" / ".dead.fifo")
    return "locks/.dead.fifo"


def _node(installation: Installation) -> str:
    (installation.settings.data_dir / ".node-x").touch()
    return ".node-x"


def _unanswered(installation: Installation) -> str:
    task = new_id()
    installation.execute(
        "INSERT INTO form_answers (owner, key, task_id, created_at, expires_at) VALUES ('o', 'k', :task, :now, :now)",
        task=task,
        now=NOW,
    )
    return task


WRONG: dict[str, list[Callable[[Installation], str]]] = {
    "upload_unknown": [_unknown, _nonsense, _told_to_be_gone],
    "upload_missing": [_missing, _missing_of_open],
    "upload_size": [_shorter, _longer],
    "upload_unregistered": [_unregistered],
    "upload_unborn": [_unborn],
    "upload_half_removed": [_half_removed],
    "file_half_removed": [_file_half_removed],
    "form_abandoned": [_form],
    "upload_of_ended_task": [_member_of_ended],
    "quarantine_unknown": [_quarantine_unknown, _quarantine_half],
    "quarantine_missing": [_quarantine_missing],
    "task_without_files": [_no_files],
    "group_inconsistent": [_group],
    "results_unknown": [_results_unknown, _results_of_nobody],
    "results_missing": [_results_missing],
    "work_leftover": [_work, _work_nonsense],
    "fifo_leftover": [_fifo, _unborn_fifo],
    "temporary_leftover": [_node],
    "form_answer_unanswered": [_unanswered],
    "upload_without_task": [_without_task],
}
# Foreign keys forbid it; a database that was repaired by hand may have it.
ONLY_BY_HAND = {"file_without_upload"}


def _well(installation: Installation) -> None:
    """Everything that there may be in an installation that is well."""
    installation.open()
    installation.open(DATA[:100])
    installation.open(length=None)
    installation.complete()
    shown = installation.ended(has_poster=True)
    installation.result(shown)
    infected = installation.complete()
    installation.execute("UPDATE task_files SET scan = 'infected', status = 'error' WHERE upload_id = :id", id=infected)
    installation.services.deletion.quarantine(infected)
    dropped = installation.ended()
    installation.services.deletion.delete_bytes(dropped)
    removed = installation.open(DATA[:10])
    installation.services.deletion.remove(removed, UploadStatus.EXPIRED)
    working = installation.complete()
    installation.execute(
        "UPDATE tasks SET status = 'processing', worker = 'w', attempt = 1, lease_expires_at = :now WHERE id = :id",
        now=datetime.now(UTC).replace(tzinfo=None) + timedelta(minutes=1),
        id=working,
    )
    (installation.settings.data_dir / "work" / f"{working}.1").mkdir()


def test_a_healthy_installation_has_no_findings(installation: Installation) -> None:
    """An installation that is well has no finding, whatever its uploads and tasks are doing."""
    assert installation.found() == []
    _well(installation)
    assert installation.found() == []


@pytest.mark.sampled(14)
@pytest.mark.parametrize(("kind", "make"), [(kind, make) for kind, makes in WRONG.items() for make in makes])
def test_each_kind_of_mismatch_is_found_once(tmp_path: Path, kind: str, make: Callable[[Installation], str]) -> None:
    """Each thing that can be wrong is found, once, by its name, among much that is well."""
    installation = Installation(tmp_path / "data", f"sqlite:///{tmp_path / 'test.db'}")
    with installation.services:
        _well(installation)
        subject = make(installation)
        assert installation.found() == [(kind, subject)]


@pytest.mark.sampled(1)
def test_all_kinds_are_found_in_small_batches(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both databases, and batches smaller than what there is to find: nothing is left out, nothing is told twice."""
    monkeypatch.setattr("server.maintenance.checker._BATCH", 2)
    assert set(MismatchKind) == set(WRONG) | ONLY_BY_HAND
    _well(installation)
    made = sorted((kind, make(installation)) for kind, makes in WRONG.items() for make in makes)
    assert sorted(installation.found()) == made


def test_a_locked_upload_is_not_a_finding(installation: Installation) -> None:
    """Whoever has the lock is in the middle of it: an upload that is being received or removed is not wrong."""
    makers = (_unknown, _missing, _unregistered, _unborn, _half_removed, _results_missing, _quarantine_missing)
    subjects = [make(installation).split("/") for make in makers]
    names = [parts[1] if parts[0] == "results" else parts[-1] for parts in subjects]
    assert len(installation.found()) == len(names)
    with Services.open(installation.settings) as others:
        held = [others.locks.try_hold(name) for name in names]
        assert all(lock.__enter__() for lock in held)
        assert installation.found() == []
        for lock in held:
            lock.__exit__(None, None, None)


def test_without_the_upload_folder_the_check_fails(installation: Installation) -> None:
    """Without the folder of uploads nothing is concluded."""
    installation.complete()
    folder = installation.settings.data_dir / "uploads"
    folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(OSError):
        installation.services.checker.find_mismatches()


@pytest.mark.sampled(1)
def test_the_check_changes_nothing(installation: Installation) -> None:
    """It only looks: files and rows are afterwards as they were."""
    for makes in WRONG.values():
        for make in makes:
            make(installation)

    def state() -> object:
        with installation.services.database.read() as session:
            rows = [session.execute(text(f"SELECT * FROM {table}")).all() for table in ("uploads", "tasks")]
        folder = installation.settings.data_dir
        return rows, {path: path.lstat().st_size for path in folder.rglob("*") if "test.db" not in path.name}

    before = state()
    installation.services.checker.find_mismatches()
    assert state() == before


def test_the_check_command_has_exit_codes_and_json(installation: Installation) -> None:
    """Exit code 0 and a sentence, or 1, a table and what to do; JSON for programs."""
    place = ["--data-dir", str(installation.settings.data_dir), "--database-url", installation.settings.database_url]
    installation.complete()
    well = CliRunner().invoke(main, ["check", *place])
    assert (well.exit_code, well.stdout) == (0, "Database and folders fit together.\n")
    assert CliRunner().invoke(main, ["check", "--json", *place]).stdout == "[]\n"
    unregistered, unknown = _unregistered(installation), _unknown(installation)
    result = CliRunner().invoke(main, ["check", *place])
    assert result.exit_code == 1
    assert unregistered in result.stdout
    assert unknown in result.stdout
    assert "run `videodock sweep`" in result.stdout
    assert "docs/retention.md" in result.stdout
    as_json = CliRunner().invoke(main, ["check", "--json", *place])
    assert as_json.exit_code == 1
    assert json.loads(as_json.stdout) == [
        {"kind": kind, "subject": subject, "text": kind.text, "is_swept": kind.is_swept}
        for kind, subject in (
            (MismatchKind.UPLOAD_UNREGISTERED, unregistered),
            (MismatchKind.UPLOAD_UNKNOWN, unknown),
        )
    ]
