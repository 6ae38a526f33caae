"""Final uploads: partial ones joined in order (tus 1.0.0, section Concatenation).

Rules:

- Lock order, for files: the final's lock first, then those of its parts in the order of their ids. A request that
  holds a part's lock may try a final's, and never waits for it. For rows: the task of a group, then uploads by id.
- What is checked before a lock is held is checked again under it. A final is inserted while the rows of its parts are
  locked, and the transaction that completes it releases the parts that no other final needs.
- No part loses a byte to a final before the final is complete: the final shares the file of its first part, or copies
  it. So a final that ends unjoined has only its reservation to give back.
- A final may be created while its parts are still coming (concatenation-unfinished). The request that completes the
  last part, a HEAD of the final, or a sweep joins them. Joining that was cut short continues where the store says it
  was. A final whose part is gone ends.
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

import structlog
from sqlalchemy import Connection, func, or_, select, update
from sqlalchemy.orm import Session

from server import media_types, threads
from server.database.models import Upload, UploadPart
from server.database.session import AWAY, Database, changed
from server.errors import (
    BusyError,
    ClientError,
    GrantMismatchError,
    MediaTypeUnsupportedError,
    PartInvalidError,
    TooManyFinalsError,
    UploadGoneError,
    UploadLockedError,
    UploadTooLargeError,
)
from server.lifecycle import UploadStatus
from server.settings import Settings
from server.storage.base import UploadStore
from server.storage.locks import UploadLocks
from server.tus.protocol import Create, Facts
from server.uploads.completion import UploadCompletion
from server.uploads.deletion import UploadDeletion
from server.uploads.facts import UploadFacts
from server.uploads.new_upload import NO_TERMS, CreationTerms, NewUpload
from server.uploads.policy import UploadPolicy
from server.uploads.repository import UploadRepository
from server.uploads.service import UploadService

MAX_WAITING = 8
"""Final uploads that may wait for one part: each of them writes its bytes once more."""

_LIVE = (UploadStatus.OPEN, UploadStatus.COMPLETE)
_RETRY_SECONDS = 0.05
_PATIENCE_SECONDS = 5.0
# How long a request waits for a join; after that it is answered, and the join goes on.
_ANSWER_SECONDS = 20.0
# How long a request waits for joins that it did not ask for.
_AFTER_SECONDS = 5.0

# Joins move gigabytes: they have threads of their own, so that they hold up no other work.
_threads = ThreadPoolExecutor(4, "join")
_log = structlog.stdlib.get_logger("videodock.uploads")


@dataclass(frozen=True, kw_only=True, repr=False)
class FinalService:
    """Creates final uploads and joins their parts."""

    settings: Settings
    database: Database
    store: UploadStore
    locks: UploadLocks
    policy: UploadPolicy
    repository: UploadRepository
    completion: UploadCompletion
    facts: UploadFacts
    deletion: UploadDeletion
    uploads: UploadService
    clock: Callable[[], datetime]
    new_id: Callable[[], str]
    _joins: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    async def create(self, owner: str, decision: Create, terms: CreationTerms = NO_TERMS) -> Facts:
        """Create a final upload; joined at once when all parts are there. An equal request finds the same upload.

        Raises `PartInvalidError`, `TooManyFinalsError`, `UploadTooLargeError`, `MediaTypeUnsupportedError`,
        `NoRoomError`, `StorageFullError`.
        """
        self.policy.check_filename(decision.filename, only=terms.types)
        upload_id = terms.upload_id or self.new_id()
        upload_id = await self.database.run(partial(self._insert, upload_id, owner, decision, terms))
        await self._joined(upload_id, _ANSWER_SECONDS)
        return await self.database.run(self.facts.of, upload_id, owner)

    async def inspect(self, upload_id: str, owner: str | None) -> Facts:
        """The facts of an upload; a final one that is not joined yet is joined, if that is possible now."""
        if upload_id not in self._joins:
            facts = await self._look(upload_id, owner)
            if not facts.is_final or not facts.is_open:
                return facts
        with contextlib.suppress(PartInvalidError):  # it has ended, and its facts say so
            await self._joined(upload_id, _ANSWER_SECONDS)
        return await self.database.run(self.facts.of, upload_id, owner)

    async def _look(self, upload_id: str, owner: str | None) -> Facts:
        try:
            return await self.uploads.inspect(upload_id, owner)
        except UploadLockedError:
            facts = await self.database.run(self.facts.of, upload_id, owner)
            if not facts.is_final:
                raise
            return facts  # another process joins it

    async def join_waiting(self, part: Facts) -> None:
        """A part is complete: join the finals that waited for it. Its lock must not be held.

        A join that takes longer than a few seconds goes on after this has returned.
        """
        if part.is_partial and part.is_complete:
            waiting = await self.database.run(self.deletion.waiting, part.id)
            if waiting:
                await asyncio.wait([self._begin(final_id) for final_id in waiting], timeout=_AFTER_SECONDS)

    async def _joined(self, final_id: str, seconds: float) -> None:
        """Join a final, and wait at most `seconds`; raises what `join` raises in that time."""
        joining = self._begin(final_id)
        await asyncio.wait({joining}, timeout=seconds)
        if joining.done():
            with contextlib.suppress(UploadLockedError):  # a request joins it, or appends to a part: it stays open
                joining.result()

    def _begin(self, final_id: str) -> asyncio.Task[None]:
        """The asyncio task that joins a final: one for all requests that want it."""
        joining = self._joins.get(final_id)
        if joining is None:
            joining = self._joins[final_id] = asyncio.create_task(self._join_alone(final_id))
            joining.add_done_callback(partial(self._ended, final_id))
        return joining

    async def _join_alone(self, final_id: str) -> None:
        async with self.locks.hold(final_id):
            await threads.run(partial(self.join, final_id, patience=_PATIENCE_SECONDS), pool=_threads)

    def _ended(self, final_id: str, joining: asyncio.Task[None]) -> None:
        del self._joins[final_id]
        error = None if joining.cancelled() else joining.exception()
        # A fault of the final is reported to a request for the final, not to the request that completed a part.
        if error is not None and not isinstance(error, (ClientError, BusyError, *AWAY)):
            _log.error("join_failed", upload=final_id, exc_info=error)

    def join(self, final_id: str, *, patience: float) -> bool:
        """Join the parts if all are complete; returns whether the final is complete. Under its lock. Blocking.

        Raises `PartInvalidError` when a part is gone, and `MediaTypeUnsupportedError` when the joined bytes are not a
        video: the final has ended then, and the other parts stay. Raises `UploadLockedError` when a part is busy for
        more than `patience` seconds, `StorageFullError`.
        """
        final, parts = self._load(final_id)
        if final.status is not UploadStatus.OPEN or not self._is_ready(final, parts):
            return final.status is UploadStatus.COMPLETE
        with contextlib.ExitStack() as stack:
            deadline = time.monotonic() + patience
            for part_id in sorted({part.id for part in parts}):
                stack.enter_context(self._hold(part_id, deadline))
            final, parts = self._load(final_id)  # again, now that no request can change them
            if final.status is not UploadStatus.OPEN or not self._is_ready(final, parts):
                return final.status is UploadStatus.COMPLETE
            try:
                self._join(final, parts)
            except FileNotFoundError:
                self._end_without(final, parts)
                raise
            except UploadGoneError:
                self.deletion.delete_if_ended(final_id)  # with its group
                raise
        return True

    def can_join(self, final_id: str) -> bool | None:
        """Whether `join` would find all parts complete; None when it would end the final. Blocking."""
        _, parts = self._load(final_id)
        if any(part.status not in _LIVE for part in parts):
            return None
        return all(part.status is UploadStatus.COMPLETE for part in parts)

    def _is_ready(self, final: Upload, parts: Sequence[Upload]) -> bool:
        """Whether all parts are complete. Ends the final and raises `PartInvalidError` when one is gone."""
        gone = next((part for part in parts if part.status not in _LIVE), None)
        if gone is not None:
            self.deletion.remove(final.id, UploadStatus.TERMINATED)
            raise PartInvalidError(part=gone.id)
        return all(part.status is UploadStatus.COMPLETE for part in parts)

    def _join(self, final: Upload, parts: Sequence[Upload]) -> None:
        """Join, with all parts complete, and their locks and the final's held."""
        media_type = self._check_content(final, parts)
        sizes = [(part.id, part.length or 0) for part in parts]
        ids = sorted({part_id for part_id, _ in sizes})
        # A final with a reservation for all its bytes was created while another one wanted the first part's file.
        is_first_once = [part_id for part_id, _ in sizes].count(sizes[0][0]) == 1
        may_share = is_first_once and final.reserved < sum(size for _, size in sizes)
        self.store.concatenate(final.id, sizes, may_share=may_share)
        given_up: list[str] = []
        also = partial(self._give_up, ids, final.id, given_up)
        self.completion.complete_verified({final.id: media_type}, final.id, also)
        self.deletion.delete_all_bytes(given_up)

    def _give_up(self, part_ids: Sequence[str], final_id: str, given_up: list[str], session: Session) -> None:
        """In the transaction that completes a final: end its parts, except those that other open finals want."""
        _hold_rows(session, part_ids)
        wanted = (
            select(UploadPart.part_id)
            .join(Upload, Upload.id == UploadPart.final_id)
            .where(UploadPart.part_id.in_(part_ids), Upload.status == UploadStatus.OPEN, Upload.id != final_id)
        )
        still = set(session.scalars(wanted))
        given_up += [part_id for part_id in part_ids if part_id not in still]
        may_move = (Upload.id.in_(given_up), Upload.status == UploadStatus.COMPLETE)
        ended = {"status": UploadStatus.TERMINATED, "updated_at": self.clock()}
        changed(session, update(Upload).where(*may_move).values(**ended))

    def _end_without(self, final: Upload, parts: Sequence[Upload]) -> None:
        """The store lacks bytes of a part: the part and the final end. Raises `PartInvalidError`.

        Returns when the store has all of them after all. Raises `OSError` when it is away: nothing is concluded then.
        """
        self.store.check()
        there, start = self.store.size(final.id) or 0, 0
        for part in parts:
            length = part.length or 0
            if (self.store.size(part.id) or 0) < length and there < start + length:
                _log.error("part_bytes_missing", upload=final.id, part=part.id)
                self.deletion.remove(final.id, UploadStatus.TERMINATED)
                self.deletion.remove(part.id, UploadStatus.TERMINATED)
                raise PartInvalidError(part=part.id) from None
            start += length

    def _insert(self, upload_id: str, owner: str, decision: Create, terms: CreationTerms) -> str:
        """The upload's id, or that of an earlier upload by an equal request. Its parts may be gone by now."""
        with self.database.read() as session:
            again = _made_before(session, owner, decision, self.clock())
            if again is not None:
                return again
            try:
                found = _parts_of(session, owner, decision)
            except PartInvalidError:
                # PostgreSQL: an equal request may have used the parts up since the statement before.
                again = _made_before(session, owner, decision, self.clock())
                if again is None:
                    raise
                return again
            is_wanted = bool(_waiting(session, decision.parts[:1]))
        lengths = [found[part_id].length for part_id in decision.parts]
        known = [length for length in lengths if length is not None]
        limit = min(int(self.settings.tus_max_size), terms.max_size or sys.maxsize)
        if sum(known) > limit:
            raise UploadTooLargeError(limit=limit)
        if terms.max_size is not None and len(known) < len(lengths):
            raise GrantMismatchError(reason="grant_size", limit=limit)
        self.policy.check_length(sum(known))
        new = NewUpload(
            id=upload_id,
            owner=owner,
            protocol="tus",
            client=decision.client,
            task_id=decision.group.task_id if decision.group else upload_id,
            group=decision.group,
            length=sum(known) if len(known) == len(lengths) else None,
            metadata_raw=decision.metadata_raw,
            filename=decision.filename,
            passthrough=decision.passthrough,
            concat=decision.concat,
            parts=decision.parts,
            terms=terms,
            # The first part's file becomes the final's, if no other final wants that file, and the others are copied.
            reserved=sum(known) - (lengths[0] or 0) * (not is_wanted),
        )
        return self.repository.insert(new, partial(_admit, owner, decision, self.clock())).id

    def _load(self, final_id: str) -> tuple[Upload, Sequence[Upload]]:
        with self.database.read() as session:
            final = session.get_one(Upload, final_id)
            parts = session.scalars(
                select(Upload)
                .join(UploadPart, UploadPart.part_id == Upload.id)
                .where(UploadPart.final_id == final_id)
                .order_by(UploadPart.position)
            ).all()
        return final, parts

    def _check_content(self, final: Upload, parts: Sequence[Upload]) -> str | None:
        """Check the first bytes before anything is moved; they may come from several parts."""
        sniffed = media_types.SNIFF_BYTES
        # After an interrupted join, the final already has the first bytes of its parts, shared or copied.
        head = joined = self.store.head(final.id, sniffed) if self.store.size(final.id) else b""
        start = 0
        for part in parts:
            length = part.length or 0
            known = min(length, max(0, len(joined) - start))
            if len(head) < sniffed and known < length:
                head += self.store.head(part.id, min(sniffed, length))[known:]
            start += length
        head = head[:sniffed]
        types = None if final.grant_id is None else self.facts.types_of_grant(final.grant_id)
        try:
            return self.policy.check_content(final.filename, head, only=types)
        except MediaTypeUnsupportedError as error:
            self.deletion.remove(final.id, UploadStatus.REJECTED, error)
            raise

    @contextlib.contextmanager
    def _hold(self, part_id: str, deadline: float) -> Iterator[None]:
        while True:
            with self.locks.try_hold(part_id) as held:
                if held:
                    yield
                    return
            if time.monotonic() > deadline:
                raise UploadLockedError
            time.sleep(_RETRY_SECONDS)


