"""The contract of a store of results: posters, MP4, HLS and thumbnails for scrubbing.

Rules:

- An attempt at a step writes into a local folder of its own (`begin`); `seal` brings the files to where results are,
  which may take long; `publish` makes them visible, in the transaction that changes the row of their file. What is
  published is never written again.
- An attempt that died or was only slow does no harm: what it left is never seen, and a sweep removes it.
- It knows ids, names and bytes; it knows no owners and states, and never decides whether something may be shown.
- `transaction` is the session of the caller's transaction. A store on the disk has no rows and ignores it.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from server.storage.stored_file import StoredFile

MEDIA_TYPES = {
    "jpg": "image/jpeg",
    "mp4": "video/mp4",
    "vtt": "text/vtt; charset=utf-8",
    "m3u8": "application/vnd.apple.mpegurl",
    "m4s": "video/iso.segment",
}
"""The Content-Type of results, by the suffix of their names."""

# Files, and below `hls` one folder a rendition; no name begins with a dot.
_PUBLIC = re.compile(r"(hls/([a-z0-9]+/)?)?[A-Za-z0-9_-]+\.(jpg|mp4|vtt|m3u8|m4s)")

MAIN = {
    "has_poster": "poster.jpg",
    "has_mp4": "video.mp4",
    "has_hls": "hls/index.m3u8",
    "has_storyboard": "storyboard.vtt",
}
"""The results that a row refers to: the column that says so, and the file that exists then."""

CHOSEN_ATTEMPTS = 1 << 40
"""From this number on, an attempt is not a worker's: an owner's poster, or results that move from another store. A
sweep takes it for dead an hour after it began."""

_STEPS = {"poster": "poster", "video": "mp4", "hls": "hls", "storyboard": "storyboard"}


def is_public(name: str) -> bool:
    """Whether a client may ask for a result of this name."""
    return _PUBLIC.fullmatch(name) is not None


def step_of(name: str) -> str:
    """The step whose result has this name: what is published together."""
    return _STEPS[re.split(r"[./]", name, maxsplit=1)[0]]


def no_check() -> None:
    """Nothing ends what takes long."""


Claims = Callable[[], set[tuple[str, int]]]
"""Task and attempt of every claim that a worker may still be working on, read when it is called. Blocking."""


class ResultStore(ABC):
    """The contract. Every method blocks; ids must have been checked to be ids."""

    is_local: bool = True
    """Whether results are on this machine, so that only its workers and servers can use them."""

    # What an attempt makes

    @abstractmethod
    def begin(self, task_id: str, attempt: int, file_id: str, step: str) -> Path:
        """An empty folder for the results of this step for this file in this attempt."""

    @abstractmethod
    def seal(self, task_id: str, attempt: int, file_id: str, step: str, check: Callable[[], None] = no_check) -> None:
        """Make what is in the folder durable: gigabytes take time, and `publish` may be part of a transaction.

        `check` is called now and then, and ends it by raising. Raises `UnavailableError`, `StorageFullError` and
        `OSError`.
        """

    @abstractmethod
    def publish(self, task_id: str, attempt: int, file_id: str, step: str, transaction: Any = None) -> None:
        """Make each file or folder of the step visible; what an earlier attempt published under its names is replaced.

        Idempotent, since a transaction may be tried again. Raises `UnavailableError` when a sweep took this attempt for
        dead, and `OSError`.
        """

    @abstractmethod
    def replace(self, task_id: str, attempt: int, file_id: str, step: str, name: str, transaction: Any = None) -> None:
        """Publish the one file of the step at once: a reader finds the former file or this one. Idempotent."""

    @abstractmethod
    def discard(self, task_id: str, attempt: int) -> None:
        """Remove what an attempt of this process left unfinished. Idempotent; raises nothing of a store elsewhere."""

    @abstractmethod
    def discard_file(self, task_id: str, attempt: int, file_id: str) -> None:
        """The same for one file."""

    # What is published

    @abstractmethod
    def look_up(self, task_id: str, file_id: str, name: str) -> StoredFile | None:
        """A published result, or None. `name` may come from a client."""

    @abstractmethod
    def local_path(self, task_id: str, file_id: str, name: str) -> Path | None:
        """A local file with the bytes of a published result, for reading; None if there is none.

        Raises `UnavailableError`, `OSError`.
        """

    @abstractmethod
    def names(self, task_id: str, file_id: str) -> Sequence[str]:
        """The names of all published results of a file, sorted."""

    @abstractmethod
    def has_any(self, task_id: str, file_id: str | None = None) -> bool:
        """Whether there is something of a task, or of one file of it, even of an interrupted removal."""

    @abstractmethod
    def bytes_of(self, task_id: str, file_id: str) -> int:
        """Bytes of all results of a file."""

    # Removal

    @abstractmethod
    def hide(self, task_id: str, file_id: str, transaction: Any = None) -> None:
        """Make the results of a file invisible; `remove` deletes them.

        Quick enough for a transaction that keeps other workers from publishing there.
        """

    @abstractmethod
    def remove(self, task_id: str, file_id: str) -> None:
        """Delete what `hide` made invisible; results that were published since stay. Idempotent.

        Raises `UnavailableError`.
        """

    def delete(self, task_id: str, file_id: str) -> None:
        """`hide` and `remove`, for a file that gets no more results. Idempotent."""
        self.remove(task_id, file_id)  # left by an interrupted removal
        self.hide(task_id, file_id)
        self.remove(task_id, file_id)

    @abstractmethod
    def remove_empty(self, task_id: str, transaction: Any = None) -> bool:
        """Remove the place of a task when it is empty; returns whether nothing of the task is left."""

    # Leftovers

    @abstractmethod
    def attempts(self) -> list[tuple[str, int]]:
        """Task and attempt of every local work folder, in use or left over."""

    @abstractmethod
    def in_work(self) -> list[tuple[str, tuple[str, int] | None]]:
        """The names of local work folders, in use or left over, each with its task and attempt if its name has them."""

    @abstractmethod
    def drop_work(self, name: str) -> None:
        """Remove a work folder that no worker uses. Idempotent."""

    @abstractmethod
    def is_in_work(self, name: str) -> bool:
        """Whether that folder is still there."""

    def sweep(self, claims: Claims, *, dry_run: bool) -> int:  # noqa: ARG002  # the disk has nothing of the kind
        """Remove results of dead attempts, and what an interrupted removal left; returns how many there were.

        Raises `UnavailableError`.
        """
        return 0

    # Inventory

    @abstractmethod
    def tasks(self) -> Iterator[str]:
        """The ids of the tasks of which something is there, also of interrupted removals. In no order."""

    def lacks(self, task_id: str, file_id: str, names: Sequence[str]) -> bool:
        """Whether one of these is missing, or is not as it was published. It may ask the place for each object."""
        return any(self.look_up(task_id, file_id, name) is None for name in names)

    def strays(self) -> Iterator[tuple[str, str]]:
        """What is there and was never published, nor is it known that an attempt left it: the task, and what it is."""
        return iter(())
