"""The files of one form: together they become one task, or none of them is kept.

Rule: only the request of the form knows these uploads, so they need no locks of their own. The form
holds the lock of its task instead; an open upload of a form whose lock is free was abandoned by a process that
died, and the sweep removes it.

A form with a key that was answered before (`uploads/idempotency.py`) is only compared: none of its bytes is stored.
"""

import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
from sqlalchemy import update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from server import media_types
from server.database.models import Task, Upload
from server.database.session import Database, changed
from server.errors import (
    ClientError,
    FileEmptyError,
    FileTooLargeError,
    IdempotencyMismatchError,
    TooLargeToScanError,
    TooManyFilesError,
)
from server.settings import Settings
from server.storage.base import UploadStore
from server.storage.locks import UploadLocks
from server.transport.body import Body, End, Moved, Tap
from server.uploads.completion import Also, UploadCompletion
from server.uploads.facts import UploadFacts
from server.uploads.idempotency import Answer, Content, Fingerprint, IdempotencyKeys, KeyClaim, StoredAnswer
from server.uploads.new_upload import NO_TERMS, CreationTerms, NewUpload
from server.uploads.policy import UploadPolicy
from server.uploads.progress import ProgressWriter
from server.uploads.quotas import OwnerQuotas
from server.uploads.repository import UploadRepository
from server.uploads.reservations import DiskReservations


@dataclass(kw_only=True, repr=False)
class Form:
    """A form that is being received."""

    settings: Settings
    database: Database
    store: UploadStore
    policy: UploadPolicy
    progress: ProgressWriter
    quotas: OwnerQuotas
    repository: UploadRepository
    completion: UploadCompletion
    facts: UploadFacts
    new_id: Callable[[], str]
    owner: str
    task_id: str
    client: str | None = None
    claim: KeyClaim | None = None
    earlier: StoredAnswer | None = None
    asked: int = 0  # bytes that the whole form may bring, if that is known
    terms: CreationTerms = NO_TERMS
    passthrough: str | None = None
    taken: dict[str, str | None] = field(default_factory=dict)
    finished: bool = False
    _fingerprint: Fingerprint = field(default_factory=Fingerprint)
    _stored: int = 0
    _promised: str | None = None  # the upload whose row has the reservation for all that is to come

    async def receive_file(self, filename: str, body: Body, refusal: ClientError | None = None) -> Moved:
        """Store one file; returns how its body ended. The name and the first bytes are checked before it is stored.

        Raises `refusal`, the reason in its head why it cannot be stored, if there is one;
        `MediaTypeUnsupportedError`, `FileEmptyError`, `FileTooLargeError` (`TooLargeToScanError`),
        `TooManyFilesError`; then nothing of the file is kept and the caller drains the rest of its body. Raises
        `QuotaTooSmallError` and `QuotaReachedError`, which end the form.
        A form with a key reads that rest itself, since the fingerprint needs every byte of each file; a form that is
        answered from an earlier answer is not checked.
        """
        if self.claim is None:
            return await self._receive(filename, body, None, refusal)
        content = Content()
        try:
            if self.earlier is not None:
                return await body.feed(content, sys.maxsize)
            return await self._receive(filename, body, content.update, refusal)
        except ClientError:
            await body.feed(content, sys.maxsize)
            raise
        finally:
            self._fingerprint.add(filename, content)

    async def _receive(self, filename: str, body: Body, see: Tap | None, refusal: ClientError | None) -> Moved:
        self.policy.check_filename(filename, by_form=True, only=self.terms.types)
        if refusal is not None:
            raise refusal
        most = min(self.settings.max_files, self.terms.max_files or self.settings.max_files)
        if len(self.taken) >= most:
            raise TooManyFilesError(limit=most)
        head, end = await body.peek(media_types.SNIFF_BYTES)
        if end not in (End.LIMIT, End.COMPLETE):
            return Moved(0, end)
        if not head:
            raise FileEmptyError
        media_type = self.policy.check_content(filename, head, by_form=True, only=self.terms.types)
        return await self._store(filename, media_type, body, see)

    async def _store(self, filename: str, media_type: str | None, body: Body, see: Tap | None) -> Moved:
        upload_id = self.new_id()
        self.taken[upload_id] = media_type
        new = NewUpload(
            id=upload_id,
            owner=self.owner,
            protocol="multipart",
            client=self.client,
            task_id=self.task_id,
            filename=filename,
            passthrough=self.passthrough,
            media_type=media_type,
            reserved=max(0, self.asked - self._stored),
            heir_of=self._promised,
            terms=self.terms,
        )
        await self.database.run(self.repository.insert, new)
        self._promised = upload_id
        most = int(self.settings.max_file_size)
        allowed, scanned = min(most, self.terms.max_size or most), self.policy.scan_limit
        limit = allowed if scanned is None else min(allowed, scanned)
        # The bytes of a form of known length have room in the quota already.
        quota = None if self.asked else await self.database.run(self.quotas.room, self.owner)
        if quota is not None:
            limit = min(limit, quota.left)
        with self.progress.tracking(upload_id, self.facts.progress):
            moved = await self.store.append(upload_id, 0, body, limit, see)
        if moved.end is End.LIMIT:
            extra, end = await body.peek(1)
            if extra and quota is not None and limit == quota.left:
                raise quota.refusal  # not of one file: the form ends
            if extra:
                del self.taken[upload_id]
                self._promised = None
                await self.database.run(self.repository.discard, [upload_id])
                raise (TooLargeToScanError if limit == scanned else FileTooLargeError)(limit=limit)
            moved = Moved(moved.count, end)
        self._stored += moved.count
        return moved

    async def finish(self, answer: Answer | None = None, also: Also | None = None) -> Answer:
        """All files have arrived: complete them, and register the task, if there is a file; returns the answer.

        That is `answer`, or the answer of the first form with the key. Raises `IdempotencyMismatchError` when
        that was another form, and what `also` raises, which is called in the transaction that registers the task.
        """
        given: Answer = answer or {}
        if self.earlier is not None:
            if self.earlier.fingerprint != self._fingerprint.hexdigest():
                raise IdempotencyMismatchError
            return self.earlier.answer

        def keep(session: Session) -> None:
            if self.claim is not None:
                self.claim.store_answer(self._fingerprint.hexdigest(), given, session)
            if also is not None:
                also(session)
            if self.passthrough is not None:
                self._write_passthrough(session)
            if not self.asked:
                # Forms of unknown length at once may have brought more together than each of them could alone.
                now = self.facts.clock()
                self.quotas.admit_growth(session.connection(), self.owner, now, self._stored, now)

        if self.taken:
            await self.completion.complete_verified_from_loop(self.taken, self.task_id, keep)
        elif self.claim is not None:
            await self.database.run(self.claim.store_answer_without_task, self._fingerprint.hexdigest(), given)
        self.finished = True
        return given

    def _write_passthrough(self, session: Session) -> None:
        """The field may come after files, whose rows are there by then."""
        values = {"passthrough": self.passthrough}
        changed(session, update(Upload).where(Upload.id.in_(self.taken)).values(**values))
        changed(session, update(Task).where(Task.id == self.task_id).values(**values))

    async def discard(self) -> None:
        """Remove all uploads of the form, unless it is finished."""
        if self.finished:
            return
        try:
            if self.taken:
                await self.database.run(self.repository.discard, list(self.taken))
        finally:
            if self.claim is not None and self.claim.held:
                with contextlib.suppress(SQLAlchemyError):  # the next request sees that the lock is free
                    await self.database.run(self.claim.release)


