"""Where posters live, and how they appear.

Rule: a result is made in a folder of its attempt and renamed into place when it is whole; what is in place is
never written again. So a worker that was only slow, not dead, can do no harm, and nobody sees half a result.
"""

import shutil
from pathlib import Path

from server.storage.sync import sync

_PUBLIC = frozenset({"poster.jpg"})


class Results:
    """Results of all tasks: `results/<task>/<file>/`; those in the making: `work/<task>.<attempt>/<file>/`."""

    def __init__(self, data_dir: Path, *, syncs: bool = True) -> None:
        self._syncs = syncs
        self._results = data_dir / "results"
        self._work = data_dir / "work"
        for folder in (self._results, self._work):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def begin(self, task_id: str, attempt: int, file_id: str) -> Path:
        """An empty folder for what this attempt makes of this file."""
        folder = self._work / f"{task_id}.{attempt}" / file_id
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(mode=0o700, parents=True)
        return folder

    def publish(self, task_id: str, attempt: int, file_id: str) -> None:
        """Put what the attempt made into its place; what an earlier, interrupted attempt put there goes."""
        made = self._work / f"{task_id}.{attempt}" / file_id
        if not made.exists() or not any(made.iterdir()):
            return  # nothing was to be made of it, or a transaction is tried again after it was published
        place = self._results / task_id / file_id
        place.parent.mkdir(mode=0o700, exist_ok=True)
        # A task that is said to be completed has its results, also after a power cut.
        if self._syncs:
            sync(*made.iterdir(), made)
        if place.exists():
            place.rename(made.with_name(f"{file_id}.old"))
        made.rename(place)
        if self._syncs:
            sync(place.parent, self._results)

    def discard(self, task_id: str, attempt: int) -> None:
        """Remove what an attempt left unfinished. Idempotent."""
        shutil.rmtree(self._work / f"{task_id}.{attempt}", ignore_errors=True)

    def attempts(self) -> list[tuple[str, int]]:
        """Task and attempt of everything in the making, or left over."""
        found = (path.name.rpartition(".") for path in self._work.iterdir())
        return [(task_id, int(attempt)) for task_id, _, attempt in found if attempt.isdigit()]

    def find(self, task_id: str, file_id: str, name: str) -> Path | None:
        """A published result, or None. The ids must have been checked to be ids."""
        if name not in _PUBLIC:
            return None
        path = self._results / task_id / file_id / name
        return path if path.is_file() else None
