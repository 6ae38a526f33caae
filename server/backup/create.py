"""Creating a backup.

Rule: nothing of the earlier backup in the folder is changed or removed before the new one is whole.
"""

import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy import Connection, text

from server import __version__
from server.backup import files, layout, rows
from server.backup.copy import Copier, sync_all
from server.backup.files import WantedFile
from server.backup.layout import BackupRefusedError, Manifest
from server.backup.manifest import Entry, FileList
from server.bootstrap import Services
from server.database import migration
from server.database.models import Upload
from server.database.session import make_engine
from server.errors import StartError
from server.lifecycle import UploadStatus
from server.messages import size as shown
from server.storage.pins import TREES, Pins, pinned, pinning

Progress = Callable[[int, int], None]
"""Called with the bytes copied so far, and with the bytes in all."""

# Files of uploads are pinned meanwhile. Other files that are removed while the snapshot is taken (results, what goes
# into quarantine) are gone from the next one. A file that is missing twice is missing.
_ROUNDS = 10
_PAUSE_SECONDS = 0.5
_ROOM_FOR_ROWS = 64 << 20


@dataclass(frozen=True)
class BackupResult:
    """A backup that was made; sizes are bytes. `missing` are files that rows refer to and that do not exist."""

    manifest: Manifest
    copied_files: int
    copied_bytes: int
    missing: list[str]


def create_backup(services: Services, folder: Path, progress: Progress) -> BackupResult:
    """Back up a database and its data folder, while a server works with them or not. Blocking.

    Raises `BackupRefusedError`, `StartError`, `OSError`.
    """
    if not services.store.is_local:
        raise BackupRefusedError(
            "The uploads are in a bucket, which `videodock backup` does not copy. Back up the database with its own "
            "tools, and the bucket with those of the object store."
        )
    data_dir = services.settings.data_dir
    here, there = data_dir.resolve(), folder.resolve()
    if here == there or here in there.parents or there in here.parents:
        raise BackupRefusedError(f"{folder} and the data folder {data_dir} lie in one another. Choose another folder.")
    layout.check(folder, services.node)
    layout.make_folder(folder)
    with layout.locked(folder), pinned(data_dir) as holds:
        if holds is None:
            raise BackupRefusedError("Another backup of this data folder runs; try again when it is done.")
        layout.claim(folder, services.node)
        return _Backup(services, folder, holds, progress).make()


