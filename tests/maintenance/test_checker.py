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
def ground(tmp_path: Path, database_url: str) -> Iterator[Installation]:
    made = Installation(tmp_path / "data", database_url)
    with made.services:
        yield made


def _unknown(ground: Installation) -> str:
    upload = new_id()
    ground.path(upload).write_bytes(DATA)
    return f"uploads/{upload[:2]}/{upload}"


def _nonsense(ground: Installation) -> str:
    ground.path("ab").write_bytes(DATA)
    return "uploads/ab"


def _told_to_be_gone(ground: Installation) -> str:
    upload = ground.complete()
    ground.execute("UPDATE uploads SET has_bytes = false WHERE id = :id", id=upload)
    return f"uploads/{upload[:2]}/{upload}"


def _missing(ground: Installation) -> str:
    upload = ground.complete()
    ground.path(upload).unlink()
    return upload


def _missing_of_open(ground: Installation) -> str:
    upload = ground.open(DATA[:10])
    ground.execute("UPDATE uploads SET received = 10 WHERE id = :id", id=upload)
    ground.path(upload).unlink()
    return upload


def _shorter(ground: Installation) -> str:
    upload = ground.complete()
    os.truncate(ground.path(upload), 499)
    return upload


def _longer(ground: Installation) -> str:
    return ground.open(DATA + b"more")


def _unregistered(ground: Installation) -> str:
    return ground.open(DATA)


def _unborn(ground: Installation) -> str:
    upload = ground.open()
    ground.path(upload).unlink()
    return upload


def _half_removed(ground: Installation) -> str:
    upload = ground.open(DATA[:10])
    ground.execute("UPDATE uploads SET status = 'terminated' WHERE id = :id", id=upload)
    return upload


def _file_half_removed(ground: Installation) -> str:
    task = ground.ended()
    ground.execute("UPDATE task_files SET removing = true WHERE task_id = :id", id=task)
    return ground.file_of(task)


def _form(ground: Installation) -> str:
    return ground.open(DATA, protocol="multipart", length=None)


def _without_task(ground: Installation) -> str:
    upload = ground.complete()
    ground.execute("DELETE FROM tasks WHERE id = :id", id=upload)
    return upload


def _member_of_ended(ground: Installation) -> str:
    task, upload = ground.ended(), ground.open(DATA[:10])
    ground.execute("UPDATE uploads SET task_id = :task WHERE id = :id", task=task, id=upload)
    return upload


def _quarantine_unknown(ground: Installation) -> str:
    upload = ground.complete()
    ground.aside(upload).write_bytes(DATA)
    return f"quarantine/{upload}"


def _quarantine_half(ground: Installation) -> str:
    name = f".{new_id()}"
    ground.aside(name).write_bytes(DATA[:9])
    return f"quarantine/{name}"


def _quarantine_missing(ground: Installation) -> str:
    upload = ground.complete()
    ground.services.deletion.quarantine(upload)
    ground.aside(upload).unlink()
    return upload


def _no_files(ground: Installation) -> str:
    upload = ground.complete()
    ground.execute("DELETE FROM task_files WHERE task_id = :id", id=upload)
    ground.execute("DELETE FROM uploads WHERE id = :id", id=upload)
    ground.path(upload).unlink()
    return upload


def _group(ground: Installation) -> str:
    upload = ground.complete()
    ground.execute("UPDATE tasks SET gather_until = :now WHERE id = :id", now=NOW, id=upload)
    return upload


def _results_unknown(ground: Installation) -> str:
    task = ground.ended(has_poster=False)
    ground.result(task)
    ground.execute("UPDATE tasks SET has_results = false WHERE id = :id", id=task)
    return f"results/{task}"


def _results_of_nobody(ground: Installation) -> str:
    task = new_id()
    (ground.settings.data_dir / "results" / f".{task}").mkdir()
    return f"results/{task}"


def _results_missing(ground: Installation) -> str:
    task = ground.ended(has_poster=True, has_mp4=True)
    ground.result(task)
    return f"results/{task}/{ground.file_of(task)}"


def _work(ground: Installation) -> str:
    name = f"{ground.complete()}.1"
    (ground.settings.data_dir / "work" / name).mkdir()
    return f"work/{name}"


def _work_nonsense(ground: Installation) -> str:
    (ground.settings.data_dir / "work" / "something").touch()
    return "work/something"


def _fifo(ground: Installation) -> str:
    os.mkfifo(ground.settings.data_dir / "locks" / "dead.fifo")
    return "locks/dead.fifo"


def _unborn_fifo(ground: Installation) -> str:
    os.mkfifo(ground.settings.data_dir / "locks" / ".dead.fifo")
    return "locks/.dead.fifo"


def _node(ground: Installation) -> str:
    (ground.settings.data_dir / ".node-x").touch()
    return ".node-x"


