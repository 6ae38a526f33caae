"""Rows and bytes of open uploads: everything that must change in both.

Rules:

- The row comes before the file. How uploads are completed is in `completion.py`, and how they end in `deletion.py`.
- Every function blocks, unless it says otherwise, and the process may die after each of them.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from types import SimpleNamespace
from typing import cast

from sqlalchemy import Connection, Table, delete, exists, insert, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from server.database.models import TaskFile, Upload, UploadPart
from server.database.prepared import Link
from server.database.session import Database, changed
from server.errors import NoRoomError, UploadGoneError, UploadLockedError, VideodockError
from server.lifecycle import UploadStatus
from server.storage.base import UploadStore
from server.storage.locks import UploadLocks
from server.tasks import events
from server.tus.group_metadata import Group
from server.tus.protocol import Append, Facts
from server.uploads import groups, statements
from server.uploads.facts import Row, UploadFacts
from server.uploads.new_upload import NewUpload
from server.uploads.policy import UploadPolicy
from server.uploads.quotas import OwnerQuotas
from server.uploads.reservations import DiskReservations

_INSERT_PARTS = insert(cast("Table", UploadPart.__table__))


@dataclass(frozen=True, kw_only=True, repr=False)
class UploadRepository:
    """Every change of an open upload. Owners are text; sizes and offsets are bytes."""

    database: Database
    store: UploadStore
    locks: UploadLocks
    policy: UploadPolicy
    reservations: DiskReservations
    quotas: OwnerQuotas
    facts: UploadFacts
    clock: Callable[[], datetime]
    new_id: Callable[[], str]

    # Creation

    def insert(self, new: NewUpload, admit: Callable[[Connection], str | None] | None = None) -> Facts:
        """Insert the row, then create the file; a final upload gets its file when it is joined. Blocking.

        `admit` decides in the transaction that inserts the row, and may return the id of an existing upload, whose
        facts are the result then. Raises what `admit` raises.

        Raises `NoRoomError` when there is no room to reserve; an upload that takes over another one's reservation may
        need no more than that. Raises `QuotaTooSmallError`, `QuotaReachedError`. With an id that its terms reserved, it
        may be there already. In a group it takes a place, or is an existing upload: see `groups.reserve_slot`, also
        for what is raised.
        """
        now = self.clock()
        if new.terms.upload_id is not None and self.facts.find(new.id) is not None:
            return self._repeated_creation(new.id, new.owner, is_reserved=True)
        # Locked, so that a sweep does not take the row without a file for an interrupted creation.
        with self.locks.try_hold(new.id):
            try:
                again = self._insert_row(new, now, admit)
            except (IntegrityError, VideodockError):
                if new.terms.upload_id is None or self.facts.find(new.id) is None:
                    raise
                again = new.id  # an equal creation was first, and may have taken the last of a quota
            if again is not None:
                return self._repeated_creation(again, new.owner, is_reserved=new.terms.upload_id == again)
            if not new.parts:
                try:
                    self.store.create(new.id, new.length)
                except Exception:
                    self.discard([new.id])
                    raise
        return self._facts_of_new(new, now)

    async def insert_from_loop(self, new: NewUpload) -> Facts:
        """The same for the event loop and an upload that is neither in a group nor final: with others in one
        transaction, and with one hop to a thread."""
        is_quick = self.store.is_quick and self.locks.is_quick
        reservation = self.reservations.reserve_at_once(new.room) if is_quick else None
        if reservation is None:
            return await self.database.run(self.insert, new)
        now = self.clock()
        with reservation, self.locks.try_hold(new.id):
            try:
                refusal = await self.database.write_together(
                    partial(self._insert_admitted, new, now),
                    then=lambda refusal: None if refusal else self.store.create(new.id, new.length),
                    lazy=True,
                    plain=True,
                )
            except SQLAlchemyError:
                raise
            except Exception:
                await self.database.run(self.discard, [new.id])
                raise
        if refusal is not None:
            raise refusal
        return self._facts_of_new(new, now)

    def _insert_admitted(self, new: NewUpload, now: datetime, connection: Link) -> VideodockError | None:
        """Insert the row, or return why the owner may not have it: raised here, the others in the transaction would
        have to begin again."""
        try:
            self.quotas.admit(connection, new, now)
        except VideodockError as refusal:
            return refusal
        self._insert_with_event(connection, new, now)
        return None

    def _insert_with_event(self, connection: Link, new: NewUpload, now: datetime) -> None:
        statements.INSERT.change(connection, new.row(now, self.facts.expiry(now)))
        events.append_of_upload(connection, new, events.UPLOAD_CREATED, at=now)

    def _facts_of_new(self, new: NewUpload, now: datetime) -> Facts:
        row = SimpleNamespace(**new.row(now, self.facts.expiry(now)), status=UploadStatus.OPEN)
        return self.facts.of_new(row, now)

    def _insert_row(
        self, new: NewUpload, now: datetime, admit: Callable[[Connection], str | None] | None
    ) -> str | None:
        """Insert the row in one transaction; or the id of the upload that an earlier, equal request made."""
        need = None if new.heir_of else new.room
        # A part's file may be renamed to be a final's: then that row must exist.
        with self._reserve_space(need, new.group) as no_room, self.database.change(lazy=not new.parts) as connection:
            slot = None if new.group is None else self._reserve_slot(connection, new, new.group, now)
            again = None if slot is None else slot.again
            if again is None and admit is not None:
                again = admit(connection)
            if again is not None:
                return again
            if no_room is not None:
                raise no_room
            self.quotas.admit(connection, new, now)
            self._insert_with_event(connection, new, now)
            if new.heir_of:
                # Its bytes count for its owner from now on, in place of the reservation.
                received = self.store.size(new.heir_of) or 0
                statements.CLEAR_RESERVED.change(connection, {"upload": new.heir_of, "size": received})
            if new.parts:
                connection.execute(_INSERT_PARTS, new.part_rows())
            if slot is not None:
                groups.add_member(Session(connection), slot, new, self.new_id())
        return None

    @contextlib.contextmanager
    def _reserve_space(self, need: int | None, group: Group | None) -> Iterator[NoRoomError | None]:
        """Reserve disk space. A creation in a group may be a repetition, whose space is reserved already: without space
        for another upload, the error is returned and not raised."""
        with contextlib.ExitStack() as stack:
            refusal = None
            if need is not None:
                try:
                    stack.enter_context(self.reservations.reserve(need))
                except NoRoomError as error:
                    if group is None:
                        raise
                    refusal = error
            yield refusal

    def _reserve_slot(self, connection: Connection, new: NewUpload, group: Group, now: datetime) -> groups.Slot:
        session, until = Session(connection), self.facts.expiry(now)
        return groups.reserve_slot(
            session, group, new, node=self.policy.node, now=now, until=until, size=self.store.size
        )

    def _repeated_creation(self, upload_id: str, owner: str | None, *, is_reserved: bool) -> Facts:
        """An upload whose creation was repeated; an interrupted one is completed. Blocking.

        Raises `UploadLockedError` when that is happening just now, and `UploadGoneError` for an ended one whose id a
        grant has reserved.
        """
        with self.locks.try_hold(upload_id) as held:
            row = self.facts.find(upload_id)
            is_new = row is not None and row.status is UploadStatus.OPEN and row.concat is None and not row.received
            if is_new and self.store.size(upload_id) is None:
                if not held:
                    raise UploadLockedError
                self.store.create(upload_id, None if row is None else row.length)
        facts = self.facts.visible(row, owner)
        if not (facts.is_open or facts.is_complete):
            if is_reserved:
                raise UploadGoneError  # for good: a grant makes no second upload of one place
            raise UploadLockedError  # removed just now: on the next try its place is free, or it is refused
        return facts

    def record_append_start(self, upload_id: str, decision: Append, end: int | None) -> None:
        """Before the first byte: record the deferred length, and where a checked append starts. Blocking.

        With `end`, disk space up to that byte is reserved; raises `NoRoomError`, and as `OwnerQuotas.admit_growth`.
        """
        values: dict[str, int | None] = {"checked_from": decision.offset if decision.is_checked else None}
        if decision.length is not None:
            values["length"] = decision.length
        promise: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
        row, before, more = None, 0, 0
        if end is not None:
            row = self.facts.find(upload_id)
            before = _reserved_up_to(row, decision)
            more = max(0, end - before)
            values["reserved"] = before + more
            promise = self.reservations.reserve(more)
        with promise, self.database.write() as session:
            self.locks.fence(session.connection(), upload_id)
            changed(session, update(Upload).where(Upload.id == upload_id).values(**values))
            # A length is judged when it is declared, also one of bytes that are here: bodies of unknown length at once
            # may have brought more together than each of them could alone.
            if row is not None and (more or decision.length is not None):
                self.quotas.admit_growth(session.connection(), row.owner, row.created_at, before + more, self.clock())

    async def start_checked(self, upload_id: str, offset: int) -> None:
        """Before the first byte of an append with a checksum: record where it starts. For the event loop."""

        def start(connection: Link) -> int:
            self.locks.fence(connection, upload_id)
            return statements.START_CHECKED.change(connection, {"upload": upload_id, "offset": offset})

        await self.database.write_together(start, plain=True)

    async def end_checked(self, upload_id: str, media_type: str | None) -> Facts:
        """After the check: what the store has counts now. For the event loop."""
        now = self.clock()
        until = self.facts.expiry(now)

        def record(connection: Link) -> tuple[Row, int | None]:
            self.locks.fence(connection, upload_id)
            size = self.store.size(upload_id)
            values = {
                "upload": upload_id,
                "size": size or 0,
                "now": now,
                "until": until,
                "type": media_type,
            }
            statements.END_CHECKED.change(connection, values)
            return statements.FIND.one_or_none(connection, {"upload": upload_id}), size

        row, size = await self.database.write_together(record, lazy=True, plain=True)
        # Looking at a far store takes a thread.
        if self.store.is_quick:
            return self.facts.from_row(row, size, now)
        return await self.database.run(self.facts.from_row, row, size, now)

    def check_space(self, upload_id: str, decision: Append, end: int) -> None:
        """Raise what `record_append_start` would raise for space up to the byte `end`. Blocking."""
        row = self.facts.find(upload_id)
        more = max(0, end - _reserved_up_to(row, decision))
        if row is not None and (more or decision.length is not None):
            self.quotas.check_growth(row.owner, row.created_at, more, end)
        self.reservations.check(more)

    def record_offset(self, upload_id: str, media_type: str | None = None, defer_length: bool = False) -> Facts:
        """Write into the row what the store has now; all of it counts. Blocking.

        With `defer_length` the length is deferred again.
        """
        now = self.clock()
        size = self.store.size(upload_id)
        with self.database.write(lazy=True) as session:
            self.locks.fence(session.connection(), upload_id)
            values: dict[str, object] = {"updated_at": now, "expires_at": self.facts.expiry(now), "received": size or 0}
            values["checked_from"] = None  # the bytes that are there now were verified or taken back
            if media_type is not None:
                values["media_type"] = media_type
            if defer_length:
                values["length"] = None
                values["reserved"] = size or 0
            still_open = (Upload.id == upload_id, Upload.status == UploadStatus.OPEN)
            changed(session, update(Upload).where(*still_open).values(**values))
            row = session.get_one(Upload, upload_id)
        return self.facts.from_row(row, size, now)

    # Removal and repair

    def discard(self, upload_ids: Sequence[str]) -> None:
        """Remove the rows and bytes of open uploads whose request was never accepted. Blocking.

        Uploads that were completed meanwhile (by a transaction whose outcome was unknown, say) stay as they are.
        """
        for upload_id in upload_ids:
            with self.database.write() as session:
                groups.withdraw_member(session, upload_id)
                is_open = (Upload.id == upload_id, Upload.status == UploadStatus.OPEN)
                changed(session, update(Upload).where(*is_open).values(status=UploadStatus.TERMINATED))
                status = session.scalar(select(Upload.status).where(Upload.id == upload_id))
            if status is not None and status is not UploadStatus.COMPLETE:
                self.store.delete(upload_id)
                is_this = Upload.id == upload_id
                # Its group may have ended just now: then a task refers to the row.
                is_of_task = exists().where(TaskFile.upload_id == upload_id)
                with self.database.write() as session:
                    if not changed(session, delete(Upload).where(is_this, ~is_of_task)):
                        changed(session, update(Upload).where(is_this).values(has_bytes=False))

    def record_received(self, upload_id: str, size: int, until: datetime) -> None:
        """Write the size and expiry of an open upload into its row, after the process that received it has died.
        Blocking."""
        with self.database.change(lazy=True) as connection:
            statements.RECORD_RECEIVED.change(connection, {"upload": upload_id, "size": size, "until": until})

    def reconcile(self, upload_id: str) -> None:
        """Remove the bytes of a checked append whose process died before the check. Under the lock. Blocking."""
        row = self.facts.find(upload_id)
        if row is None or not self.facts.is_unchecked(row):
            return
        size = self.store.size(upload_id)
        if size is not None and size > row.checked_from:
            self.store.truncate(upload_id, row.checked_from)
        with self.database.write() as session:
            self.locks.fence(session.connection(), upload_id)
            changed(session, update(Upload).where(Upload.id == upload_id).values(checked_from=None))

    def locked_facts(self, upload_id: str, owner: str | None) -> Facts:
        """The facts under the upload's lock: unchecked bytes of an interrupted append are taken back. Raises as
        `UploadFacts.of`. Blocking."""
        row = self.facts.find(upload_id)
        if self.facts.is_unchecked(row):
            self.reconcile(upload_id)
            row = self.facts.find(upload_id)
        return self.facts.visible(row, owner)


def _reserved_up_to(row: Row | None, decision: Append) -> int:
    """The byte up to which an upload has, or had, disk space reserved."""
    return max(decision.offset, 0 if row is None else row.reserved)
