"""UploadService: create, append, finish, look, terminate.

Rules:

- The store says how many bytes there are; the row says everything else. Under the upload's lock, both are read,
  the protocol decides, and only then is a byte of the body touched.
- Going in, the row comes before the file. Going out, the row says so first (`status`, with `has_bytes` still
  true), then the file goes, then `has_bytes`: wherever that is cut, a sweep can end it from the rows alone.
- Completion happens once: `store.finish`, which may be repeated, then one transaction that moves the upload to
  complete and registers its task. Whoever finds all bytes of an open upload there (a HEAD, a PATCH, a sweep)
  finishes it.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from server import filenames, media_types, threads
from server.database.models import Upload, UploadPart
from server.database.session import Database, changed
from server.errors import (
    BodyTimeoutError,
    BodyTooLargeError,
    ChecksumMismatchError,
    ClientError,
    MediaTypeUnsupportedError,
    UploadGoneError,
    UploadLockedError,
    UploadNotFoundError,
)
from server.hooks import Hooks
from server.lifecycle import UPLOAD_MOVES, UploadStatus, sources
from server.settings import Settings
from server.storage import checksums
from server.storage.base import UploadStore
from server.storage.locks import UploadLocks
from server.tasks.wake import Wake
from server.transport.body import Body, End, Moved
from server.tus.protocol import PARTIAL, Append, Create, Facts


class ClientGoneError(Exception):
    """The client went away in the middle of its body: what came is kept, and there is nobody to answer."""


@dataclass(frozen=True)
class UploadService:
    """Everything that can be done to an upload. Owners are text; sizes and offsets are bytes."""

    settings: Settings
    database: Database
    store: UploadStore
    locks: UploadLocks
    hooks: Hooks
    wake: Wake
    clock: Callable[[], datetime]
    new_id: Callable[[], str]

    # Creation

    async def create(self, owner: str, decision: Create) -> Facts:
        """A new, empty tus upload. Raises `MediaTypeUnsupportedError` for its name, `StorageFullError`."""
        if not decision.is_partial:
            self.hooks.pre_create(decision.filename)
        upload_id = self.new_id()
        await self.database.run(
            partial(
                self.insert,
                upload_id,
                owner,
                protocol="tus",
                task_id=upload_id,
                length=decision.length,
                metadata_raw=decision.metadata_raw,
                filename=decision.filename,
                concat=decision.concat,
            )
        )
        return await self.database.run(self.facts, upload_id, owner)

    def insert(
        self,
        upload_id: str,
        owner: str,
        *,
        protocol: str,
        task_id: str,
        length: int | None,
        metadata_raw: str | None,
        filename: str | None,
        media_type: str | None = None,
        concat: str | None = None,
        parts: Sequence[str] = (),
    ) -> None:
        """The row, then the file; a final upload gets its file when it is joined. Blocking."""
        now = self.clock()
        # Held, so that a sweep does not take the row without its file for a creation that was cut short.
        with self.locks.try_hold(upload_id):
            with self.database.write() as session:
                session.execute(
                    insert(Upload).values(
                        id=upload_id,
                        owner=owner,
                        status=UploadStatus.OPEN,
                        protocol=protocol,
                        length=length,
                        received=0,
                        metadata_raw=metadata_raw,
                        filename=None if filename is None else filenames.display(filename),
                        media_type=media_type,
                        concat=concat,
                        has_bytes=True,
                        task_id=task_id,
                        created_at=now,
                        updated_at=now,
                        expires_at=self._expiry(now),
                    )
                )
                for position, part_id in enumerate(parts, 1):
                    session.execute(insert(UploadPart).values(final_id=upload_id, position=position, part_id=part_id))
            if parts:
                return
            try:
                self.store.create(upload_id)
            except Exception:
                self.forget([upload_id])
                raise

    # Bytes

    async def append(self, upload_id: str, owner: str, decide: Callable[[Facts], Append], body: Body) -> Facts:
        """Add bytes of `body` as `decide` says, and finish the upload when they were the last.

        Raises what `decide` raises, before a byte is read and before anybody else is disturbed;
        `MediaTypeUnsupportedError` when the first bytes are no video; `BodyTooLargeError`, `BodyTimeoutError`,
        `StorageFullError`; `UploadLockedError` when another request took the upload over; `ClientGoneError`.
        Afterwards the store's size is the offset, always.
        """

        def refuse_first() -> None:
            facts = self.facts(upload_id, owner)
            # All bytes there, and not yet registered: whoever holds the lock is about to. No answer may tell it.
            if facts.status is not UploadStatus.OPEN or facts.offset != facts.length:
                decide(facts)

        async with self.locks.hold(upload_id, partial(self.database.run, refuse_first)) as held:
            facts = await self._settled(await self.database.run(self.locked_facts, upload_id, owner))
            decision = decide(facts)
            if facts.is_complete:
                return facts  # a replayed last PATCH: its response was lost
            held.attach(body.stop)
            try:
                facts, end = await self._receive(facts, decision, body)
            except Exception as error:
                # The row may lag behind; that it could not be told must not hide what happened.
                with contextlib.suppress(SQLAlchemyError):
                    await self.database.run(self.reconcile, upload_id)
                    # What is refused changes nothing: a length equal to the offset would even complete the upload.
                    untold = decision.length is not None and isinstance(error, ClientError)
                    await self.database.run(self._record, upload_id, None, untold)
                raise
            if facts.offset == facts.length:
                return await self._settled(facts)
        if end is End.GONE:
            raise ClientGoneError
        if end is End.IDLE:
            raise BodyTimeoutError(seconds=f"{self.settings.body_idle_timeout:g}")
        if end is End.STOPPED:
            raise UploadLockedError
        return facts

    async def _receive(self, facts: Facts, decision: Append, body: Body) -> tuple[Facts, End]:
        media_type = await self._check_first_bytes(facts, decision, body)
        if decision.length is not None or decision.is_checked:
            await self.database.run(self._begin, facts.id, decision)
        hashed = checksums.new(decision.checksum.algorithm) if decision.checksum else None
        see = hashed.update if hashed else None
        # A chunked body may turn out too long behind the last byte there is room for. That byte waits until this is
        # known: with it in the store, a crash before the others are taken back would leave a complete upload. (What
        # is checked does not count before.)
        held_back = 0 if decision.exact or decision.is_checked else min(1, decision.limit)
        moved = await self.store.append(facts.id, decision.offset, body, decision.limit - held_back, see)
        if not decision.exact and moved.end is End.LIMIT:
            rest, end = await body.peek(held_back + 1)
            if len(rest) > held_back:
                # It was never meant for this upload; nothing of it stays.
                await self._take_back(facts.id, decision.offset)
                raise BodyTooLargeError(room=decision.limit)
            if rest:
                await self.store.append(facts.id, decision.offset + moved.count, body, held_back, see)
            moved = Moved(moved.count + len(rest), end)
        if decision.is_checked and not await self._check_sum(facts.id, decision, moved, hashed, body):
            media_type = facts.media_type  # bytes that were taken back prove nothing
        return await self.database.run(self._record, facts.id, media_type), moved.end

    def _begin(self, upload_id: str, decision: Append) -> None:
        """Before the first byte: the length that was deferred, and where a checked append starts. Blocking."""
        values: dict[str, object] = {"checked_from": decision.offset if decision.is_checked else None}
        if decision.length is not None:
            values["length"] = decision.length
        with self.database.write() as session:
            changed(session, update(Upload).where(Upload.id == upload_id).values(**values))

    async def _check_sum(
        self, upload_id: str, decision: Append, moved: Moved, hashed: checksums.Hash | None, body: Body
    ) -> bool:
        """Keep the bytes of a checked append only when all came and they are the right ones.

        Tells whether all came. Raises `ChecksumMismatchError` when they are others.
        """
        whole = moved.count == decision.limit if decision.exact else moved.end is End.COMPLETE
        if not whole:
            await self._take_back(upload_id, decision.offset)
            return False
        try:
            expected = decision.checksum or decision.trailing_checksum(body.trailers)
            if hashed is None and expected is not None:
                # Which algorithm it is was told behind the bytes.
                hashed = checksums.new(expected.algorithm)
                show = partial(self.store.show, upload_id, decision.offset, hashed.update)
                await threads.run(show)
            if expected is None or hashed is None or hashed.digest() != expected.digest:
                raise ChecksumMismatchError
        except ClientError:
            await self._take_back(upload_id, decision.offset)
            raise
        return True

    async def _take_back(self, upload_id: str, offset: int) -> None:
        await threads.run(self.store.truncate, upload_id, offset)

    async def _check_first_bytes(self, facts: Facts, decision: Append, body: Body) -> str | None:
        """The media type, as soon as 64 bytes or the end are there; a body that is refused is not stored."""
        if facts.media_type is not None or facts.is_partial or facts.offset >= media_types.SNIFF_BYTES:
            return facts.media_type
        front, _ = await body.peek(min(media_types.SNIFF_BYTES - facts.offset, decision.limit))
        there = await threads.run(self.store.head, facts.id, facts.offset) if facts.offset else b""
        head = there + front
        length = facts.length if facts.length is not None else decision.length
        if len(head) < media_types.SNIFF_BYTES and len(head) != length:
            return None
        return await self._check_content(facts, head)

    async def _check_content(self, facts: Facts, head: bytes) -> str | None:
        try:
            return self.hooks.check_content(facts.filename, head)
        except MediaTypeUnsupportedError:
            await self.database.run(self.remove, facts.id, UploadStatus.REJECTED)
            raise

    def _record(self, upload_id: str, media_type: str | None = None, untold: bool = False) -> Facts:
        """Tell the row what the store has now: for reports, and for the expiry. Blocking.

        With `untold` the length is deferred again.
        """
        now = self.clock()
        size = self.store.size(upload_id)
        with self.database.write() as session:
            values: dict[str, object] = {"updated_at": now, "expires_at": self._expiry(now), "received": size or 0}
            values["checked_from"] = None  # what is there now was checked, or taken back
            if media_type is not None:
                values["media_type"] = media_type
            if untold:
                values["length"] = None
            still_open = (Upload.id == upload_id, Upload.status == UploadStatus.OPEN)
            changed(session, update(Upload).where(*still_open).values(**values))
            row = session.get_one(Upload, upload_id)
        return self._facts(row, size, now)

    # Completion

    async def _settled(self, facts: Facts) -> Facts:
        """An open upload that has every byte was cut off from its completion: complete it before all else.

        No answer may say that all bytes are there (a 409 with the offset would) while nobody has registered them.
        """
        if facts.status is UploadStatus.OPEN and facts.offset == facts.length:
            return await self.finish(facts)
        return facts

    async def finish(self, facts: Facts) -> Facts:
        """Every byte is there: make it so for good, and register the task. Under the upload's lock."""
        if facts.media_type is None and not facts.is_partial:
            # The check was cut short by a crash, or nothing has to be a video here.
            head = await threads.run(self.store.head, facts.id, media_types.SNIFF_BYTES)
            facts = replace(facts, media_type=await self._check_content(facts, head))
        await threads.run(self.store.finish, facts.id)
        await self.database.run(self.complete, [facts.id], facts.id, {facts.id: facts.media_type})
        return replace(facts, status=UploadStatus.COMPLETE)

    def complete(self, upload_ids: Sequence[str], task_id: str, found: dict[str, str | None]) -> None:
        """One transaction: the uploads are complete and their task is registered. Idempotent. Blocking.

        The store must have finished them. Raises `UploadGoneError` if one was removed meanwhile.
        """
        now = self.clock()
        with self.database.write() as session:
            values = {"status": UploadStatus.COMPLETE, "updated_at": now, "completed_at": now}
            moved = 0
            for upload_id in upload_ids:
                size = self.store.size(upload_id)
                may_move = (Upload.id == upload_id, Upload.status.in_(sources(UPLOAD_MOVES, UploadStatus.COMPLETE)))
                whole = {**values, "length": size, "received": size, "media_type": found.get(upload_id)}
                moved += changed(session, update(Upload).where(*may_move).values(**whole))
            rows = session.scalars(select(Upload).where(Upload.id.in_(upload_ids))).all()
            if moved != len(upload_ids):
                if moved == 0 and rows and all(row.status is UploadStatus.COMPLETE for row in rows):
                    return
                raise UploadGoneError
            if all(row.concat == PARTIAL for row in rows):
                return  # a part of an upload to come is nothing that could be processed
            by_id = {row.id: row for row in rows}
            self.hooks.post_finish(session, task_id, [by_id[upload_id] for upload_id in upload_ids], now)
        self.wake.notify()

    # Looking, and removal

    async def look(self, upload_id: str, owner: str) -> Facts:
        """The truth about an upload. A body that is being received is told to let go, so that it is the truth."""
        facts = await self.database.run(self.facts, upload_id, owner)
        if facts.status is not UploadStatus.OPEN:
            return facts
        async with self.locks.hold(upload_id):
            return await self._settled(await self.database.run(self.locked_facts, upload_id, owner))

    async def terminate(self, upload_id: str, owner: str, check: Callable[[Facts], None]) -> None:
        """Remove an upload. Raises what `check` raises, and `TaskRunningError` while a task needs it."""
        async with self.locks.hold(upload_id):
            check(await self.database.run(self.facts, upload_id, owner))
            await self.database.run(self.remove, upload_id, UploadStatus.TERMINATED)

    def remove(self, upload_id: str, target: UploadStatus) -> bool:
        """Take the bytes away and say why; tells whether the upload could make that move. Blocking."""
        now = self.clock()
        with self.database.write() as session:
            row = session.get(Upload, upload_id)
            if row is not None and target is UploadStatus.TERMINATED and row.status is UploadStatus.COMPLETE:
                self.hooks.pre_terminate(session, row)
            may_move = (Upload.id == upload_id, Upload.status.in_(sources(UPLOAD_MOVES, target)))
            if not changed(session, update(Upload).where(*may_move).values(status=target, updated_at=now)):
                return False
        self.delete_bytes(upload_id)
        return True

    def delete_bytes(self, upload_id: str) -> None:
        """The file goes, then the row says that it is gone. Idempotent. Blocking."""
        self.store.delete(upload_id)
        with self.database.write() as session:
            changed(session, update(Upload).where(Upload.id == upload_id).values(has_bytes=False))

    def forget(self, upload_ids: Sequence[str]) -> None:
        """Remove open uploads without a trace: those of a request that never was one. Blocking.

        Those that were completed meanwhile (by a transaction whose answer was lost, say) are left as they are.
        """
        for upload_id in upload_ids:
            with self.database.write() as session:
                is_open = (Upload.id == upload_id, Upload.status == UploadStatus.OPEN)
                changed(session, update(Upload).where(*is_open).values(status=UploadStatus.TERMINATED))
                status = session.scalar(select(Upload.status).where(Upload.id == upload_id))
            if status is not None and status is not UploadStatus.COMPLETE:
                self.store.delete(upload_id)
                with self.database.write() as session:
                    changed(session, delete(Upload).where(Upload.id == upload_id))

    # Facts

    def facts(self, upload_id: str, owner: str) -> Facts:
        """Row and store as they are. Raises `UploadNotFoundError`, `UploadGoneError`. Blocking."""
        with self.database.read() as session:
            row = session.get(Upload, upload_id)
        if row is None or row.owner != owner or row.protocol != "tus":
            raise UploadNotFoundError
        size = self._size(row)
        # Its bytes are lost, unless it is a final that waits for its parts. What is over is judged by its status.
        if size is None and row.status is UploadStatus.OPEN and row.concat in (None, PARTIAL):
            raise UploadGoneError
        return self._facts(row, size, self.clock())

    def _size(self, row: Upload) -> int | None:
        if row.status is not UploadStatus.OPEN:
            return row.length
        size = self.store.size(row.id)
        # What a checked append has brought so far does not count before it was checked.
        return size if size is None or row.checked_from is None else min(size, row.checked_from)

    def expiry_of(self, row: Upload) -> datetime:
        """When an open upload expires. Its row may lag behind a body that was cut off; its bytes tell better."""
        modified = self.store.modified(row.id) if row.status is UploadStatus.OPEN else None
        return row.expires_at if modified is None else max(row.expires_at, self._expiry(modified))

    def locked_facts(self, upload_id: str, owner: str) -> Facts:
        """The same under the upload's lock: what an append that was cut short left unchecked is taken back."""
        self.reconcile(upload_id)
        return self.facts(upload_id, owner)

    def reconcile(self, upload_id: str) -> None:
        """Forget the bytes of a checked append that its process did not live to check. Under the lock. Blocking."""
        with self.database.read() as session:
            row = session.get(Upload, upload_id)
        if row is None or row.checked_from is None or row.status is not UploadStatus.OPEN:
            return
        size = self.store.size(upload_id)
        if size is not None and size > row.checked_from:
            self.store.truncate(upload_id, row.checked_from)
        with self.database.write() as session:
            changed(session, update(Upload).where(Upload.id == upload_id).values(checked_from=None))

    def _facts(self, row: Upload, size: int | None, now: datetime) -> Facts:
        return Facts(
            id=row.id,
            status=row.status,
            offset=size or 0,
            length=row.length,
            metadata_raw=row.metadata_raw,
            filename=row.filename,
            media_type=row.media_type,
            concat=row.concat,
            expires_at=self.expiry_of(row),
            now=now,
            accepted=media_types.ACCEPTED,
        )

    def _expiry(self, now: datetime) -> datetime:
        return now + timedelta(seconds=self.settings.upload_expiry)
