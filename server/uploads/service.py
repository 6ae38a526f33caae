"""UploadService: create, append, finish, inspect.

Rules:

- The store knows how many bytes there are; the row knows everything else. Under the upload's lock, both are read,
  the protocol decides, and only then is a byte of the body touched.
- Completion happens once (`completion.complete_verified`). A request (HEAD, PATCH) or sweep that finds all bytes of an
  open upload finishes it.
"""

import contextlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from server import media_types, threads
from server.database.session import Database
from server.errors import (
    BodyTimeoutError,
    BodyTooLargeError,
    ChecksumMismatchError,
    ClientError,
    MediaTypeUnsupportedError,
    UploadCompleteError,
    UploadGoneError,
    UploadLockedError,
    UploadTooLargeError,
)
from server.lifecycle import UploadStatus
from server.settings import Settings
from server.storage import checksums
from server.storage.base import Capability, UploadStore
from server.storage.locks import HeldLock, UploadLocks
from server.transport.body import Body, End, Moved, Tap
from server.tus.protocol import Append, Create, Facts, State
from server.uploads import grant_parts
from server.uploads.completion import UploadCompletion
from server.uploads.deletion import UploadDeletion
from server.uploads.facts import UploadFacts
from server.uploads.new_upload import NO_TERMS, CreationTerms, NewUpload
from server.uploads.policy import UploadPolicy
from server.uploads.progress import ProgressUpdate, ProgressWriter
from server.uploads.quotas import OwnerQuotas
from server.uploads.repository import UploadRepository


class ClientGoneError(Exception):
    """The client went away in the middle of its body: received bytes are kept, and no response is possible."""


