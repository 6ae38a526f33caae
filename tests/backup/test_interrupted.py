"""Killed anywhere: the earlier backup stays whole, a half restored folder does not serve, and the next try succeeds."""

import shutil
import signal
from pathlib import Path
from typing import NamedTuple

import pytest

from server import backup
from server.backup import layout
from server.bootstrap import Services
from server.errors import StartError
from server.settings import Settings
from tests.backup.commands import File, Rows, check_modes, command, files, rows, sqlite_url
from tests.harness.http import LiveServer
from tests.tus.client import VERSION, create, filled, patch, target, video

pytestmark = pytest.mark.turns(2)  # moments of a kill

QUIET = lambda _done, _total: None  # noqa: E731

BACKUP_POINTS = (
    "hold.after:2",
    "rows.before:1",
    "rows.after:1",
    "copy.after:1",
    "flush.before:1",
    "file.rename.after:1",
    "flush.after:1",
    "manifest.before:1",
    "manifest.after:1",
    "file.unlink.after:5",
    "tidy.after:1",
)
RESTORE_POINTS = (
    "restore.files.before:1",
    "copy.after:2",
    "file.rename.after:2",
    "rows.before:1",
    "rows.after:1",
    "restore.rows.after:1",
)


class State(NamedTuple):
    """All that is compared."""

    rows: Rows
    files: dict[str, File]

    @classmethod
    def of(cls, data_dir: Path, url: str = "") -> "State":
        """What there is now."""
        return cls(rows(url or sqlite_url(data_dir)), files(data_dir))


class Prepared(NamedTuple):
    """A data folder that has changed since its backup, and both states."""

    data_dir: Path
    folder: Path
    first: State
    second: State


def make(data_dir: Path, folder: Path) -> backup.BackupResult:
    """A backup in this process."""
    with Services.open(Settings(data_dir=data_dir, fsync="never")) as services:
        return backup.create_backup(services, folder, QUIET)


def restored(folder: Path, data_dir: Path, url: str = "") -> State:
    """A restore in this process."""
    backup.restore_backup(Settings(data_dir=data_dir, database_url=url, fsync="never"), folder, QUIET)
    check_modes(data_dir)
    return State.of(data_dir, url)


def upload(live: LiveServer, size: int, seed: int) -> str:
    """A complete upload."""
    made = create(live, size)
    assert patch(live, made, 0, video(size, seed)).status == 204
    return made


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Uploads, a backup, and changes: some more, one removed, an open one that goes on."""
    base = tmp_path_factory.mktemp("prepared")
    live = LiveServer(base / "data", fsync="never")
    with live:
        kept = [upload(live, 40_000, seed) for seed in range(3)]
        going, data = filled(live, 90_000, 30_000)
    first = State.of(live.data_dir)
    make(live.data_dir, base / "backup")
    with live:
        for seed in range(3, 6):
            upload(live, 50_000, seed)
        assert live.ask("POST", f"/api/task/cancel/{kept[0]}", body=b"").status == 200
        assert live.ask("DELETE", target(kept[0]), VERSION).status == 204
        assert patch(live, going, 30_000, data[30_000:60_000]).status == 204
        live.wait_until_received(going, 60_000)
    return Prepared(live.data_dir, base / "backup", first, State.of(live.data_dir))


def die(point: str, *arguments: str, data_dir: Path, url: str = "") -> None:
    """The command, killed at that point."""
    done = command(
        *arguments, data_dir=data_dir, database_url=url, main="tests.backup.dying:main", environment={"FAULT": point}
    )
    assert done.returncode == -signal.SIGKILL, (point, done.returncode, done.stderr)


@pytest.mark.sampled(4)
@pytest.mark.parametrize("point", BACKUP_POINTS)
def test_a_killed_backup_leaves_the_earlier_or_the_new_one_whole(
    point: str, prepared: Prepared, tmp_path: Path
) -> None:
    """What is in the folder is the earlier backup or the new one, whole; the next backup brings it up to date, leaves
    nothing of the dead one, and neither does a sweep of the server."""
    data_dir, folder = tmp_path / "data", tmp_path / "backup"
    shutil.copytree(prepared.data_dir, data_dir, copy_function=shutil.copy2, ignore=shutil.ignore_patterns("*.fifo"))
    shutil.copytree(prepared.folder, folder)
    die(point, "backup", str(folder), data_dir=data_dir)
    found = restored(folder, tmp_path / "one")
    is_new = point.startswith(("manifest.after", "tidy", "file.unlink"))
    assert found == (prepared.second if is_new else prepared.first)

    with Services.open(Settings(data_dir=data_dir, fsync="never")) as services:
        services.sweep()
    assert files(data_dir) == prepared.second.files, "a hold is left"
    made = make(data_dir, folder)
    assert restored(folder, tmp_path / "two") == State.of(data_dir)
    mine = {path for path in files(folder) if path.partition("/")[0] in ("uploads", "results", "quarantine")}
    whole = {
        path for path, file in prepared.second.files.items() if file.size != 60_000 and not path.endswith(".videodock")
    }
    assert mine == whole
    assert [path.name for path in layout.snapshots(folder)] == [made.manifest.snapshot]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("point", ["claim.after:1", "rows.after:1", "copy.after:1", "manifest.before:1"])
def test_a_killed_first_backup_cannot_be_restored(point: str, prepared: Prepared, tmp_path: Path) -> None:
    """There is no whole backup, and restore says so; the next one in the same folder is one."""
    data_dir, folder = tmp_path / "data", tmp_path / "backup"
    shutil.copytree(prepared.data_dir, data_dir, copy_function=shutil.copy2, ignore=shutil.ignore_patterns("*.fifo"))
    die(point, "backup", str(folder), data_dir=data_dir)
    with pytest.raises(backup.NoBackupError, match="no whole backup"):
        restored(folder, tmp_path / "one")
    assert not (tmp_path / "one").exists()
    make(data_dir, folder)
    assert restored(folder, tmp_path / "one") == prepared.second


@pytest.mark.sampled(5)
@pytest.mark.parametrize("point", RESTORE_POINTS)
def test_a_killed_restore_is_completed_by_the_same_command(
    point: str, prepared: Prepared, database_url: str, tmp_path: Path
) -> None:
    """The data folder does not serve; the same command brings it to its end, and no other backup does."""
    data_dir = tmp_path / "restored"
    die(point, "restore", str(prepared.folder), data_dir=data_dir, url=database_url)
    with pytest.raises(StartError, match="half restored"):
        Services.open(Settings(data_dir=data_dir, database_url=database_url, fsync="never"))
    other = tmp_path / "other"
    shutil.copytree(prepared.folder, other)
    make(prepared.data_dir, other)
    if (data_dir / ".restore" / "backup").read_text():
        with pytest.raises(backup.BackupRefusedError, match="another backup"):
            restored(other, data_dir, database_url)
    assert restored(prepared.folder, data_dir, database_url) == prepared.first
    assert not (data_dir / ".restore").exists()
    Services.open(Settings(data_dir=data_dir, database_url=database_url, fsync="never")).close()
