"""The progress of open uploads, written into their rows once a second.

Rule: this is for reports. The truth is in the store, and no decision depends on the row; so a request does not wait
for the write, and a killed process loses only a number that is a second old.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from operator import itemgetter
from typing import NamedTuple, cast

import structlog
from sqlalchemy import Table, bindparam, func, update

from server import threads
from server.database.models import Upload
from server.database.prepared import Prepared
from server.database.session import AWAY, Database, reason
from server.database.types import UtcDateTime
from server.lifecycle import UploadStatus

_SECONDS = 1.0
_AT_ONCE = 16  # quick looks that the event loop makes itself; for 500 phones they take 5 to 50 ms

_log = structlog.stdlib.get_logger("videodock.uploads")

_uploads = cast("Table", Upload.__table__)
_RECORD_RESUMED = update(_uploads).where(_uploads.c.id == bindparam("upload")).values(resumed=True)
_RECORD_PROGRESS = Prepared(
    update(_uploads)
    .where(_uploads.c.id == bindparam("upload"), _uploads.c.status == UploadStatus.OPEN)
    .values(
        received=bindparam("size"),
        media_type=func.coalesce(bindparam("type"), _uploads.c.media_type),
        updated_at=bindparam("at"),
        first_byte_at=func.coalesce(_uploads.c.first_byte_at, bindparam("first", type_=UtcDateTime())),
    )
)


class ProgressUpdate(NamedTuple):
    """The progress of one upload; `received` is bytes."""

    received: int
    media_type: str | None
    updated_at: datetime
    first_byte_at: datetime | None = None


Look = Callable[[str], ProgressUpdate | None]
"""What the store has of an upload now."""


class ProgressWriter:
    """Gathers updates on the event loop, and writes those of a second in one transaction.

    With `is_quick`, looking at the size of an upload takes microseconds, and needs no thread.
    """

    def __init__(self, database: Database, *, is_quick: bool = False) -> None:
        self._database = database
        self._is_quick = is_quick
        self._updates: dict[str, ProgressUpdate] = {}
        self._writing: dict[str, ProgressUpdate] = {}
        self._resumed: set[str] = set()
        self._tracked: dict[str, Look] = {}
        self._telling: asyncio.Task[None] | None = None

    def record(self, upload_id: str, latest: ProgressUpdate) -> None:
        """Record the progress of an upload; it replaces progress that is not written yet."""
        before = self._updates.get(upload_id)
        if before is not None and latest.media_type is None:
            latest = latest._replace(media_type=before.media_type)
        if before is not None and latest.first_byte_at is None:
            latest = latest._replace(first_byte_at=before.first_byte_at)
        self._updates[upload_id] = latest
        self._schedule_write()

    def first_byte_at(self, upload_id: str) -> datetime | None:
        """When the first byte of an upload came, if that is recorded and not in its row yet."""
        for updates in (self._updates, self._writing):
            if upload_id in updates:
                return updates[upload_id].first_byte_at
        return None

    @contextmanager
    def tracking(self, upload_id: str, look: Look) -> Iterator[None]:
        """Call `look`, which blocks, once a second for the progress of a body that is being received."""
        # Most bodies have ended by then, and cost no more than this.
        self._tracked[upload_id] = look
        self._schedule_write()
        try:
            yield
        finally:
            del self._tracked[upload_id]

    async def _look(self) -> None:
        """Record the progress of all bodies that are being received: one turn for all, whatever their number."""
        tracked = list(self._tracked.items())
        is_short = not tracked or (self._is_quick and len(tracked) <= _AT_ONCE)
        found = _look_at(tracked) if is_short else await threads.run(_look_at, tracked)
        for upload_id, latest in found:
            if latest is not None and upload_id in self._tracked:
                self.record(upload_id, latest)

    def record_resumed(self, upload_id: str) -> None:
        """Record that a HEAD on an unfinished upload asked where to resume."""
        self._resumed.add(upload_id)
        self._schedule_write()

    def _schedule_write(self) -> None:
        if self._telling is None:
            self._telling = asyncio.get_running_loop().create_task(self._write_later())

    async def flush(self) -> None:
        """Write everything now."""
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.wait({self._telling})
        await self._write()

    async def _write_later(self) -> None:
        try:
            # One write at a time: otherwise an older value could overwrite a newer one, and stay.
            while self._updates or self._resumed or self._tracked:
                await asyncio.sleep(_SECONDS)
                await self._look()
                await self._write()
        finally:
            self._telling = None

    async def _write(self) -> None:
        updates, self._updates = self._updates, {}
        resumed, self._resumed = self._resumed, set()
        if not updates and not resumed:
            return
        self._writing = updates
        try:
            await self._database.run(self._write_rows, updates, resumed)
        except AWAY as error:
            self._resumed |= resumed
            self._updates = {**updates, **self._updates}
            _log.warning("progress_not_told", uploads=len(updates), reason=reason(error))
        finally:
            self._writing = {}

    def _write_rows(self, updates: dict[str, ProgressUpdate], resumed: set[str]) -> None:
        rows = [
            {
                "upload": upload_id,
                "size": one.received,
                "type": one.media_type,
                "at": one.updated_at,
                "first": one.first_byte_at,
            }
            # Rows in the order in which every writer locks them.
            for upload_id, one in sorted(updates.items(), key=itemgetter(0))
        ]
        with self._database.change(lazy=True) as connection:
            _RECORD_PROGRESS.change_all(connection, rows)
        if resumed:  # perhaps complete by now; in a second transaction, since these rows have an order of their own
            with self._database.change(lazy=True) as connection:
                connection.execute(_RECORD_RESUMED, [{"upload": upload_id} for upload_id in sorted(resumed)])


def _look_at(tracked: list[tuple[str, Look]]) -> list[tuple[str, ProgressUpdate | None]]:
    return [(upload_id, look(upload_id)) for upload_id, look in tracked]