@dataclass(frozen=True, kw_only=True, repr=False)
class UploadService:
    """Everything that a client can do to an upload. Owners are text; sizes and offsets are bytes."""

    settings: Settings
    database: Database
    store: UploadStore
    locks: UploadLocks
    policy: UploadPolicy
    progress: ProgressWriter
    quotas: OwnerQuotas
    repository: UploadRepository
    completion: UploadCompletion
    facts: UploadFacts
    deletion: UploadDeletion
    clock: Callable[[], datetime]
    new_id: Callable[[], str]

    # Creation

    async def create(self, owner: str, decision: Create, terms: CreationTerms = NO_TERMS) -> Facts:
        """A new, empty tus upload, or the one that `terms` name. Raises `MediaTypeUnsupportedError` for its name,
        `TooLargeToScanError`, `UploadTooLargeError`, `QuotaTooSmallError`, `QuotaReachedError`, `NoRoomError`,
        `StorageFullError`."""
        if not decision.is_partial:
            self.policy.check_filename(decision.filename, only=terms.types)
        self.policy.check_length(decision.length)
        if terms.max_size is not None and (decision.length or 0) > terms.max_size:
            raise UploadTooLargeError(limit=terms.max_size)
        upload_id = terms.upload_id or self.new_id()
        new = NewUpload(
            id=upload_id,
            owner=owner,
            protocol="tus",
            client=decision.client,
            task_id=decision.group.task_id if decision.group else upload_id,
            group=decision.group,
            length=decision.length,
            metadata_raw=decision.metadata_raw,
            filename=decision.filename,
            passthrough=decision.passthrough,
            concat=decision.concat,
            terms=terms,
        )
        if decision.is_partial and terms.grant_id is not None:
            largest = min(int(self.settings.tus_max_size), terms.max_size or sys.maxsize)
            return await self.database.run(self.repository.insert, new, partial(_admit_part, new, largest))
        if new.group is None and terms.upload_id is None:
            return await self.repository.insert_from_loop(new)
        return await self.database.run(self.repository.insert, new)

    # Bytes

    async def append(self, upload_id: str, owner: str | None, decide: Callable[[Facts], Append], body: Body) -> Facts:
        """Append bytes of `body` as `decide` decides, and finish the upload when they were the last.

        Raises what `decide` raises, before a byte is read and before another request is interrupted; `NoRoomError`,
        `QuotaTooSmallError` and `QuotaReachedError` for a deferred length, before a byte is read;
        `MediaTypeUnsupportedError` when the first bytes are not a video's; `BodyTooLargeError`, `BodyTimeoutError`,
        `StorageFullError`; `UploadLockedError` when another request took the upload over; `ClientGoneError`.
        Afterwards the store's size is the offset, always.
        """

        def refuse_first() -> None:
            facts = self.facts.of(upload_id, owner)
            # It has all bytes, and the lock's holder is about to register it. No response may report that offset yet.
            if not facts.is_open or facts.offset != facts.length:
                decide(facts)

        async with self.locks.hold(upload_id, partial(self.database.run, refuse_first)) as held:
            facts = await self._locked_facts(upload_id, owner)
            decision = decide(facts)
            if facts.is_complete:
                await self._check_replayed(facts, decision, body, held)
                return facts
            decision = await self._limit_to_quota(facts, facts.owner, self._limit_for_scan(facts, decision))
            held.attach_body(body)
            try:
                facts, end = await self._receive(facts, decision, body)
            except Exception as error:
                await self._record_what_is_left(upload_id, decision, error)
                raise
            if end is End.STOPPED and await self.database.run(self.deletion.delete_if_ended, upload_id):
                raise UploadGoneError  # its group ended
            if facts.offset == facts.length:
                return await self._completed(facts)
        if end is End.GONE:
            raise ClientGoneError
        if end is End.IDLE:
            raise BodyTimeoutError(seconds=f"{self.settings.body_idle_timeout:g}")
        if end is End.STOPPED:
            raise UploadLockedError
        return facts

    async def _check_replayed(self, facts: Facts, decision: Append, body: Body, held: HeldLock) -> None:
        """A last PATCH that is repeated after a lost response has no byte, whatever its framing.

        tus-java-client sends it chunked. Raises `UploadCompleteError`.
        """
        if not decision.exact:
            held.attach_body(body)
            if not await body.is_empty():
                raise UploadCompleteError(offset=facts.offset)

    async def _record_what_is_left(self, upload_id: str, decision: Append, error: Exception) -> None:
        """After an append that failed: unchecked bytes are removed, and the row gets the new offset.

        An error of this update must not hide the first error: then the row is updated when the database is back.
        """
        try:
            await self.database.run(self.repository.reconcile, upload_id)
            # A refused request changes nothing: a length equal to the offset would even complete the upload.
            defer_length = decision.length is not None and isinstance(error, ClientError)
            now = await self.database.run(self.repository.record_offset, upload_id, None, defer_length)
            self.progress.record(upload_id, ProgressUpdate(now.offset, None, now.now))  # older updates are obsolete
        except SQLAlchemyError:
            latest = await threads.run(self.facts.progress, upload_id)
            if latest is not None:
                self.progress.record(upload_id, latest)

    async def _completed(self, facts: Facts) -> Facts:
        """Complete an upload whose last byte came with this request. If that fails, its row gets the full offset."""
        try:
            return await self._complete_if_whole(facts)
        except Exception:
            self.progress.record(facts.id, ProgressUpdate(facts.offset, None, facts.now))
            raise

    def _limit_for_scan(self, facts: Facts, decision: Append) -> Append:
        """The append, limited so that an upload of unknown length can be scanned. Raises `TooLargeToScanError`."""
        limit = self.policy.scan_limit
        if limit is None or facts.length is not None:
            return decision  # it was checked when its length was declared
        end = decision.offset + decision.limit
        self.policy.check_length(end if decision.length is None and decision.exact else decision.length)
        return decision._replace(limit=min(end, limit) - decision.offset)

    async def _limit_to_quota(self, facts: Facts, owner: str, decision: Append) -> Append:
        """The append; a body of unknown length is limited to the bytes that the owner may still have."""
        if facts.length is not None or decision.length is not None or decision.exact:
            return decision
        room = await self.database.run(self.quotas.room, owner)
        return decision if room is None else decision._replace(limit=min(decision.limit, room.left))

    async def _receive(self, facts: Facts, decision: Append, body: Body) -> tuple[Facts, End]:
        declared = self._declared_end(facts, decision)
        if declared is not None:
            await self.database.run(self.repository.check_space, facts.id, decision, declared)  # before a byte is read
        media_type = await self._check_first_bytes(facts, decision, body)
        if facts.first_byte_at is None and not facts.offset:
            facts = facts._replace(first_byte_at=self.clock())
        if declared is not None:
            await self.database.run(self.repository.record_append_start, facts.id, decision, declared)
        elif decision.is_checked:
            await self.repository.start_checked(facts.id, decision.offset)
        seen = self._hash_of(decision)
        see = seen.update if seen else None
        # A chunked body may turn out longer than the room that is left. Its last byte is held back until that is known:
        # with it in the store, a crash before the others are taken back would leave a complete upload. (Bytes with a
        # checksum do not count before they are verified.)
        held_back = 0 if decision.exact or decision.is_checked else min(1, decision.limit)
        # Bytes with a checksum may be taken back: they do not count before.
        is_news = not decision.is_checked
        with self.progress.tracking(facts.id, self.facts.progress) if is_news else contextlib.nullcontext():
            moved = await self._store_bytes(facts.id, decision.offset, body, decision.limit - held_back, see)
        if not decision.exact and moved.end is End.LIMIT:
            rest, end = await body.peek(held_back + 1)
            if len(rest) > held_back:
                # These bytes were never meant for this upload; none of them is kept.
                await self._truncate(facts.id, decision.offset)
                raise BodyTooLargeError(room=decision.limit)
            if rest:
                await self._store_bytes(facts.id, decision.offset + moved.count, body, held_back, see)
            moved = Moved(moved.count + len(rest), end)
        if decision.is_checked and not await self._verify_checksum(facts.id, decision, moved, seen, body):
            media_type = facts.media_type  # bytes that were taken back prove nothing
        if decision.is_checked:
            return await self.repository.end_checked(facts.id, media_type), moved.end
        return self._record_progress(facts, decision, moved, media_type), moved.end

    def _hash_of(self, decision: Append) -> checksums.Hash | checksums.EveryHash | None:
        """What sees the bytes of an append on their way. The trailer that names an algorithm comes after them."""
        if decision.checksum:
            return checksums.new(decision.checksum.algorithm)
        reads_back = Capability.READ_BACK in self.store.capabilities
        return checksums.EveryHash() if decision.trailing and not reads_back else None

    async def _store_bytes(self, upload_id: str, offset: int, body: Body, limit: int, see: Tap | None) -> Moved:
        moved = await self.store.append(upload_id, offset, body, limit, see)
        if body.permit is not None:
            body.permit()  # whatever is acknowledged was written while the lock was ours
        return moved

    def _declared_end(self, facts: Facts, decision: Append) -> int | None:
        """The least length that an upload of unknown length will have, if this request declares it."""
        if decision.length is not None or facts.length is not None:
            return decision.length
        return decision.offset + decision.limit if decision.exact else None

    def _record_progress(self, facts: Facts, decision: Append, moved: Moved, media_type: str | None) -> Facts:
        """The facts of the upload after an append; its row is updated within a second."""
        now = self.clock()
        length = facts.length if decision.length is None else decision.length
        offset, until = decision.offset + moved.count, self.facts.expiry(now)
        if offset != length:  # otherwise it is complete, and the completion updates its row
            self.progress.record(facts.id, ProgressUpdate(offset, media_type, now, facts.first_byte_at))
        return facts._replace(offset=offset, length=length, media_type=media_type, expires_at=until, now=now)

    async def _verify_checksum(
        self,
        upload_id: str,
        decision: Append,
        moved: Moved,
        seen: checksums.Hash | checksums.EveryHash | None,
        body: Body,
    ) -> bool:
        """Keep the bytes of a checked append only when all came and the checksum matches.

        Returns whether all came. Raises `ChecksumMismatchError` when it does not match.
        """
        whole = moved.count == decision.limit if decision.exact else moved.end is End.COMPLETE
        if not whole:
            await self._truncate(upload_id, decision.offset)
            return False
        try:
            expected = decision.checksum or decision.trailing_checksum(body.trailers)
            hashed = None if isinstance(seen, checksums.EveryHash) else seen
            if expected is not None and isinstance(seen, checksums.EveryHash):
                hashed = seen.of(expected.algorithm)
            elif hashed is None and expected is not None:
                # The trailer has the algorithm, after the bytes.
                hashed = checksums.new(expected.algorithm)
                show = partial(self.store.show, upload_id, decision.offset, hashed.update)
                await threads.run(show)
            if expected is None or hashed is None or hashed.digest() != expected.digest:
                raise ChecksumMismatchError
        except ClientError:
            await self._truncate(upload_id, decision.offset)
            raise
        return True

    async def _truncate(self, upload_id: str, offset: int) -> None:
        await threads.run(self.store.truncate, upload_id, offset)

    async def _check_first_bytes(self, facts: Facts, decision: Append, body: Body) -> str | None:
        """The media type, as soon as 64 bytes or the end are there; a refused body is not stored."""
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
        types = None
        if facts.grant_id is not None:
            types = await self.database.run(self.facts.types_of_grant, facts.grant_id)
        try:
            return self.policy.check_content(facts.filename, head, only=types)
        except MediaTypeUnsupportedError as error:
            await self.database.run(self.deletion.remove, facts.id, UploadStatus.REJECTED, error)
            raise

    # Completion

    async def _locked_facts(self, upload_id: str, owner: str | None) -> Facts:
        """The facts under the upload's lock; an upload whose completion was interrupted is completed first."""
        facts = self.facts.at_once(upload_id, owner)
        if facts is None:
            facts = await self.database.run(self.repository.locked_facts, upload_id, owner)
        return await self._complete_if_whole(facts)

    async def _complete_if_whole(self, facts: Facts) -> Facts:
        """Complete an open upload that has every byte, after its completion was interrupted, before all else.

        No response may show that all bytes are there (a 409 with the offset would) before they are registered.
        """
        if facts.is_open and facts.offset == facts.length:
            return await self.finish(facts)
        return facts

    async def finish(self, facts: Facts) -> Facts:
        """Every byte is there: complete the upload, and register the task. Under the upload's lock."""
        if facts.media_type is None and not facts.is_partial:
            try:
                media_type = await threads.run(self.completion.verified_type, facts)
            except MediaTypeUnsupportedError as error:
                await self.database.run(self.deletion.remove, facts.id, UploadStatus.REJECTED, error)
                raise
            facts = facts._replace(media_type=media_type)
        # A body that ended less than a second ago may have reported it to the progress only.
        first = facts.first_byte_at or self.progress.first_byte_at(facts.id)
        await self.completion.complete_tus_from_loop(facts, first)
        return facts._replace(state=State.COMPLETE)

    # Looking

    def at_rest(self, upload_id: str, owner: str | None) -> Facts | None:
        """The true state of an upload that no request or sweep works on, on the event loop. Raises as `UploadFacts.of`.

        None where that takes more than a look: it is busy, is to be completed, or is made of others or a part of one.
        """
        if not (self.store.is_quick and self.database.looks_at_once):
            return None
        with self.locks.try_hold(upload_id) as is_held:
            facts = self.facts.at_once(upload_id, owner) if is_held else None
        if facts is None or facts.concat is not None or (facts.is_open and facts.offset == facts.length):
            return None
        self._record_resumed(facts)
        return facts

    def _record_resumed(self, facts: Facts) -> None:
        if facts.is_open and facts.offset and not facts.is_final:
            self.progress.record_resumed(facts.id)

    async def inspect(self, upload_id: str, owner: str | None) -> Facts:
        """The true state of an upload. A running body is asked to stop first, so that the offset stays true."""
        settled: list[Facts] = []

        async def is_settled() -> bool:
            facts = await self.database.run(self.facts.of, upload_id, owner)
            if not facts.is_open:
                settled.append(facts)
            return not facts.is_open

        async with self.locks.hold_unless(upload_id, is_settled) as held:
            if held is None:  # it does not change any more: no need to wait for its lock
                return settled[0]
            facts = await self._locked_facts(upload_id, owner)
            self._record_resumed(facts)
            return facts


def _admit_part(new: NewUpload, largest: int, connection: Connection) -> None:
    grant_parts.admit(connection, new, largest)
