"""Results as files of the data folder: where they are, and how they are published.

Rule: a step writes into a folder of its attempt, which is renamed into place when it is whole; a published file is
never written again. So a worker that was only slow, not dead, can do no harm, and no reader sees half a result.
"""

import errno
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from server.storage import pins
from server.storage.fsync import sync
from server.storage.result_store import MAIN as MAIN
from server.storage.result_store import ResultStore, is_public, no_check
from server.storage.stored_file import StoredFile, file_at

# A prefix of names that are being removed.
_GOING = "."


class Results(ResultStore):
    """Results of all tasks: `results/<task>/<file>/`; unfinished ones: `work/<task>.<attempt>/<file>.<step>/`."""

    def __init__(self, data_dir: Path, *, syncs: bool = True) -> None:
        self._syncs = syncs
        self._results = data_dir / "results"
        self._work = data_dir / "work"
        for folder in (self._results, self._work):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def begin(self, task_id: str, attempt: int, file_id: str, step: str) -> Path:
        folder = self.work_folder(task_id, attempt, file_id, step)
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(mode=0o700, parents=True)
        return folder

    def seal(self, task_id: str, attempt: int, file_id: str, step: str, check: Callable[[], None] = no_check) -> None:  # noqa: ARG002  # one call of the kernel
        if self._syncs:
            made = self.work_folder(task_id, attempt, file_id, step)
            sync(*sorted(made.rglob("*"), reverse=True), made)

    def publish(self, task_id: str, attempt: int, file_id: str, step: str, transaction: Any = None) -> None:  # noqa: ARG002
        """Move each file or folder of the step into its place; those of an interrupted attempt are replaced.

        With `seal` before it, a completed task has its results, even after a power cut.
        """
        made = self.work_folder(task_id, attempt, file_id, step)
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

    def replace(
        self,
        task_id: str,
        attempt: int,
        file_id: str,
        step: str,
        name: str,
        transaction: Any = None,  # noqa: ARG002
    ) -> None:
        made = self.work_folder(task_id, attempt, file_id, step) / name
        place = self._results / task_id / file_id
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            made.replace(place / name)
        if self._syncs:
            sync(place, place.parent, self._results)

    def work_folder(self, task_id: str, attempt: int, file_id: str, step: str) -> Path:
        """The folder that `begin` returns."""
        return self._work / f"{task_id}.{attempt}" / f"{file_id}.{step}"

    def discard(self, task_id: str, attempt: int) -> None:
        shutil.rmtree(self._work / f"{task_id}.{attempt}", ignore_errors=True)

    def discard_file(self, task_id: str, attempt: int, file_id: str) -> None:
        for made in (self._work / f"{task_id}.{attempt}").glob(f"{file_id}.*"):
            self._discard(made)

    def _discard(self, made: Path) -> None:
        if made.is_dir():
            shutil.rmtree(made, ignore_errors=True)
        else:
            made.unlink(missing_ok=True)

    def tasks(self) -> Iterator[str]:
        with suppress(FileNotFoundError), os.scandir(self._results) as found:
            for entry in found:
                if entry.name != pins.FOLDER:
                    yield entry.name.removeprefix(_GOING)

    def has_any(self, task_id: str, file_id: str | None = None) -> bool:
        if file_id is None:
            return any((self._results / name).exists() for name in (task_id, _GOING + task_id))
        return any(place.exists() for place in self._places(task_id, file_id))

    def bytes_of(self, task_id: str, file_id: str) -> int:
        return sum(_bytes_below(place) for place in self._places(task_id, file_id))

    def hide(self, task_id: str, file_id: str, transaction: Any = None) -> None:  # noqa: ARG002
        place, going = self._places(task_id, file_id)
        if place.exists() and not going.exists():
            place.rename(going)

    def remove(self, task_id: str, file_id: str) -> None:
        _, going = self._places(task_id, file_id)
        with suppress(FileNotFoundError):
            shutil.rmtree(going)

    def remove_empty(self, task_id: str, transaction: Any = None) -> bool:  # noqa: ARG002
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
        return [claim for _, claim in self.in_work() if claim is not None]

    def in_work(self) -> list[tuple[str, tuple[str, int] | None]]:
        names: list[str] = []
        with suppress(FileNotFoundError):  # an emptied folder matters no more, where results are elsewhere
            names = [path.name for path in self._work.iterdir()]
        found = [(name, name.rpartition(".")) for name in names]
        return [(name, (task_id, int(last)) if last.isdigit() else None) for name, (task_id, _, last) in found]

    def drop_work(self, name: str) -> None:
        self._discard(self._work / name)

    def is_in_work(self, name: str) -> bool:
        return (self._work / name).exists()

    def find(self, task_id: str, file_id: str, name: str) -> Path | None:
        """A published result, or None. The ids must have been checked to be ids; `name` comes from a client."""
        if not is_public(name):
            return None
        path = self._results / task_id / file_id / name
        return path if path.is_file() else None

    def look_up(self, task_id: str, file_id: str, name: str) -> StoredFile | None:
        path = self.find(task_id, file_id, name)
        return None if path is None else file_at(path)

    def local_path(self, task_id: str, file_id: str, name: str) -> Path | None:
        return self.find(task_id, file_id, name)

    def names(self, task_id: str, file_id: str) -> Sequence[str]:
        place = self._results / task_id / file_id
        found = (str(path.relative_to(place)) for path in place.rglob("*") if path.is_file())
        return sorted(filter(is_public, found))


def _bytes_below(folder: Path) -> int:
    """The bytes of all files; a file that is removed meanwhile does not count."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += (Path(parent) / name).stat().st_size
    return total
