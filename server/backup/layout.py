"""The layout of a backup's folder.

    videodock-backup            says that the folder is ours, and whose backups it takes
    manifest.json               names the snapshot; a folder without one is not a backup
    snapshot-<id>/videodock.db  the rows, as SQLite, whatever the server's database is
    snapshot-<id>/files.db      every file with its size and SHA-256
    snapshot-<id>/open/         what open uploads had at that time
    uploads/ results/ quarantine/  files that do not change any more, shared with the next backup into this folder

Rule: no absolute path and no secret is written into a backup; folders are 0700, files 0600.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from server.storage.fsync import sync

FORMAT = 1
OURS = "videodock-backup"
MANIFEST = "manifest.json"
DATABASE = "videodock.db"
FILES = "files.db"
OPEN = "open"
_LOCK = ".lock"
_SNAPSHOT = re.compile(r"snapshot-[0-9TZ]+-[0-9a-f]{8}")


class BackupRefusedError(Exception):
    """It is not possible in the current state; the sentence says why. Nothing was changed."""


class NoBackupError(Exception):
    """That folder has no whole backup."""


class DamagedError(Exception):
    """Files of a backup have changed."""

    def __init__(self, paths: list[str]) -> None:
        self.paths = paths
        super().__init__(
            f"The backup is damaged: {len(paths)} of its files are not what they were, {paths[0]} among them. "
            "The restore is not finished. Repeat it with --skip-damaged to go without them."
        )


@dataclass(frozen=True)
class Manifest:
    """The facts of a backup. `bytes` are those of all its files, `counts` rows by table."""

    snapshot: str
    version: str
    revision: str
    node: str
    taken_at: str
    files: int
    bytes: int
    counts: dict[str, int]
    digests: dict[str, str]
    format: int = FORMAT


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest; None when there is no whole backup.

    Raises `BackupRefusedError` for one that cannot be parsed.
    """
    try:
        content = json.loads((folder / MANIFEST).read_text())
    except FileNotFoundError:
        return None
    except ValueError:
        raise BackupRefusedError(f"{folder / MANIFEST} is damaged: it is no JSON.") from None
    if not isinstance(content, dict) or not isinstance(content.get("format"), int):
        raise BackupRefusedError(f"{folder / MANIFEST} is no manifest of a backup.")
    if content["format"] > FORMAT:
        raise BackupRefusedError("The backup was made by a newer version of Videodock; restore it with that one.")
    try:
        found = Manifest(**content)
    except TypeError:
        raise BackupRefusedError(f"{folder / MANIFEST} is no manifest of a backup.") from None
    if not _SNAPSHOT.fullmatch(found.snapshot):
        raise BackupRefusedError(f"{folder / MANIFEST} is no manifest of a backup.")
    return found


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Make this the backup of the folder: all files that it names must be on the disk already."""
    unborn = folder / f".{MANIFEST}"
    write_private(unborn, json.dumps(asdict(manifest), indent=2) + "\n")
    unborn.rename(folder / MANIFEST)
    sync(folder)


def write_private(path: Path, text: str) -> None:
    """Write a small file that only its owner may read, and sync it."""
    with open(path, "w", opener=private) as file:
        file.write(text)
    sync(path)


def private(path: str, flags: int) -> int:
    """An opener whose files only their owner may read."""
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def snapshots(folder: Path) -> list[Path]:
    """Every snapshot in the folder, including unfinished ones."""
    return [path for path in folder.iterdir() if _SNAPSHOT.fullmatch(path.name)]


def make_folder(folder: Path) -> None:
    """Create the missing folders of a path; only their owner may enter them."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def check(folder: Path, node: str) -> None:
    """Raise `BackupRefusedError` unless the folder may have backups of the data folder `node`."""
    mark = folder / OURS
    if mark.exists():
        if mark.read_text().strip() != node:
            raise BackupRefusedError(f"{folder} has backups of another data folder. Choose another folder.")
    elif folder.exists() and not is_empty(folder, but=_LOCK):
        raise BackupRefusedError(f"{folder} is neither empty nor a folder of backups. Choose another folder.")


def is_empty(folder: Path, *, but: str) -> bool:
    """Whether a folder is empty, except for `lost+found` of a file system of its own."""
    return all(path.name in (but, "lost+found") for path in folder.iterdir())


def claim(folder: Path, node: str) -> None:
    """Prepare the folder for backups of the data folder `node`. Raises `BackupRefusedError` when it has another's."""
    check(folder, node)
    if not (folder / OURS).exists():
        write_private(folder / OURS, node + "\n")
        sync(folder, folder.parent)


@contextlib.contextmanager
def locked(folder: Path, *, shared: bool = False) -> Iterator[None]:
    """Keep other commands from writing into the folder. Raises `BackupRefusedError` when one is working with it."""
    try:
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        if not shared:
            raise
        yield  # the disk of the backup is read-only, so no other process writes
        return
    try:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupRefusedError(
                f"Another backup or restore works with {folder}; try again when it is done."
            ) from None
        yield
    finally:
        os.close(descriptor)


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
