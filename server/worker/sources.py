"""The original that a step reads: a file of the store, or a local copy that may be deleted at any moment.

Rule: a failure of a step is the file's only if the copy that it read was there to the end.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from server.errors import StepError, UnavailableError
from server.storage.base import UploadStore


class Source:
    """The original of an upload, fetched if it is elsewhere. Blocking. Raises `UnavailableError`, `OSError`."""

    def __init__(self, store: UploadStore, upload_id: str) -> None:
        self._store = store
        self._upload_id = upload_id
        self.path: Path = store.local_path(upload_id)
        self._copy = None if store.is_local else _identity(self.path)

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """While a step reads it: a `StepError` becomes `UnavailableError`, and so a retry, if the copy was deleted."""
        try:
            yield
        except StepError:
            if self._is_lost():
                raise UnavailableError(part="store") from None
            raise

    def _is_lost(self) -> bool:
        if self._store.is_local or (self._copy is not None and _identity(self.path) == self._copy):
            return False
        return self._store.size(self._upload_id) is not None  # else the original itself is gone


def _identity(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino, found.st_size