@dataclass(frozen=True, kw_only=True, repr=False)
class FormService:
    """Receives forms."""

    settings: Settings
    database: Database
    store: UploadStore
    locks: UploadLocks
    policy: UploadPolicy
    progress: ProgressWriter
    reservations: DiskReservations
    quotas: OwnerQuotas
    repository: UploadRepository
    completion: UploadCompletion
    facts: UploadFacts
    keys: IdempotencyKeys
    new_id: Callable[[], str]

    @asynccontextmanager
    async def receive(
        self, owner: str, key: str | None = None, asked: int = 0, terms: CreationTerms = NO_TERMS
    ) -> AsyncIterator[Form]:
        """A form to put files into; unless it is finished, nothing of it is kept.

        It may bring `asked` bytes, if that is known. Raises `NoRoomError` when there is no room for them, and
        `QuotaTooSmallError` or `QuotaReachedError` when the owner may not have them.

        With a `key`, a form that equals an earlier one with that key gets the same answer. Raises
        `IdempotencyRunningError` while the earlier one is being received.
        """
        task_id = self.new_id()
        async with self.locks.hold(task_id):
            form = self._form(owner, task_id, asked, terms)
            try:
                if key is not None:
                    form.claim = self.keys.claim(owner, key, task_id)
                    form.earlier = await self.database.run(form.claim.acquire)
                if form.earlier is None:
                    await self.database.run(self._check_room, owner, asked)
                yield form
            finally:
                # Also when the server stops and cancels this request.
                with anyio.CancelScope(shield=True):
                    await form.discard()

    def _check_room(self, owner: str, asked: int) -> None:
        self.quotas.check(owner, asked)
        self.reservations.check(asked)

    def _form(self, owner: str, task_id: str, asked: int, terms: CreationTerms) -> Form:
        return Form(
            settings=self.settings,
            database=self.database,
            store=self.store,
            policy=self.policy,
            progress=self.progress,
            quotas=self.quotas,
            repository=self.repository,
            completion=self.completion,
            facts=self.facts,
            new_id=self.new_id,
            owner=owner,
            task_id=task_id,
            asked=asked,
            terms=terms,
        )
