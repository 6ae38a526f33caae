"""Posters and renditions: where they are stored, and how they are published.

Rule: a step writes into a folder of its attempt, which is renamed into place when it is whole; a published file is
never written again. So a worker that was only slow, not dead, can do no harm, and no reader sees half a result.
"""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from server.storage import pins
from server.storage.fsync import sync

# Files, and below `hls` one folder a rendition; no name begins with a dot.
_PUBLIC = re.compile(r"(hls/([a-z0-9]+/)?)?[A-Za-z0-9_-]+\.(jpg|mp4|vtt|m3u8|m4s)")

MAIN = {
    "has_poster": "poster.jpg",
    "has_mp4": "video.mp4",
    "has_hls": "hls/index.m3u8",
    "has_storyboard": "storyboard.vtt",
}
"""The results that a row refers to: the column that says so, and the file that exists then."""

# A prefix of names that are being removed.
_GOING = "."


class Results:
    """Results of all tasks: `results/<task>/<file>/`; unfinished ones: `work/<task>.<attempt>/<file>.<step>/`."""

    def __init__(self, data_dir: Path, *, syncs: bool = True) -> None:
        self._syncs = syncs
        self._results = data_dir / "results"
        self._work = data_dir / "work"
        for folder in (self._results, self._work):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def begin(self, task_id: str, attempt: int, file_id: str, step: str) -> Path:
        """An empty folder for the results of this step for this file in this attempt."""
        folder = self._folder(task_id, attempt, file_id, step)
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(mode=0o700, parents=True)
        return folder

    def seal(self, task_id: str, attempt: int, file_id: str, step: str) -> None:
        """Sync the results of the step: gigabytes take time, and `publish` may be part of a transaction."""
        if self._syncs:
            made = self._folder(task_id, attempt, file_id, step)
            sync(*sorted(made.rglob("*"), reverse=True), made)

    def publish(self, task_id: str, attempt: int, file_id: str, step: str) -> None:
        """Move each file or folder of the step into its place; those of an interrupted attempt are replaced.

        With `seal` before it, a completed task has its results, even after a power cut.
        """
        made = self._folder(task_id, attempt, file_id, step)
        if not made.exists() or not any(made.iterdir()):
            return  # the step had no result, or a transaction is tried again after it was published
        place = self._results / task_id / file_id
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        for entry in sorted(made.iterdir()):
            target = place / entry.name
            if target.exists():
                target.rename(made.with_name(f"{made.name}.{entry.name}.old"))
            entry.rename(target)
        if self._syncs:
            sync(place, place.parent, self._results)

    def replace(self, task_id: str, attempt: int, file_id: str, step: str, name: str) -> None:
        """Move one file of the step into its place at once: a reader finds the former file or this one.

        Idempotent, since a transaction may be tried again.
        """
        made = self._folder(task_id, attempt, file_id, step) / name
        place = self._results / task_id / file_id
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            made.replace(place / name)
        if self._syncs:
            sync(place, place.parent, self._results)

    def _folder(self, task_id: str, attempt: int, file_id: str, step: str) -> Path:
        return self._work / f"{task_id}.{attempt}" / f"{file_id}.{step}"

    def discard(self, task_id: str, attempt: int) -> None:
        """Remove what an attempt left unfinished. Idempotent."""
        shutil.rmtree(self._work / f"{task_id}.{attempt}", ignore_errors=True)

    def discard_file(self, task_id: str, attempt: int, file_id: str) -> None:
        """Remove what an attempt left unfinished of one file. Idempotent."""
        for made in (self._work / f"{task_id}.{attempt}").glob(f"{file_id}.*"):
            self._discard(made)

    def _discard(self, made: Path) -> None:
        if made.is_dir():
            shutil.rmtree(made, ignore_errors=True)
        else:
            made.unlink(missing_ok=True)

    def tasks(self) -> Iterator[str]:
        """The ids of the tasks that have results here, also of interrupted removals. In no order."""
        with os.scandir(self._results) as found:
            for entry in found:
                if entry.name != pins.FOLDER:
                    yield entry.name.removeprefix(_GOING)

    def has_any(self, task_id: str, file_id: str | None = None) -> bool:
        """Whether a task, or one file of it, has something here, even an empty folder."""
        if file_id is None:
            return any((self._results / name).exists() for name in (task_id, _GOING + task_id))
        return any(place.exists() for place in self._places(task_id, file_id))

    def bytes_of(self, task_id: str, file_id: str) -> int:
        """Bytes of all results of a file. Blocking."""
        return sum(_bytes_below(place) for place in self._places(task_id, file_id))

    def hide(self, task_id: str, file_id: str) -> None:
        """Move the results of a file out of their place; `remove` deletes them.

        One rename, quick enough for a transaction that keeps other workers from publishing there.
        """
        place, going = self._places(task_id, file_id)
        if place.exists() and not going.exists():
            place.rename(going)

    def remove(self, task_id: str, file_id: str) -> None:
        """Delete what `hide` moved away; results that were published since stay. Idempotent. Blocking."""
        _, going = self._places(task_id, file_id)
        with suppress(FileNotFoundError):
            shutil.rmtree(going)

    def delete(self, task_id: str, file_id: str) -> None:
        """`hide` and `remove`, for a file that gets no more results. Idempotent. Blocking."""
        self.remove(task_id, file_id)  # left by an interrupted removal
        self.hide(task_id, file_id)
        self.remove(task_id, file_id)

    def remove_empty(self, task_id: str) -> bool:
        """Remove the folder of a task when it is empty; returns whether nothing of the task is left."""
        folder = self._results / task_id
        try:
            folder.rmdir()
        except FileNotFoundError:
            return True
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
            return False
        return True

    def _places(self, task_id: str, file_id: str) -> tuple[Path, Path]:
        place = self._results / task_id / file_id
        return place, place.with_name(_GOING + place.name)

    def attempts(self) -> list[tuple[str, int]]:
        """Task and attempt of every work folder, in use or left over."""
        return [claim for _, claim in self.in_work() if claim is not None]

    def in_work(self) -> list[tuple[str, tuple[str, int] | None]]:
        """The names of work folders, in use or left over, each with its task and attempt if its name has them."""
        found = [(path.name, path.name.rpartition(".")) for path in self._work.iterdir()]
        return [(name, (task_id, int(last)) if last.isdigit() else None) for name, (task_id, _, last) in found]

    def drop_work(self, name: str) -> None:
        """Remove a work folder that no worker uses. Idempotent."""
        self._discard(self._work / name)

    def is_in_work(self, name: str) -> bool:
        """Whether that folder is still there."""
        return (self._work / name).exists()

    def find(self, task_id: str, file_id: str, name: str) -> Path | None:
        """A published result, or None. The ids must have been checked to be ids; `name` comes from a client."""
        if not _PUBLIC.fullmatch(name):
            return None
        path = self._results / task_id / file_id / name
        return path if path.is_file() else None


def _bytes_below(folder: Path) -> int:
    """The bytes of all files; a file that is removed meanwhile does not count."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += (Path(parent) / name).stat().st_size
    return total
