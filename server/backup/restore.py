"""Restoring a backup into an empty data folder and an empty database.

Rule: the data folder bears a mark from the first byte until everything was compared, and does not serve meanwhile. An
interrupted restore is repeated: files that exist are checked and kept.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

from server.backup import layout, rows
from server.backup.copy import Copier, sync_all
from server.backup.layout import BackupRefusedError, DamagedError, Manifest, NoBackupError
from server.backup.manifest import Entry, FileList
from server.bootstrap import UNFINISHED
from server.database import migration
from server.database.session import make_engine, reason
from server.errors import StartError
from server.lifecycle import TaskStatus
from server.messages import size as shown
from server.settings import Settings
from server.storage.disk import DiskStore
from server.storage.pins import TREES

_BACKUP = "backup"
_ROOM_FOR_ROWS = 64 << 20


@dataclass(frozen=True)
class Restored:
    """What was restored. `skipped` are the paths of damaged files that were left out."""

    manifest: Manifest
    skipped: list[str]


def restore_backup(
    settings: Settings, folder: Path, progress: Callable[[int, int], None], *, skip_damaged: bool = False
) -> Restored:
    """Restore a backup. Blocking.

    Raises `NoBackupError`, `BackupRefusedError`, `DamagedError`, `StartError`, `OSError`.
    """
    if settings.store:
        raise BackupRefusedError("A backup is restored into files: leave the setting `store` empty for it.")
    if not folder.is_dir():
        raise NoBackupError(f"There is no folder {folder}.")
    with layout.locked(folder, shared=True):
        manifest = layout.read_manifest(folder)
        if manifest is None:
            raise NoBackupError(f"There is no whole backup in {folder}: it has no {layout.MANIFEST}.")
        place = folder / manifest.snapshot
        _check_snapshot(place, manifest)
        if not migration.knows(manifest.revision):
            raise BackupRefusedError(
                f"The backup is at revision {manifest.revision}, which this version of Videodock does not know: "
                "restore it with the version that made it, or a newer one."
            )
        if not _goes_on(settings, manifest):
            _check_database(settings)
        _check_room(settings, manifest)
        with _marked(settings.data_dir, manifest) as mark:
            skipped = _restore_files(settings, folder, manifest, progress)
            if skipped and not skip_damaged:
                raise DamagedError(skipped)
            _restore_rows(settings, place, manifest, mark)
            layout.write_private(settings.data_dir / "node", manifest.node)
            DiskStore(settings.data_dir / "uploads").claim()
            if settings.fsync != "never":
                sync_all(settings.data_dir)
        shutil.rmtree(mark)
    return Restored(manifest, skipped)


def _check_snapshot(place: Path, manifest: Manifest) -> None:
    for name, digest in manifest.digests.items():
        if not (place / name).is_file() or layout.digest_of(place / name) != digest:
            raise BackupRefusedError(f"The backup is damaged: {place / name} is not what it was. Take another backup.")


def _goes_on(settings: Settings, manifest: Manifest) -> bool:
    """Whether this restore was begun before. Raises `BackupRefusedError` unless it was, or the data folder is empty."""
    data_dir = settings.data_dir
    mark = data_dir / UNFINISHED
    if mark.exists():
        snapshot = (mark / _BACKUP).read_text() if (mark / _BACKUP).exists() else ""
        if snapshot not in ("", manifest.snapshot):
            raise BackupRefusedError(
                f"{data_dir} has the unfinished restore of another backup. Empty it, and the database."
            )
        return True
    if not data_dir.exists():
        return False
    file = sqlite_file(settings.sqlalchemy_url)
    mine = set() if file is None else {file, *(file.with_name(file.name + end) for end in ("-wal", "-shm"))}
    others = sorted(path.name for path in data_dir.iterdir() if path not in mine and path.name != "lost+found")
    if others:
        raise BackupRefusedError(
            f"The data folder {data_dir} is not empty: it has {', '.join(others[:3])}. Name an empty one with "
            "--data-dir, or move what is there away."
        )
    return False


def _check_database(settings: Settings) -> None:
    file = sqlite_file(settings.sqlalchemy_url)
    if file is not None and not file.exists():
        return
    with _engine(settings.sqlalchemy_url) as engine, engine.connect() as connection:
        if not rows.is_empty(connection):
            raise BackupRefusedError("The database is not empty. Name an empty one with --database-url.")


def _check_room(settings: Settings, manifest: Manifest) -> None:
    layout.make_folder(settings.data_dir)
    there = sum(path.stat().st_size for tree in TREES for path in (settings.data_dir / tree).rglob("*"))
    needed = manifest.bytes + _ROOM_FOR_ROWS - there
    free = shutil.disk_usage(settings.data_dir).free
    if needed > free:
        raise BackupRefusedError(f"The restore needs {shown(needed)} and there is room for {shown(free)}.")


@contextmanager
def _marked(data_dir: Path, manifest: Manifest) -> Iterator[Path]:
    """The mark of a folder that this process restores, and no other process does."""
    mark = data_dir / UNFINISHED
    mark.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(mark / _BACKUP, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupRefusedError(f"Another restore into {data_dir} runs.") from None
        layout.write_private(mark / _BACKUP, manifest.snapshot)
        yield mark
    finally:
        os.close(descriptor)


# Files


def _restore_files(
    settings: Settings, folder: Path, manifest: Manifest, progress: Callable[[int, int], None]
) -> list[str]:
    """Copy every file; the paths of those that are damaged and were left out."""
    data_dir, done, damaged = settings.data_dir, 0, []

    def report(count: int) -> None:
        nonlocal done
        done += count
        progress(done, manifest.bytes)

    copier = Copier(data_dir, report, syncs=settings.fsync != "never")
    with closing(FileList(folder / manifest.snapshot / layout.FILES)) as listed:
        for entry in listed.all():
            source = (folder / manifest.snapshot / layout.OPEN if entry.is_open else folder) / entry.path
            if not _restore_file(copier, source, _place(data_dir, entry), entry, report):
                damaged.append(entry.path)
        copier.flush()
        for entry in listed.all():
            if entry.path not in damaged and _place(data_dir, entry).stat().st_size != entry.bytes:
                raise StartError(f"{_place(data_dir, entry)} is not as it was written. Is its disk sound?")
    return damaged


def _restore_file(copier: Copier, source: Path, target: Path, entry: Entry, report: Callable[[int], None]) -> bool:
    if target.is_file() and target.stat().st_size == entry.bytes and layout.digest_of(target) == entry.sha256:
        report(entry.bytes)
        return True  # it was restored before the interruption
    try:
        found = copier.copy(source, target, entry.bytes + 1, entry.mtime_ns)
    except FileNotFoundError:
        return False
    if found != (entry.bytes, entry.sha256):
        copier.discard(target)
        return False
    return True


def _place(data_dir: Path, entry: Entry) -> Path:
    parts = PurePosixPath(entry.path).parts
    if parts[0] not in TREES or ".." in parts:
        raise BackupRefusedError("The backup is damaged: it names files outside of a data folder.")
    return data_dir / entry.path


# Rows


def _restore_rows(settings: Settings, place: Path, manifest: Manifest, mark: Path) -> None:
    """Fill the database, and compare all rows with the backup."""
    work = mark / layout.DATABASE
    for path in mark.glob(layout.DATABASE + "*"):
        path.unlink()
    work.touch(mode=0o600)
    shutil.copyfile(place / layout.DATABASE, work)
    migration.upgrade(rows.sqlite_url(work))
    file = sqlite_file(settings.sqlalchemy_url)
    if file is not None:
        file.touch(mode=0o600)
    migration.upgrade(settings.sqlalchemy_url)
    with _engine(rows.sqlite_url(work)) as ours, _engine(settings.sqlalchemy_url) as theirs:
        with _writing(ours) as source:
            _release_claims(source, manifest)
        with ours.connect() as source, source.begin():
            with _writing(theirs) as target:
                is_new = rows.is_empty(target)
                if is_new:
                    rows.copy(source, target)
            with theirs.connect() as target, target.begin():
                if rows.digests(source) != rows.digests(target):
                    if is_new:
                        raise StartError("The database does not have what was written into it. Is its disk sound?")
                    raise BackupRefusedError("The database is not empty. Name an empty one with --database-url.")


def _release_claims(source: Connection, manifest: Manifest) -> None:
    """No worker runs after a restore: end all leases as if the workers had given their tasks back."""
    over = manifest.taken_at.replace("T", " ").partition("+")[0]
    source.execute(
        text("UPDATE tasks SET worker = NULL, lease_expires_at = :over WHERE status = :status AND worker IS NOT NULL"),
        {"over": over, "status": TaskStatus.PROCESSING.value},
    )


@contextmanager
def _engine(url: str) -> Iterator[Engine]:
    engine = make_engine(url, 1)
    try:
        yield engine
    except OperationalError as error:
        raise StartError(f"The database cannot be used: {reason(error)}") from None
    finally:
        engine.dispose()


@contextmanager
def _writing(engine: Engine) -> Iterator[Connection]:
    with engine.connect().execution_options(videodock_write=True) as connection, connection.begin():
        yield connection


def sqlite_file(url: str) -> Path | None:
    """The file of an SQLite database; None for another one."""
    file = url.removeprefix("sqlite:///")
    return None if file == url else Path(file.partition("?")[0])
