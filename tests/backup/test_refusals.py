"""What backup and restore refuse, and that nothing is changed then."""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from server import backup
from server.backup import rows as copied
from server.backup.copy import Copier
from server.bootstrap import Services
from server.database import migration
from server.database.session import make_engine
from server.errors import StartError
from server.settings import Settings
from server.storage.pins import pinned
from tests.backup.commands import command, files, sqlite_url
from tests.backup.test_interrupted import QUIET, make, restored, upload
from tests.harness.http import LiveServer
from tests.harness.rows import execute, query


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `data` and its `backup`."""
    base = tmp_path_factory.mktemp("source")
    with LiveServer(base / "data", fsync="never") as live:
        for seed in range(2):
            upload(live, 20_000, seed)
    make(base / "data", base / "backup")
    return base


@pytest.fixture
def folder(source: Path, tmp_path: Path) -> Path:
    """A copy of the backup that may be changed."""
    return Path(shutil.copytree(source / "backup", tmp_path / "backup"))


JSON_TEXT = """'{"a":  1}'"""  # two spaces: whoever reads and writes it would take one away


def put(url: str, table: str, values: Mapping[str, str]) -> None:
    execute(url, f"INSERT INTO {table} ({', '.join(values)}) VALUES ({', '.join(values.values())})".replace(":", "\\:"))


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")} if folder.exists() else set()


def test_a_backup_into_an_unsuitable_folder_is_refused(source: Path, tmp_path: Path) -> None:
    """Inside the data folder, around it, somebody's folder, another server's backups: refused, nothing is written."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter").write_text("dear")
    with LiveServer(tmp_path / "other"):
        pass
    make(tmp_path / "other", tmp_path / "backup")
    for folder, why in (
        (source / "data" / "backup", "lie in one another"),
        (source, "lie in one another"),
        (tmp_path / "mine", "neither empty"),
        (tmp_path / "backup", "another data folder"),
    ):
        before = names(folder)
        with pytest.raises(backup.BackupRefusedError, match=why):
            make(source / "data", folder)
        assert names(folder) == before


def test_a_second_backup_at_the_same_time_is_refused(source: Path, folder: Path, tmp_path: Path) -> None:
    """One backup of a data folder at a time, and one user of a folder of backups."""
    with pinned(source / "data"), pytest.raises(backup.BackupRefusedError, match="data folder runs"):
        make(source / "data", tmp_path / "new")
    with backup.layout.locked(folder), pytest.raises(backup.BackupRefusedError, match="works with"):
        make(source / "data", folder)
    with backup.layout.locked(folder), pytest.raises(backup.BackupRefusedError, match="works with"):
        restored(folder, tmp_path / "restored")


def test_a_restore_over_existing_data_is_refused(source: Path, database_url: str, tmp_path: Path) -> None:
    """A data folder or a database with something in it is refused, and stays as it was."""
    full = tmp_path / "full"
    full.mkdir()
    (full / "letter").write_text("dear")
    with pytest.raises(backup.BackupRefusedError, match="letter"):
        restored(source / "backup", full, database_url)
    assert names(full) == {"letter"}
    execute(database_url, "CREATE TABLE letters (text TEXT)")
    execute(database_url, "INSERT INTO letters VALUES ('dear')")
    with pytest.raises(backup.BackupRefusedError, match="database is not empty"):
        restored(source / "backup", tmp_path / "new", database_url)
    assert not (tmp_path / "new").exists()
    assert query(database_url, "SELECT * FROM letters") == [{"text": "dear"}]


def test_a_restore_into_a_migrated_empty_database_works(source: Path, database_url: str, tmp_path: Path) -> None:
    """Tables without rows are an empty database."""
    migration.upgrade(database_url)
    assert restored(source / "backup", tmp_path / "new", database_url).files


