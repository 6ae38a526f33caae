"""How uploads are completed.

Rules:

- An upload is completed in one place, `complete_verified`: checked bytes, then `store.finish`, then row and task in one
  transaction. After an interruption anywhere, a request or a sweep can repeat it.
- Every function blocks, unless it says otherwise, and the process may die after each of them.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from server import media_types, threads
from server.database.models import TUS, Upload
from server.database.prepared import Link
from server.database.session import Database
from server.errors import UploadGoneError
from server.lifecycle import UploadStatus
from server.storage.base import UploadStore
from server.storage.locks import UploadLocks
from server.tasks import events
from server.tasks.wake import Wake
from server.tus.protocol import Facts, is_partial
from server.uploads import groups, statements
from server.uploads.facts import Row, UploadFacts
from server.uploads.policy import UploadPolicy

Verified = Mapping[str, str | None]
"""Uploads whose bytes were checked, by id, with the media type that they prove."""

Also = Callable[[Session], None]
"""More changes in the same transaction."""

_SYNCING_THREADS = 8  # for uploads that end: the disk combines their syncs, so more threads are not faster


@dataclass(frozen=True, kw_only=True, repr=False)
class UploadCompletion:
    """Completes uploads and registers their tasks."""

    database: Database
    store: UploadStore
    policy: UploadPolicy
    locks: UploadLocks
    wake: Wake
    facts: UploadFacts
    clock: Callable[[], datetime]
    _finishing: threads.Gathered[str] = field(init=False)

    def __post_init__(self) -> None:
        gathered = threads.Gathered(self._finish, lambda ids: self.store.begin_finish(ids), _SYNCING_THREADS)
        object.__setattr__(self, "_finishing", gathered)

    def verified_type(self, upload: Facts | Upload) -> str | None:
        """The media type that the bytes of a whole upload prove. Blocking.

        Its row lacks one after a crash during the check, or where an upload need not be a video; a partial upload has
        none. Raises `MediaTypeUnsupportedError`, `FileEmptyError`.
        """
        if upload.media_type is not None or upload.is_partial:
            return upload.media_type
        head = self.store.head(upload.id, media_types.SNIFF_BYTES)
        types = None if upload.grant_id is None else self.facts.types_of_grant(upload.grant_id)
        return self.policy.check_content(upload.filename, head, only=types)

    def complete_verified(self, verified: Verified, task_id: str, also: Also | None = None) -> None:
        """Complete uploads whose bytes are all there and checked, and register their task. Idempotent. Blocking.

        First the store makes the bytes durable. Then one transaction moves the rows, registers the task and calls
        `also`. Raises what that raises, and `UploadGoneError` if an upload was removed meanwhile.
        """
        self._finish_bytes(verified)
        with self.database.write() as session:
            is_task = self._register_complete(verified, task_id, session.connection(), session, also)
        if is_task:
            self.wake.notify()

    async def complete_verified_from_loop(self, verified: Verified, task_id: str, also: Also | None = None) -> None:
        """The same for the event loop.

        Syncing gigabytes takes long, and the threads of the database are few: the sync has threads of its own.
        """
        await threads.run(self._finish_bytes, verified)
        if await self.database.write_together(partial(self._register, verified, task_id, also, None)):
            self.wake.notify()

    async def complete_tus_from_loop(self, upload: Facts, first_byte_at: datetime | None) -> None:
        """The same for one tus upload. `first_byte_at` is when the first byte came, unless the row has that.

        Uploads that end together share syncs and transactions. One that is in no group needs prepared statements only.
        """
        await self._finishing.run(upload.id)
        verified = {upload.id: upload.media_type}
        if upload.group is None:
            change = partial(self._register_complete, verified, upload.id, first=first_byte_at)
            is_task = await self.database.write_together(change, plain=True)
        else:
            is_task = await self.database.write_together(
                partial(self._register, verified, upload.id, None, first_byte_at)
            )
        if is_task:
            self.wake.notify()

    def _finish(self, upload_id: str) -> None:
        self.store.finish(upload_id)

    def _finish_bytes(self, upload_ids: Iterable[str]) -> None:
        for upload_id in upload_ids:
            self.store.finish(upload_id)

    def _register(
        self, verified: Verified, task_id: str, also: Also | None, first: datetime | None, connection: Connection
    ) -> bool:
        with Session(connection, join_transaction_mode="rollback_only", expire_on_commit=False) as session:
            is_task = self._register_complete(verified, task_id, session.connection(), session, also, first)
            session.flush()
            return is_task

    def _register_complete(
        self,
        verified: Verified,
        task_id: str,
        connection: Link,
        session: Session | None = None,
        also: Also | None = None,
        first: datetime | None = None,
    ) -> bool:
        """Update the rows; returns whether there is new work for a scheduler. It may be rolled back and run again.

        Uploads of a group, and `also`, need a session.
        """
        now = self.clock()
        rows = self._rows(connection, verified)
        for name in sorted({row.id if row.protocol == TUS else row.task_id for row in rows}):
            self.locks.fence(connection, name)
        group = groups.group_of(rows[0]) if rows else None
        task = None if group is None or session is None else groups.lock_row(session, group)
        # A complete part gets a new expiry, so that it can still be joined.
        times = {"now": now, "until": self.facts.expiry(now), "first": first}
        moved = 0
        for upload_id, media_type in verified.items():
            values = {"upload": upload_id, "size": self.store.size(upload_id), "type": media_type, **times}
            moved += statements.COMPLETE.change(connection, values)
        rows = self._rows(connection, verified)
        if moved != len(verified):
            if moved == 0 and rows and all(row.status is UploadStatus.COMPLETE for row in rows):
                return False
            raise UploadGoneError
        for row in rows:
            events.append_of_upload(connection, row, events.UPLOAD_FINISHED, at=now)
        if all(is_partial(row.concat) for row in rows):
            return False  # a partial upload is not processed by itself
        if task is not None and session is not None:
            groups.member_completed(session, task, rows[0], now)
        elif any(row.task_id != task_id for row in rows):
            raise UploadGoneError  # its group no longer waits
        else:
            self.policy.register_task(connection, task_id, rows, now)
        if also is not None and session is not None:
            also(session)
        return True

    def _rows(self, connection: Link, upload_ids: Iterable[str]) -> list[Row]:
        found = (statements.FIND.one_or_none(connection, {"upload": upload_id}) for upload_id in upload_ids)
        return [row for row in found if row is not None]