class _Backup:
    def __init__(self, services: Services, folder: Path, holds: Pins, progress: Progress) -> None:
        self._services = services
        self._data_dir = services.settings.data_dir
        self._folder = folder
        self._holds = holds
        self._progress = progress
        self._syncs = services.settings.fsync != "never"
        self._earlier: FileList | None = None
        now = services.clock()
        self._place = folder / f"snapshot-{now:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}"
        self._taken_at = ""
        self._counts: dict[str, int] = {}

    def make(self) -> BackupResult:
        before = layout.read_manifest(self._folder)
        for path in layout.snapshots(self._folder):
            if before is None or path.name != before.snapshot:
                shutil.rmtree(path)  # left by an interrupted backup
        self._place.mkdir(mode=0o700)
        with ExitStack() as stack:
            if before is not None:
                self._earlier = FileList(self._folder / before.snapshot / layout.FILES)
                stack.callback(self._earlier.close)
            with closing(FileList(self._place / layout.FILES, writable=True)) as listed:
                missing = self._take_snapshot(listed)
                copied = self._copy(listed)
                files, size = listed.totals()
        manifest = self._manifest(files, size)
        if self._syncs:
            sync_all(self._folder)
        layout.write_manifest(self._folder, manifest)
        self._tidy(manifest)
        return BackupResult(manifest, *copied, missing)

    def _manifest(self, files: int, size: int) -> Manifest:
        return Manifest(
            snapshot=self._place.name,
            version=__version__,
            revision=migration.head(),
            node=self._services.node,
            taken_at=self._taken_at,
            files=files,
            bytes=size,
            counts=self._counts,
            digests={name: layout.digest_of(self._place / name) for name in (layout.DATABASE, layout.FILES)},
        )

    # The snapshot

    def _take_snapshot(self, listed: FileList) -> list[str]:
        """Copy the rows, and hold every file that they refer to; the paths of those that are missing."""
        before: set[str] = set()
        for left in reversed(range(_ROUNDS)):
            with pinning(self._data_dir), rows.snapshot(self._services.database.engine) as source:
                self._check_revision(source)
                self._taken_at = self._services.clock().isoformat(timespec="microseconds")
                listed.clear()
                missing, grown = self._pin(source, listed)
                if (missing == before and not grown) or not left:
                    self._write_rows(source)
                    return sorted(path for path in missing if not _is_join_source(source, path))
            before = missing
            time.sleep(_PAUSE_SECONDS)
        raise AssertionError("unreachable")

    def _check_revision(self, source: Connection) -> None:
        revision = source.scalar(text("SELECT version_num FROM alembic_version"))
        if revision != migration.head():
            raise StartError(f"The database is at {revision} and must be at {migration.head()} to be backed up.")

    def _pin(self, source: Connection, listed: FileList) -> tuple[set[str], bool]:
        """The missing files, and whether a folder was held whose row may have changed since the snapshot."""
        missing: set[str] = set()
        for one in files.uploads(source, self._services.node):
            missing |= self._pin_file(one, listed)
        grown = False
        for one in files.results(source, self._services.node):
            if one.path.endswith("/"):
                lacking, is_new = self._pin_folder(one.path, listed)
                missing |= lacking
                grown |= is_new
            else:
                missing |= self._pin_file(one, listed)
        return missing, grown

    def _pin_file(self, one: WantedFile, listed: FileList) -> set[str]:
        known = None if one.is_open else self._already_backed_up(one.path)
        if known is not None:
            listed.put(known)
            return set()
        found = self._holds.pin(one.path)
        if found is None:
            return {one.path} if one.is_required else set()
        size = found.st_size if one.limit is None else min(one.limit, found.st_size)
        listed.put(Entry(one.path, one.is_open, size, found.st_mtime_ns, None))
        expected = one.limit if one.length is None else one.length
        return {one.path} if expected is not None and size != expected else set()

    def _pin_folder(self, folder: str, listed: FileList) -> tuple[set[str], bool]:
        earlier = self._earlier.below(folder) if self._earlier else []
        if earlier and all(self._already_backed_up(entry.path) for entry in earlier):
            for entry in earlier:
                listed.put(entry)
            return set(), False
        is_new = not self._holds.place(folder).exists()
        names = list(_walk(self._data_dir / folder if is_new else self._holds.place(folder)))
        missing = set() if names else {folder}
        for name in names:
            missing |= self._pin_file(WantedFile(folder + name), listed)
        return missing, is_new and bool(names)

    def _already_backed_up(self, path: str) -> Entry | None:
        """The entry of a file that the earlier backup has already, unless its place has another file now."""
        entry = self._earlier.find(path) if self._earlier else None
        if entry is None or entry.is_open or _state(self._folder / path, entry) != entry.bytes:
            return None
        try:
            now = (self._data_dir / path).stat()
        except FileNotFoundError:
            return entry
        return entry if (now.st_size, now.st_mtime_ns) == (entry.bytes, entry.mtime_ns) else None

    def _write_rows(self, source: Connection) -> None:
        path = self._place / layout.DATABASE
        path.touch(mode=0o600)
        url = rows.sqlite_url(path)
        migration.upgrade(url)
        engine = make_engine(url, 1)
        try:
            with engine.connect().execution_options(videodock_write=True) as target:
                with target.begin():
                    self._counts = rows.copy(source, target)
                # One file, which can be read from a read-only disk.
                raw = target.connection.cursor()
                raw.execute("PRAGMA journal_mode=DELETE")
                raw.close()
        finally:
            engine.dispose()

    # The files

    def _copy(self, listed: FileList) -> tuple[int, int]:
        """Copy the held files; returns how many files and bytes that was."""
        for entry in listed.all(uncopied=True):
            target = self._target(entry)
            if not entry.is_open and _state(target, entry, exactly=True) == entry.bytes:
                # Left by an interrupted backup: it has its name, so it is whole.
                listed.put(replace(entry, sha256=layout.digest_of(target)))
                self._holds.release(entry.path)
        files, total = listed.totals(uncopied=True)
        free = shutil.disk_usage(self._folder).free
        if total + _ROOM_FOR_ROWS > free:
            raise BackupRefusedError(
                f"The backup needs {shown(total + _ROOM_FOR_ROWS)} and there is room for {shown(free)}."
            )
        done = 0

        def report(count: int) -> None:
            nonlocal done
            done += count
            self._progress(done, total)

        copier = Copier(self._folder, report, syncs=self._syncs)
        for entry in listed.all(uncopied=True):
            source = self._holds.place(entry.path)
            count, digest = copier.copy(source, self._target(entry), entry.bytes, entry.mtime_ns)
            if entry.is_open and (counted := self._counted(entry)) < count:
                copier.discard(self._target(entry))
                count, digest = copier.copy(source, self._target(entry), counted, entry.mtime_ns)
            listed.put(replace(entry, bytes=count, sha256=digest))
            self._holds.release(entry.path)
        copier.flush()
        return files, done

    def _counted(self, entry: Entry) -> int:
        """How many bytes of an open upload count now: since the snapshot, unchecked bytes may have replaced some that
        were taken back."""
        with self._services.database.read() as session:
            row = session.get(Upload, entry.path.rpartition("/")[2])
        if row is None or row.status is not UploadStatus.OPEN or row.is_final:
            return entry.bytes
        return row.received if row.checked_from is None else min(row.received, row.checked_from)

    def _target(self, entry: Entry) -> Path:
        return (self._place / layout.OPEN if entry.is_open else self._folder) / entry.path

    # Afterwards

    def _tidy(self, manifest: Manifest) -> None:
        """Remove what only earlier backups had. After an interruption, the next backup repeats it."""
        for path in layout.snapshots(self._folder):
            if path.name != manifest.snapshot:
                shutil.rmtree(path)
        with closing(FileList(self._place / layout.FILES)) as listed:
            for tree in TREES:
                for name in _walk(self._folder / tree):
                    entry = listed.find(f"{tree}/{name}")
                    if entry is None or entry.is_open:
                        (self._folder / tree / name).unlink()
                _remove_empty(self._folder / tree)


def _is_join_source(source: Connection, path: str) -> bool:
    tree, _, rest = path.partition("/")
    return tree == "uploads" and files.is_joining(source, rest.rpartition("/")[2])


def _state(path: Path, entry: Entry, *, exactly: bool = False) -> int | None:
    """The size of a file, if it can be the file of that entry."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return None if exactly and found.st_mtime_ns != entry.mtime_ns else found.st_size


def _walk(folder: Path) -> Iterator[str]:
    """Every file in a folder, relative to it."""
    for where, _, names in os.walk(folder):
        for name in names:
            yield str((Path(where) / name).relative_to(folder))


def _remove_empty(folder: Path) -> None:
    for where, _, _ in os.walk(folder, topdown=False):
        if not any(Path(where).iterdir()):
            Path(where).rmdir()
