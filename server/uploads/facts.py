"""The facts of an upload: what its row and its bytes say together.

Rule: nothing is changed here. The store knows how many bytes there are, the row knows everything else.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select

from server import media_types
from server.database.access_models import Grant
from server.database.models import TUS
from server.database.session import Database
from server.errors import UploadGoneError, UploadNotFoundError
from server.lifecycle import UploadStatus
from server.settings import Settings
from server.storage.base import UploadStore
from server.tus.protocol import Facts, State, is_final
from server.uploads import groups, statements
from server.uploads.progress import ProgressUpdate

_STATES = {
    UploadStatus.OPEN: State.OPEN,
    UploadStatus.COMPLETE: State.COMPLETE,
    UploadStatus.REJECTED: State.REJECTED,
    UploadStatus.EXPIRED: State.GONE,
    UploadStatus.TERMINATED: State.GONE,
}

Row = Any
"""A row of `uploads`: an object of the model, or the result of a statement."""


@dataclass(frozen=True, kw_only=True, repr=False)
class UploadFacts:
    """Looks at uploads. Owners are text, or None where the right to look does not come from owning; sizes and offsets
    are bytes."""

    settings: Settings
    database: Database
    store: UploadStore
    clock: Callable[[], datetime]

    def of(self, upload_id: str, owner: str | None) -> Facts:
        """The facts of row and store. Raises `UploadNotFoundError`, `UploadGoneError`. Blocking."""
        return self.visible(self.find(upload_id), owner)

    def visible(self, row: Row | None, owner: str | None) -> Facts:
        """The facts that an owner may see of a row. Raises as `of`. Blocking."""
        if row is None or owner not in (None, row.owner) or row.protocol != TUS:
            raise UploadNotFoundError
        if row.status is not UploadStatus.OPEN:  # an ended upload is judged by its status
            return self._facts(row, row.length, row.expires_at)
        found = self.store.state(row.id)
        if found is None:
            if not is_final(row.concat):  # a final waits for its parts; the bytes of all others are lost
                raise UploadGoneError
            return self._facts(row, None, row.expires_at)
        size, modified = found
        if row.checked_from is not None:
            size = min(size, row.checked_from)  # as in `size`
        return self._facts(row, size, max(row.expires_at, self.expiry(modified)))

    def size(self, row: Row) -> int | None:
        """The bytes of an upload that count; None when the store has none. Blocking."""
        if row.status is not UploadStatus.OPEN:
            length: int | None = row.length
            return length
        size = self.store.size(row.id)
        checked_from: int | None = row.checked_from
        # Bytes of a checked append do not count before they are verified.
        return size if size is None or checked_from is None else min(size, checked_from)

    def expiry_of(self, row: Row) -> datetime:
        """When an open upload expires. Its row may lag a body that was cut off; the file's time is exact."""
        modified = self.store.modified(row.id) if row.status is UploadStatus.OPEN else None
        expires_at: datetime = row.expires_at
        return expires_at if modified is None else max(expires_at, self.expiry(modified))

    def at_once(self, upload_id: str, owner: str | None) -> Facts | None:
        """The same on the event loop, under the upload's lock.

        None where a thread has to look: to wait, or to take back unchecked bytes first (`repository.locked_facts`).
        """
        if not self.store.is_quick:
            return None
        try:
            row = self.database.find_at_once(statements.FIND, {"upload": upload_id})
        except BlockingIOError:
            return None
        return None if self.is_unchecked(row) else self.visible(row, owner)

    def find(self, upload_id: str) -> Row | None:
        """The row of an upload. Blocking."""
        with self.database.look() as connection:
            return statements.FIND.one_or_none(connection, {"upload": upload_id})

    def types_of_grant(self, grant_id: str) -> tuple[str, ...] | None:
        """The types, by extension, that a grant allows; None where it allows all. Blocking."""
        with self.database.look() as connection:
            types = connection.scalar(select(Grant.types).where(Grant.id == grant_id))
        return None if types is None else tuple(types)

    def is_unchecked(self, row: Row | None) -> bool:
        """Whether the store may have bytes of an append whose checksum was not verified."""
        return row is not None and row.checked_from is not None and row.status is UploadStatus.OPEN

    def progress(self, upload_id: str) -> ProgressUpdate | None:
        """The progress of a body that is being received. Blocking."""
        size = self.store.size(upload_id)
        return None if size is None else ProgressUpdate(size, None, self.clock())

    def from_row(self, row: Row, size: int | None, now: datetime) -> Facts:
        """The facts of a row, and of the store, which has `size` bytes. Blocking."""
        return self._facts(row, size, self.expiry_of(row), now)

    def of_new(self, row: Row, now: datetime) -> Facts:
        """The facts of a row that was just inserted, and whose file is empty."""
        return self._facts(row, 0, row.expires_at, now)

    def _facts(self, row: Row, size: int | None, expires_at: datetime, now: datetime | None = None) -> Facts:
        return Facts(
            row.id,
            _STATES[row.status],
            size or 0,
            row.length,
            row.metadata_raw,
            row.filename,
            row.media_type,
            expires_at,
            now or self.clock(),
            media_types.listed_of(tuple(self.settings.accept_types)),
            row.concat,
            groups.group_of(row),
            row.owner,
            row.grant_id,
            row.max_size,
            getattr(row, "first_byte_at", None),
        )

    def expiry(self, now: datetime) -> datetime:
        """The expiry of an upload that changes now."""
        return now + timedelta(seconds=self.settings.upload_expiry)
