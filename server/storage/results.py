"""Where posters and renditions live, and how they appear.

Rule: what a step makes is made in a folder of its attempt and renamed into place when it is whole; what is in place
is never written again. So a worker that was only slow, not dead, can do no harm, and nobody sees half a result.
"""

import re
import shutil
from pathlib import Path

from server.storage.sync import sync

# Files, and below `hls` one folder a rendition; no name begins with a dot.
_PUBLIC = re.compile(r"(hls/([a-z0-9]+/)?)?[A-Za-z0-9_-]+\.(jpg|mp4|vtt|m3u8|m4s)")


class Results:
    """Results of all tasks: `results/<task>/<file>/`; those in the making: `work/<task>.<attempt>/<file>.<step>/`."""

    def __init__(self, data_dir: Path, *, syncs: bool = True) -> None:
        self._syncs = syncs
        self._results = data_dir / "results"
        self._work = data_dir / "work"
        for folder in (self._results, self._work):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def begin(self, task_id: str, attempt: int, file_id: str, step: str) -> Path:
        """An empty folder for what this step makes of this file in this attempt."""
        folder = self._folder(task_id, attempt, file_id, step)
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(mode=0o700, parents=True)
        return folder

    def seal(self, task_id: str, attempt: int, file_id: str, step: str) -> None:
        """Push what the step made to the disk: gigabytes take time, and `publish` may be part of a transaction."""
        if self._syncs:
            made = self._folder(task_id, attempt, file_id, step)
            sync(*sorted(made.rglob("*"), reverse=True), made)

    def publish(self, task_id: str, attempt: int, file_id: str, step: str) -> None:
        """Put each file or folder that the step made into its place; what an interrupted attempt put there goes.

        With `seal` before it, a task that is said to be completed has its results, also after a power cut.
        """
        made = self._folder(task_id, attempt, file_id, step)
        if not made.exists() or not any(made.iterdir()):
            return  # nothing was to be made of it, or a transaction is tried again after it was published
        place = self._results / task_id / file_id
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        for entry in sorted(made.iterdir()):
            target = place / entry.name
            if target.exists():
                target.rename(made.with_name(f"{made.name}.{entry.name}.old"))
            entry.rename(target)
        if self._syncs:
            sync(place, place.parent, self._results)

    def _folder(self, task_id: str, attempt: int, file_id: str, step: str) -> Path:
        return self._work / f"{task_id}.{attempt}" / f"{file_id}.{step}"

    def discard(self, task_id: str, attempt: int) -> None:
        """Remove what an attempt left unfinished. Idempotent."""
        shutil.rmtree(self._work / f"{task_id}.{attempt}", ignore_errors=True)

    def attempts(self) -> list[tuple[str, int]]:
        """Task and attempt of everything in the making, or left over."""
        found = (path.name.rpartition(".") for path in self._work.iterdir())
        return [(task_id, int(attempt)) for task_id, _, attempt in found if attempt.isdigit()]

    def find(self, task_id: str, file_id: str, name: str) -> Path | None:
        """A published result, or None. The ids must have been checked to be ids; `name` is what a client wrote."""
        if not _PUBLIC.fullmatch(name):
            return None
        path = self._results / task_id / file_id / name
        return path if path.is_file() else None