def _admit(owner: str, decision: Create, now: datetime, connection: Connection) -> str | None:
    """In the transaction that inserts a final: return an equal one that exists by now; otherwise check its parts.

    Raises `PartInvalidError`, `TooManyFinalsError`.
    """
    session = Session(connection)
    _hold_rows(session, decision.parts)
    again = _made_before(session, owner, decision, now)
    if again is None:
        _parts_of(session, owner, decision)
        crowded = next(
            (part for part, count in _waiting(session, decision.parts).items() if count >= MAX_WAITING), None
        )
        if crowded is not None:
            raise TooManyFinalsError(part=crowded, limit=MAX_WAITING)
    return again


def _hold_rows(session: Session, part_ids: Sequence[str]) -> None:
    """Lock the rows until the end of the transaction, in the order of their ids; an SQLite writer holds all anyway."""
    session.execute(select(Upload.id).where(Upload.id.in_(part_ids)).order_by(Upload.id).with_for_update())


def _made_before(session: Session, owner: str, decision: Create, now: datetime) -> str | None:
    """The final upload that an equal request made: the same parts, metadata and group; not one that has expired."""
    group = Upload.id if decision.group is None else decision.group.task_id
    query = (
        select(Upload.id)
        .join(UploadPart, UploadPart.final_id == Upload.id)
        .where(UploadPart.part_id == decision.parts[0], UploadPart.position == 1)
        .where(Upload.owner == owner, Upload.status.in_(_LIVE), Upload.task_id == group)
        .where(Upload.metadata_raw == decision.metadata_raw)
        .where(or_(Upload.status == UploadStatus.COMPLETE, Upload.expires_at > now))
        .order_by(Upload.created_at)
    )
    for final_id in session.scalars(query).all():
        parts = select(UploadPart.part_id).where(UploadPart.final_id == final_id).order_by(UploadPart.position)
        if tuple(session.scalars(parts)) == decision.parts:
            return final_id
    return None


def _parts_of(session: Session, owner: str, decision: Create) -> Mapping[str, Upload]:
    """The rows of the parts, by id. Raises `PartInvalidError` for another kind of upload, another owner's, or none."""
    query = select(Upload).where(Upload.id.in_(decision.parts), Upload.owner == owner)
    found = {row.id: row for row in session.scalars(query, execution_options={"populate_existing": True})}
    for part_id in decision.parts:
        part = found.get(part_id)
        if part is None or not part.is_partial or part.status not in _LIVE:
            raise PartInvalidError(part=part_id)
    return found


def _waiting(session: Session, part_ids: Sequence[str]) -> Mapping[str, int]:
    """How many open finals want each of these parts; those that none wants are left out."""
    query = (
        select(UploadPart.part_id, func.count(UploadPart.final_id.distinct()))
        .join(Upload, Upload.id == UploadPart.final_id)
        .where(UploadPart.part_id.in_(part_ids), Upload.status == UploadStatus.OPEN)
        .group_by(UploadPart.part_id)
    )
    return {row[0]: row[1] for row in session.execute(query)}
