"""How far the open uploads are, told to their rows once a second.

Rule: this is for reports. The truth is in the store, and nobody decides anything by it; so a request does not wait
for it, and what a killed process had not told yet costs nothing but a number that is a second old.
"""

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime
from typing import cast

import structlog
from sqlalchemy import Table, bindparam, func, update

from server.database.models import Upload
from server.database.session import AWAY, Database, reason
from server.lifecycle import UploadStatus

_SECONDS = 1.0

_log = structlog.stdlib.get_logger("videodock.progress")

_uploads = cast("Table", Upload.__table__)
_TELL_RESUMED = update(_uploads).where(_uploads.c.id == bindparam("upload")).values(resumed=True)
_TELL = (
    update(_uploads)
    .where(_uploads.c.id == bindparam("upload"), _uploads.c.status == UploadStatus.OPEN)
    .values(
        received=bindparam("size"),
        media_type=func.coalesce(bindparam("type"), _uploads.c.media_type),
        updated_at=bindparam("at"),
    )
)


@dataclass(frozen=True)
class News:
    """What there is to tell of an upload; `received` is bytes."""

    received: int
    media_type: str | None
    updated_at: datetime


class Progress:
    """Gathers news on the event loop, and writes all of a second in one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._news: dict[str, News] = {}
        self._resumed: set[str] = set()
        self._telling: asyncio.Task[None] | None = None

    def note(self, upload_id: str, news: News) -> None:
        """There is news of an upload; what was not told before is superseded."""
        before = self._news.get(upload_id)
        if before is not None and news.media_type is None:
            news = replace(news, media_type=before.media_type)
        self._news[upload_id] = news
        self._tell_within_a_second()

    def note_resumed(self, upload_id: str) -> None:
        """The client of an unfinished upload asked where to go on."""
        self._resumed.add(upload_id)
        self._tell_within_a_second()

    def _tell_within_a_second(self) -> None:
        if self._telling is None:
            self._telling = asyncio.get_running_loop().create_task(self._tell_soon())

    async def flush(self) -> None:
        """Tell everything now."""
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None
        await self._tell()

    async def _tell_soon(self) -> None:
        await asyncio.sleep(_SECONDS)
        self._telling = None
        await self._tell()

    async def _tell(self) -> None:
        news, self._news = self._news, {}
        resumed, self._resumed = self._resumed, set()
        if not news and not resumed:
            return
        try:
            await self._database.run(self._write, news, resumed)
        except AWAY as error:
            self._resumed |= resumed  # unlike the numbers, nobody will tell it anew
            _log.warning("progress_not_told", uploads=len(news), reason=reason(error))

    def _write(self, news: dict[str, News], resumed: set[str]) -> None:
        rows = [
            {
                "upload": upload_id,
                "size": told.received,
                "type": told.media_type,
                "at": told.updated_at,
            }
            for upload_id, told in news.items()
        ]
        with self._database.change(lazy=True) as connection:
            if rows:
                connection.execute(_TELL, rows)
            if resumed:  # complete by now, perhaps
                connection.execute(_TELL_RESUMED, [{"upload": upload_id} for upload_id in sorted(resumed)])
