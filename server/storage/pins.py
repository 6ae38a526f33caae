"""Files of a data folder that a backup still needs: each has a second name, so that a removal loses no bytes.

Rule: a hold is a hard link below `.backup` of the file's own tree, so it costs no bytes and no time, and does not
hinder code that removes, renames or quarantines the file. There is one backup of a data folder at a time; the holds of
a dead one are released by the next sweep or backup.

Between a backup's snapshot of the rows and its last hold, a file that the snapshot refers to may be removed. So the
backup pins the uploads for that time: a removal reads the pin after its row is committed, leaves the file where it is,
and a sweep removes it. (A removal that found no pin is in the snapshot, since the pin comes before the snapshot.)
"""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

TREES = ("uploads", "results", "quarantine")
"""The folders whose files can be held. Each may be a disk of its own."""

FOLDER = ".backup"
_LOCK = ".backup"
_PIN = ".snapshot"


class Pins:
    """The holds of one backup. Paths are relative to the data folder and begin with one of `TREES`."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir

    def pin(self, path: str) -> os.stat_result | None:
        """Hold a file; None if it does not exist. Idempotent: an existing hold keeps the file that it has."""
        place = self.place(path)
        try:
            try:
                os.link(self._data_dir / path, place)
            except FileNotFoundError:
                if not (self._data_dir / path).exists():
                    return place.stat() if place.exists() else None
                place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                os.link(self._data_dir / path, place)
        except FileExistsError:
            pass
        except FileNotFoundError:
            return None  # it was removed in between
        return place.stat()

    def place(self, path: str) -> Path:
        """The path of the hold of a file."""
        tree, _, rest = path.partition("/")
        return self._data_dir / tree / FOLDER / rest

    def release(self, path: str) -> None:
        """Release a file: its bytes are deleted if it has no other name left."""
        self.place(path).unlink(missing_ok=True)


@contextlib.contextmanager
def pinned(data_dir: Path) -> Iterator[Pins | None]:
    """The holds of a backup, which all end with it; None when another backup of this data folder runs."""
    with _alone(data_dir) as alone:
        if not alone:
            yield None
            return
        _release_all(data_dir)
        try:
            yield Pins(data_dir)
        finally:
            _release_all(data_dir)


@contextlib.contextmanager
def pinning(data_dir: Path) -> Iterator[None]:
    """Keep the files of uploads where they are: removals are postponed. Ends with its process. Blocking."""
    descriptor = os.open(data_dir / "locks" / _PIN, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)  # and with it the lock


def is_pinned(data_dir: Path) -> bool:
    """Whether a backup needs the files of uploads to stay for now. Blocking."""
    try:
        # As text: each removal asks, and joining paths takes longer than the system call.
        descriptor = os.open(f"{data_dir}/locks/{_PIN}", os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, PermissionError):  # there was no backup, or none that ran as the server's user
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def clean(data_dir: Path) -> None:
    """Release the holds of a dead backup. Blocking."""
    if any((data_dir / tree / FOLDER).exists() for tree in TREES):
        # PermissionError: the holds of a backup that did not run as the server's user.
        with contextlib.suppress(PermissionError), _alone(data_dir) as alone:
            if alone:
                _release_all(data_dir)


@contextlib.contextmanager
def _alone(data_dir: Path) -> Iterator[bool]:
    path = data_dir / "locks" / _LOCK
    path.parent.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)  # and with it the lock


def _release_all(data_dir: Path) -> None:
    for tree in TREES:
        shutil.rmtree(data_dir / tree / FOLDER, ignore_errors=True)