def _unanswered(ground: Installation) -> str:
    task = new_id()
    ground.execute(
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


def _well(ground: Installation) -> None:
    """Everything that there may be in an installation that is well."""
    ground.open()
    ground.open(DATA[:100])
    ground.open(length=None)
    ground.complete()
    shown = ground.ended(has_poster=True)
    ground.result(shown)
    infected = ground.complete()
    ground.execute("UPDATE task_files SET scan = 'infected', status = 'error' WHERE upload_id = :id", id=infected)
    ground.services.deletion.quarantine(infected)
    dropped = ground.ended()
    ground.services.deletion.delete_bytes(dropped)
    removed = ground.open(DATA[:10])
    ground.services.deletion.remove(removed, UploadStatus.EXPIRED)
    working = ground.complete()
    ground.execute(
        "UPDATE tasks SET status = 'processing', worker = 'w', attempt = 1, lease_expires_at = :now WHERE id = :id",
        now=datetime.now(UTC).replace(tzinfo=None) + timedelta(minutes=1),
        id=working,
    )
    (ground.settings.data_dir / "work" / f"{working}.1").mkdir()


def test_nothing_wrong(ground: Installation) -> None:
    """An installation that is well has no finding, whatever its uploads and tasks are doing."""
    assert ground.found() == []
    _well(ground)
    assert ground.found() == []


@pytest.mark.parametrize(("kind", "make"), [(kind, make) for kind, makes in WRONG.items() for make in makes])
def test_each_kind(tmp_path: Path, kind: str, make: Callable[[Installation], str]) -> None:
    """Each thing that can be wrong is found, once, by its name, among much that is well."""
    ground = Installation(tmp_path / "data", f"sqlite:///{tmp_path / 'test.db'}")
    with ground.services:
        _well(ground)
        subject = make(ground)
        assert ground.found() == [(kind, subject)]


def test_all_kinds_at_once(ground: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both databases, and batches smaller than what there is to find: nothing is left out, nothing is told twice."""
    monkeypatch.setattr("server.maintenance.checker._BATCH", 2)
    assert set(MismatchKind) == set(WRONG) | ONLY_BY_HAND
    _well(ground)
    made = sorted((kind, make(ground)) for kind, makes in WRONG.items() for make in makes)
    assert sorted(ground.found()) == made


def test_what_is_held_is_no_finding(ground: Installation) -> None:
    """Whoever has the lock is in the middle of it: an upload that is being received or removed is not wrong."""
    makers = (_unknown, _missing, _unregistered, _unborn, _half_removed, _results_missing, _quarantine_missing)
    subjects = [make(ground).split("/") for make in makers]
    names = [parts[1] if parts[0] == "results" else parts[-1] for parts in subjects]
    assert len(ground.found()) == len(names)
    with Services.open(ground.settings) as others:
        held = [others.locks.try_hold(name) for name in names]
        assert all(lock.__enter__() for lock in held)
        assert ground.found() == []
        for lock in held:
            lock.__exit__(None, None, None)


def test_a_store_that_is_away(ground: Installation) -> None:
    """Without the folder of uploads nothing is concluded."""
    ground.complete()
    folder = ground.settings.data_dir / "uploads"
    folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(OSError):
        ground.services.checker.find_mismatches()


def test_it_changes_nothing(ground: Installation) -> None:
    """It only looks: files and rows are afterwards as they were."""
    for makes in WRONG.values():
        for make in makes:
            make(ground)

    def state() -> object:
        with ground.services.database.read() as session:
            rows = [session.execute(text(f"SELECT * FROM {table}")).all() for table in ("uploads", "tasks")]
        folder = ground.settings.data_dir
        return rows, {path: path.lstat().st_size for path in folder.rglob("*") if "test.db" not in path.name}

    before = state()
    ground.services.checker.find_mismatches()
    assert state() == before


def test_the_command(ground: Installation) -> None:
    """Exit code 0 and a sentence, or 1, a table and what to do; JSON for programs."""
    place = ["--data-dir", str(ground.settings.data_dir), "--database-url", ground.settings.database_url]
    ground.complete()
    well = CliRunner().invoke(main, ["check", *place])
    assert (well.exit_code, well.stdout) == (0, "Database and folders fit together.\n")
    assert CliRunner().invoke(main, ["check", "--json", *place]).stdout == "[]\n"
    unregistered, unknown = _unregistered(ground), _unknown(ground)
    told = CliRunner().invoke(main, ["check", *place])
    assert told.exit_code == 1
    assert unregistered in told.stdout
    assert unknown in told.stdout
    assert "run `videodock sweep`" in told.stdout
    assert "docs/retention.md" in told.stdout
    as_json = CliRunner().invoke(main, ["check", "--json", *place])
    assert as_json.exit_code == 1
    assert json.loads(as_json.stdout) == [
        {"kind": kind, "subject": subject, "text": kind.text, "is_swept": kind.is_swept}
        for kind, subject in (
            (MismatchKind.UPLOAD_UNREGISTERED, unregistered),
            (MismatchKind.UPLOAD_UNKNOWN, unknown),
        )
    ]