@pytest.mark.parametrize("whose", ["revision", "format"])
def test_a_backup_of_a_newer_version_is_refused(whose: str, folder: Path, tmp_path: Path) -> None:
    """Refused with the version to use, before anything is written."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest[whose] = {"revision": "9999", "format": 2}[whose]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(backup.BackupRefusedError, match="version"):
        restored(folder, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}'])
def test_an_invalid_manifest_is_refused(text: str, folder: Path, tmp_path: Path) -> None:
    """Refused, without a traceback."""
    (folder / "manifest.json").write_text(text)
    with pytest.raises(backup.BackupRefusedError, match="manifest"):
        restored(folder, tmp_path / "new")


def test_a_backup_with_a_damaged_database_is_refused(folder: Path, tmp_path: Path) -> None:
    """A byte of the database in the backup that is another: refused before anything is written."""
    (path,) = folder.glob("snapshot-*/videodock.db")
    flip(path)
    with pytest.raises(backup.BackupRefusedError, match="damaged"):
        restored(folder, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    os.truncate(path, 5)


def add(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


@pytest.mark.parametrize("how", [flip, cut, add, Path.unlink])
def test_a_restore_stops_at_a_damaged_file_unless_it_may_skip_it(
    how: Callable[[Path], None], folder: Path, source: Path, tmp_path: Path
) -> None:
    """A file that is not what it was stops the restore with exit 5 and its name; --skip-damaged goes without it."""
    paths = [path for path in (folder / "uploads").rglob("*") if path.is_file()]
    how(paths[0])
    data_dir = tmp_path / "new"
    stopped = command("restore", str(folder), data_dir=data_dir)
    assert stopped.returncode == 5, stopped
    assert str(paths[0].relative_to(folder)) in stopped.stderr
    assert "--skip-damaged" in stopped.stderr
    refused = command("sweep", data_dir=data_dir)
    assert (refused.returncode, "half restored" in refused.stderr) == (1, True)
    done = command("restore", str(folder), "--skip-damaged", "--json", data_dir=data_dir)
    assert done.returncode == 5, done
    assert json.loads(done.stdout)["skipped"] == [str(paths[0].relative_to(folder))]
    left = files(source / "data")
    del left[str(paths[0].relative_to(folder))]
    assert files(data_dir) == left


def test_each_failure_has_its_exit_code_and_a_sentence(source: Path, folder: Path, tmp_path: Path) -> None:
    """Each is a sentence on standard error, without a traceback."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    away = "postgresql://nobody@127.0.0.1:1/none"
    for code, done in (
        (1, command("backup", str(folder), data_dir=tmp_path / "none")),
        (1, command("backup", str(folder), data_dir=source / "data", database_url=away)),
        (1, command("restore", str(folder), data_dir=tmp_path / "new", database_url=away)),
        (3, command("restore", str(tmp_path / "none"), data_dir=tmp_path / "new")),
        (4, command("restore", str(folder), data_dir=tmp_path / "full")),
        (2, command("restore", data_dir=tmp_path / "full")),
    ):
        assert done.returncode == code, (code, done)
        assert done.stdout == ""
        assert done.stderr
        assert "Traceback" not in done.stderr


def test_a_backup_names_files_that_are_missing(source: Path, tmp_path: Path) -> None:
    """Bytes that the database tells of, and that are not there: the backup is made, and exit 5 names them."""
    data_dir = tmp_path / "data"
    shutil.copytree(source / "data", data_dir, ignore=shutil.ignore_patterns("*.fifo"))
    first, second = sorted((data_dir / "uploads").glob("??/*"))
    first.unlink()
    os.truncate(second, 100)
    done = command("backup", str(tmp_path / "backup"), "--json", data_dir=data_dir)
    assert done.returncode == 5, done
    lost = [str(path.relative_to(data_dir)) for path in (first, second)]
    assert json.loads(done.stdout)["missing"] == lost
    assert files(tmp_path / "backup")[lost[1]].size == 100
    assert restored(tmp_path / "backup", tmp_path / "new").files == files(data_dir)


