"""How uploads end: removed, expired, refused or quarantined, with everything that ends with them.

Rules:

- First the row changes (`status`, with `has_bytes` still true), then the file is deleted, then `has_bytes` is cleared:
  after an interruption anywhere, a sweep can finish from the rows alone.
- Every function blocks, except `terminate_open`, and the process may die after each of them.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import cast

from sqlalchemy import Table, and_, bindparam, func, select, update
from sqlalchemy.orm import Session

from server.database.models import Upload, UploadPart
from server.database.prepared import Link
from server.database.session import Database
from server.errors import VideodockError
from server.lifecycle import UPLOAD_MOVES, UploadStatus, sources
from server.settings import Settings
from server.storage import pins
from server.storage.base import UploadStore
from server.storage.locks import UploadLocks
from server.tasks import events, removal
from server.tasks.wake import Wake
from server.tus.protocol import Facts, is_final, is_partial
from server.uploads import groups, statements
from server.uploads.facts import UploadFacts

_PATIENCE_SECONDS = 0.5
_RETRY_SECONDS = 0.02

_uploads = cast("Table", Upload.__table__)
_parts = cast("Table", UploadPart.__table__)
_HAS_NO_BYTES = update(_uploads).where(_uploads.c.id == bindparam("upload")).values(has_bytes=False)
_LEFT_QUARANTINE = update(_uploads).where(_uploads.c.id == bindparam("upload")).values(in_quarantine=False)
_final = _uploads.alias("final")
_WAITING = (
    select(_parts.c.final_id)
    .join(_uploads, _uploads.c.id == _parts.c.final_id)
    .where(_parts.c.part_id == bindparam("part"), _uploads.c.status == UploadStatus.OPEN)
    .distinct()
)
# For a final upload that was never complete, and whose first part is still there.
_FIRST_PART = (
    select(_uploads.c.id, _uploads.c.length)
    .join(_parts, and_(_parts.c.part_id == _uploads.c.id, _parts.c.position == 1))
    .join(_final, _final.c.id == _parts.c.final_id)
    .where(
        _parts.c.final_id == bindparam("final"),
        _final.c.completed_at.is_(None),
        _uploads.c.status == UploadStatus.COMPLETE,
    )
)
_IS_ASIDE = _HAS_NO_BYTES.values(in_quarantine=bindparam("aside"))

_REMOVE = {
    target: update(_uploads)
    .where(_uploads.c.id == bindparam("upload"), _uploads.c.status.in_(sources(UPLOAD_MOVES, target)))
    .values(status=target, updated_at=bindparam("now"), received=func.coalesce(bindparam("size"), _uploads.c.received))
    for target in UPLOAD_MOVES
}


@dataclass(frozen=True, kw_only=True, repr=False)
class UploadDeletion:
    """Every way in which an upload ends. Owners are text; sizes are bytes."""

    settings: Settings
    database: Database
    store: UploadStore
    locks: UploadLocks
    wake: Wake
    facts: UploadFacts
    node: str
    clock: Callable[[], datetime]

    def remove(self, upload_id: str, target: UploadStatus, why: VideodockError | None = None) -> bool:
        """Delete the bytes and record why; returns whether the upload could make that move. Blocking.

        A group that waited for it fails, or goes on without it if it was refused (`why`). The file of a complete upload
        becomes `removed` in its task, whose other files go on; `maintenance/removal.py` removes its results.
        """
        row = self.facts.find(upload_id)
        group = None if row is None else groups.group_of(row)
        others: Sequence[str] = ()
        now = self.clock()
        parameters = {"upload": upload_id, "now": now, "size": None if row is None else self.facts.size(row)}
        # The bytes of a complete upload are deleted only once a power cut cannot make its row `complete` again.
        lazy = group is None and row is not None and (row.status is UploadStatus.OPEN or is_partial(row.concat))
        is_in_task = False
        with self.database.change(lazy=lazy) as connection:
            self.locks.fence(connection, upload_id, may_be_free=True)
            session = Session(connection)
            task = None if group is None else groups.lock_row(session, group)
            row = statements.FIND.one_or_none(connection, {"upload": upload_id})
            is_whole = row is not None and row.status is UploadStatus.COMPLETE
            if is_whole and target is UploadStatus.TERMINATED:
                is_in_task = removal.remove_file(session, upload_id, now=now)
            moved = connection.execute(_REMOVE[target], parameters).rowcount
            if moved and row is not None:
                data = None if why is None else {"code": why.code}
                events.append_of_upload(connection, row, events.of_end(target), at=now, data=data)
            if moved and task is not None:
                others = groups.member_removed(session, task, row, target, why, now)
        if not moved:
            if group is not None and row is not None and not is_whole and row.has_bytes:
                self.delete_bytes(upload_id)  # its group ended it just now, and could not get its lock
            return False
        # Only a final upload may share bytes that it has to give back.
        self.delete_all_bytes([upload_id], of_finals=row is None or is_final(row.concat))
        if task is not None or is_in_task:
            self.wake.notify()  # all the others may be there, and need not wait for this one
            self.delete_ended(others)
        if row is not None and is_partial(row.concat):
            self._end_finals(upload_id)
        return True

    async def terminate_open(self, facts: Facts) -> bool:
        """Remove an open upload that is in no group and no part of another, from the event loop.

        Under its lock. False if it is not open any more.
        """
        now = self.clock()
        clear: Callable[[Link], int] = partial(statements.CLEAR_HAS_BYTES.change, parameters={"upload": facts.id})

        def delete(moved: int) -> Callable[[Link], int] | None:
            if not moved or pins.is_pinned(self.settings.data_dir):
                return None
            self.store.delete(facts.id)
            return clear

        def terminate(connection: Link) -> int:
            self.locks.fence(connection, facts.id)
            moved = statements.TERMINATE.change(connection, {"upload": facts.id, "now": now, "size": facts.offset})
            row = statements.FIND.one_or_none(connection, {"upload": facts.id}) if moved else None
            if row is not None:
                events.append_of_upload(connection, row, events.of_end(UploadStatus.TERMINATED), at=now)
            return moved

        moved: int = await self.database.write_together(terminate, then=delete, lazy=True, plain=True)
        return moved > 0

    def waiting(self, part_id: str) -> list[str]:
        """The open finals that want this part. Blocking."""
        with self.database.look() as connection:
            return list(connection.scalars(_WAITING, {"part": part_id}))

    def _end_finals(self, part_id: str) -> None:
        """A part is gone: no final upload that wants it can be joined any more.

        A final whose lock is held is ended by the lock's holder when it joins, or by a sweep.
        """
        for final_id in self.waiting(part_id):
            with self.locks.try_hold(final_id) as held:
                if held:
                    self.remove(final_id, UploadStatus.TERMINATED)

    def cancel(self, task_id: str, owner: str | None) -> None:
        """Cancel a task and its open uploads. Raises as `groups.cancel`. Blocking."""
        with self.database.write() as session:
            ended = groups.cancel(session, task_id, owner, now=self.clock())
        self.delete_ended(ended)

    def fail_overdue_group(self, task_id: str) -> bool:
        """Fail a group whose last member was not created in time; returns whether it failed. Blocking."""
        with self.database.write() as session:
            ended = groups.fail_overdue(session, task_id, self.node, self.clock())
        self.delete_ended(ended or ())
        return ended is not None

    def delete_ended(self, upload_ids: Sequence[str]) -> None:
        """Delete the bytes of uploads that ended with their group, and evict the requests that receive some.

        A sweep does what cannot be done within half a second. Blocking.
        """
        deadline = time.monotonic() + _PATIENCE_SECONDS
        held_back = [upload_id for upload_id in upload_ids if not self._try_delete_ended(upload_id)]
        while held_back and time.monotonic() < deadline:
            time.sleep(_RETRY_SECONDS)
            held_back = [upload_id for upload_id in held_back if not self._try_delete_ended(upload_id)]

    def _try_delete_ended(self, upload_id: str) -> bool:
        with self.locks.try_hold(upload_id) as held:
            if held:
                self.delete_bytes(upload_id)
        if not held:
            self.locks.request_release(upload_id)
        return held

    def abandon(self, upload_id: str) -> bool:
        """Remove an open upload whose id no client received: its place in a group is free again. Blocking."""
        with self.database.write(lazy=True) as session:
            groups.withdraw_member(session, upload_id)
        return self.remove(upload_id, UploadStatus.TERMINATED)

    def delete_if_ended(self, upload_id: str) -> bool:
        """Delete the bytes of an upload that ended while its lock was held; returns whether it had.

        Under the lock. Blocking.
        """
        row = self.facts.find(upload_id)
        if row is None or row.status in (UploadStatus.OPEN, UploadStatus.COMPLETE):
            return False
        self.delete_bytes(upload_id)
        return True

    def delete_bytes(self, upload_id: str) -> None:
        """Delete the file, then clear `has_bytes`. Idempotent. Blocking."""
        self.delete_all_bytes([upload_id], of_finals=True)

    def delete_all_bytes(self, upload_ids: Sequence[str], *, of_finals: bool = False) -> None:
        """Delete the files, then clear `has_bytes` in the rows. Idempotent. Blocking.

        While a backup takes its snapshot the files stay, since the snapshot may refer to them: a sweep removes them.
        """
        if not upload_ids or pins.is_pinned(self.settings.data_dir):
            return
        for upload_id in upload_ids:
            if of_finals:
                self._give_back(upload_id)
            self.store.delete(upload_id)
        with self.database.change(lazy=True) as connection:
            connection.execute(_HAS_NO_BYTES, [{"upload": upload_id} for upload_id in sorted(upload_ids)])

    def _give_back(self, final_id: str) -> None:
        """A final upload that was not joined to its end may share the bytes of its first part. Blocking."""
        with self.database.look() as connection:
            first = connection.execute(_FIRST_PART, {"final": final_id}).one_or_none()
        if first is not None:
            self.store.undo_concatenate(final_id, first.id, first.length or 0)

    def quarantine(self, upload_id: str) -> None:
        """Move the file into quarantine, then record that in the row. Idempotent. Blocking.

        The row must have the reason before, so that a sweep can finish this after an interruption.
        """
        self.store.quarantine(upload_id)
        parameters = {"upload": upload_id, "aside": self.store.size_in_quarantine(upload_id) is not None}
        with self.database.change(lazy=True) as connection:
            connection.execute(_IS_ASIDE, parameters)

    def delete_from_quarantine(self, upload_id: str) -> None:
        """Delete the file from quarantine, then record that in the row. Idempotent. Blocking."""
        self.store.delete_from_quarantine(upload_id)
        with self.database.change(lazy=True) as connection:
            connection.execute(_LEFT_QUARANTINE, {"upload": upload_id})
