"""Final uploads: partial ones joined in order (tus 1.0.0, section Concatenation).

Rule: the final's lock comes before those of its parts, and no part's lock is held by who asks for a final's. A
final may be created while its parts are still coming (concatenation-unfinished); whoever completes the last part,
asks for the final, or sweeps, joins them. Joining that was cut short goes on where the store says it was; the
parts are given up only when the final is complete.
"""

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from sqlalchemy import select

from server import groups, media_types, threads
from server.database.models import Upload, UploadPart
from server.errors import (
    BusyError,
    ClientError,
    MediaTypeUnsupportedError,
    PartInvalidError,
    UploadLockedError,
    UploadTooLargeError,
)
from server.lifecycle import UploadStatus
from server.messages import size as shown
from server.tus.protocol import PARTIAL, Create, Facts
from server.uploads import UploadService

_LIVE = (UploadStatus.OPEN, UploadStatus.COMPLETE)
_RETRY_SECONDS = 0.05
_PATIENCE_SECONDS = 5.0


@dataclass(frozen=True)
class FinalService:
    """Creates final uploads and joins their parts."""

    uploads: UploadService

    async def create(self, owner: str, decision: Create) -> Facts:
        """A final upload; joined at once when all its parts are there.

        Raises `PartInvalidError`, `UploadTooLargeError`, `MediaTypeUnsupportedError`.
        """
        self.uploads.hooks.pre_create(decision.filename)
        upload_id = self.uploads.new_id()
        upload_id = await self.uploads.database.run(partial(self._insert, upload_id, owner, decision))
        async with self.uploads.locks.hold(upload_id):
            await threads.run(self.join, upload_id)
        return await self.uploads.database.run(self.uploads.facts, upload_id, owner)

    async def look(self, upload_id: str, owner: str) -> Facts:
        """The truth about an upload; a final one that is not joined yet is joined, if that can be done now."""
        facts = await self.uploads.look(upload_id, owner)
        if not facts.is_final or facts.status is not UploadStatus.OPEN:
            return facts
        async with self.uploads.locks.hold(upload_id):
            await threads.run(self.join, upload_id)
        return await self.uploads.database.run(self.uploads.facts, upload_id, owner)

    async def after(self, part: Facts) -> None:
        """A part is complete: join the finals that waited for it. Its lock must not be held."""
        if part.is_partial and part.is_complete:
            for final_id in await self.uploads.database.run(self._waiting, part.id):
                # What is wrong with the final is said to who asks for it, not to who brought a part.
                with contextlib.suppress(ClientError, BusyError):
                    async with self.uploads.locks.hold(final_id):
                        await threads.run(self.join, final_id)

    def join(self, final_id: str) -> bool:
        """Join the parts if all are complete; tells whether the final is complete. Under its lock. Blocking.

        Raises `MediaTypeUnsupportedError` when the joined bytes are no video; the final is rejected then, and
        the parts stay. Raises `UploadLockedError` when a part is busy.
        """
        final, parts = self._load(final_id)
        if final.status is not UploadStatus.OPEN:
            return final.status is UploadStatus.COMPLETE
        if any(part.status is not UploadStatus.COMPLETE for part in parts):
            return False
        media_type = self._check_content(final, parts)
        with contextlib.ExitStack() as stack:
            for part_id in sorted({part.id for part in parts}):
                stack.enter_context(self._hold(part_id))
            sizes = [(part.id, part.length or 0) for part in parts]
            # A group may end its members at any moment, and then the parts are still their client's.
            may_take = groups.group_of(final) is None and self._is_only_use(final_id, sizes)
            self.uploads.store.concatenate(final_id, sizes, may_take=may_take)
            self.uploads.store.finish(final_id)
            self.uploads.complete([final_id], final_id, {final_id: media_type})
            for part_id in {part.id for part in parts}:
                if not self._waiting(part_id):
                    self.uploads.remove(part_id, UploadStatus.TERMINATED)
        return True

    def can_join(self, final_id: str) -> bool:
        """Whether `join` would find all parts complete. Blocking."""
        _, parts = self._load(final_id)
        return all(part.status is UploadStatus.COMPLETE for part in parts)

    def _insert(self, upload_id: str, owner: str, decision: Create) -> str:
        """The upload's id: another one if it was made before, in a group. Its parts may be gone by now."""
        with self.uploads.database.read() as session:
            again = groups.find_final(session, owner, decision)
            if again is not None:
                return again
            found = {
                row.id: row
                for row in session.scalars(select(Upload).where(Upload.id.in_(decision.parts), Upload.owner == owner))
            }
        for part_id in decision.parts:
            part = found.get(part_id)
            if part is None or part.concat != PARTIAL or part.status not in _LIVE:
                raise PartInvalidError(part=part_id)
        lengths = [found[part_id].length for part_id in decision.parts]
        first_part = [(part_id, length or 0) for part_id, length in zip(decision.parts, lengths, strict=True)]
        known = [length for length in lengths if length is not None]
        if sum(known) > self.uploads.settings.tus_max_size:
            raise UploadTooLargeError(limit=shown(int(self.uploads.settings.tus_max_size)))
        self.uploads.hooks.check_length(sum(known))
        made = self.uploads.insert(
            upload_id,
            owner,
            # The first part's file becomes the final's, and the others are copied.
            reserved=sum(known)
            - (lengths[0] or 0) * (decision.group is None and self._is_only_use(upload_id, first_part)),
            protocol="tus",
            task_id=decision.group.task_id if decision.group else upload_id,
            group=decision.group,
            length=sum(known) if len(known) == len(lengths) else None,
            metadata_raw=decision.metadata_raw,
            filename=decision.filename,
            concat=decision.concat,
            parts=decision.parts,
        )
        return made.id

    def _load(self, final_id: str) -> tuple[Upload, Sequence[Upload]]:
        with self.uploads.database.read() as session:
            final = session.get_one(Upload, final_id)
            parts = session.scalars(
                select(Upload)
                .join(UploadPart, UploadPart.part_id == Upload.id)
                .where(UploadPart.final_id == final_id)
                .order_by(UploadPart.position)
            ).all()
        return final, parts

    def _check_content(self, final: Upload, parts: Sequence[Upload]) -> str | None:
        """Judge the first bytes before anything is moved; they may come from several parts."""
        store, sniffed = self.uploads.store, media_types.SNIFF_BYTES
        # A join that was cut short: what the final has already are the first bytes of its parts, taken or copied.
        head = joined = store.head(final.id, sniffed) if store.size(final.id) else b""
        start = 0
        for part in parts:
            length = part.length or 0
            known = min(length, max(0, len(joined) - start))
            if len(head) < sniffed and known < length:
                head += store.head(part.id, sniffed)[known:]
            start += length
        head = head[:sniffed]
        try:
            return self.uploads.hooks.check_content(final.filename, head)
        except MediaTypeUnsupportedError as error:
            self.uploads.remove(final.id, UploadStatus.REJECTED, error)
            raise

    def _is_only_use(self, final_id: str, sizes: Sequence[tuple[str, int]]) -> bool:
        """Whether the first part's file may become the final's: nobody else wants its bytes."""
        first = sizes[0][0]
        if [part_id for part_id, _ in sizes].count(first) > 1:
            return False
        return self._waiting(first) in ([], [final_id])

    def _waiting(self, part_id: str) -> list[str]:
        """The open finals that want this part."""
        with self.uploads.database.read() as session:
            query = (
                select(UploadPart.final_id)
                .join(Upload, Upload.id == UploadPart.final_id)
                .where(UploadPart.part_id == part_id, Upload.status == UploadStatus.OPEN)
                .distinct()
            )
            return list(session.scalars(query))

    @contextlib.contextmanager
    def _hold(self, part_id: str) -> Iterator[None]:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            with self.uploads.locks.try_hold(part_id) as held:
                if held:
                    yield
                    return
            if time.monotonic() > deadline:
                raise UploadLockedError
            time.sleep(_RETRY_SECONDS)