def test_a_disk_that_is_too_small_is_refused_beforehand(
    source: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused beforehand, with both sizes."""
    small = shutil.disk_usage(tmp_path)._replace(free=1 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: small)
    with pytest.raises(backup.BackupRefusedError, match="room for 1 MiB"):
        make(source / "data", tmp_path / "new")
    with pytest.raises(backup.BackupRefusedError, match="room for 1 MiB"):
        restored(folder, tmp_path / "restored")


def test_a_restore_writes_nothing_outside_the_data_folder(folder: Path, tmp_path: Path) -> None:
    """A backup cannot write outside of the data folder, whatever its list says."""
    (path,) = folder.glob("snapshot-*/files.db")
    execute(
        f"sqlite:///{path}", "UPDATE files SET path = 'uploads/../../evil' WHERE path = (SELECT min(path) FROM files)"
    )
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["digests"]["files.db"] = backup.layout.digest_of(path)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(backup.BackupRefusedError, match="outside"):
        restored(folder, tmp_path / "new")
    assert not (tmp_path / "evil").exists()


@pytest.mark.sampled(1)
def test_rows_are_copied_unchanged_between_databases(database_url: str, tmp_path: Path) -> None:
    """NULL and JSON's null, odd names and large numbers, and the number of the next event: there and back the same."""
    migration.upgrade(database_url)
    when = "'2026-01-01 00:00:00.123456'"
    times = {"created_at": when, "updated_at": when}
    numbers = dict.fromkeys(("progress", "current_file", "attempt", "failures"), "0") | {"file_count": "9"}
    words = {"id": "'t'", "owner": "'Ä\"%'", "node": "'n'", "status": "'error'", "partial": "'1'"}
    put(database_url, "tasks", words | numbers | times | {"error_params": "'null'", "waiting_params": JSON_TEXT})
    event = {"task_id": "'t'", "owner": "'o'", "at": when, "type": "'x'", "attempt": "0"}
    for data in ("'[1]'", "NULL", "'[1]'"):
        put(database_url, "task_events", event | {"data": data})
    execute(database_url, "DELETE FROM task_events WHERE id = 3")
    copy = f"sqlite:///{tmp_path / 'copy.db'}"
    migration.upgrade(copy)
    one, two = make_engine(database_url, 1), make_engine(copy, 1)
    try:
        with copied.snapshot(one) as source, two.begin() as target:
            copied.copy(source, target)
        with one.connect() as source, two.connect() as target:
            assert copied.digests(source) == copied.digests(target)
        put(copy, "task_events", event)
        assert [row["id"] for row in query(copy, "SELECT id FROM task_events ORDER BY id")] == [1, 2, 4]
        found = query(copy, "SELECT error_params, waiting_params, error_code IS NULL AS empty FROM tasks")
        assert found == [{"error_params": "null", "waiting_params": JSON_TEXT[1:-1], "empty": 1}]
    finally:
        one.dispose()
        two.dispose()


def test_a_full_disk_ends_a_backup_and_the_next_one_goes_on(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the system says becomes a sentence, and the next backup goes on."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "x")

    with monkeypatch.context() as patched:
        patched.setattr(Copier, "flush", full)
        with pytest.raises(OSError, match="No space"):
            make(source / "data", tmp_path / "backup")
    assert not any((source / "data" / "uploads").glob(".backup"))
    make(source / "data", tmp_path / "backup")
    assert restored(tmp_path / "backup", tmp_path / "new").files == files(source / "data")


def test_a_database_at_another_revision_is_not_backed_up(source: Path, tmp_path: Path) -> None:
    """Whoever did not migrate is told to."""
    data_dir = tmp_path / "data"
    shutil.copytree(source / "data", data_dir, ignore=shutil.ignore_patterns("*.fifo"))
    migration.downgrade(sqlite_url(data_dir), "0004")
    with pytest.raises(StartError, match="must be at"), Services.open(Settings(data_dir=data_dir)) as services:
        backup.create_backup(services, tmp_path / "backup", QUIET)
