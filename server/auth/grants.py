"""Upload grants: permissions that a backend hands to a phone, which has no credential of its own.

Rules:

- A grant binds creations only: its expiry, name, size, types and origin. What was created lives by its own expiry.
- Each place of a grant has the id of its upload from the start. The same creation, repeated after a lost answer, gets
  the same place, and so the same upload; another creation gets the next free place.
- A place is taken by one compare-and-set of its row, so that any number of creations at once make one upload a place.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

from sqlalchemy import Table, bindparam, exists, func, select, update
from sqlalchemy.orm import Session

from server.auth import credentials
from server.auth.credentials import Credential
from server.auth.lookup import ShortMemory
from server.database.access_models import Grant, GrantPlace
from server.database.models import Upload
from server.database.prepared import Prepared, Row
from server.database.session import Database, changed
from server.errors import CredentialInvalidError, GrantExpiredError, GrantUsedError

_grants = cast("Table", Grant.__table__)
_places = cast("Table", GrantPlace.__table__)
_FIND = Prepared(select(_grants).where(_grants.c.id == bindparam("key")))
_FIND_PLACE = Prepared(
    select(_grants, _places.c.place, _places.c.fingerprint)
    .join(_places, _places.c.grant_id == _grants.c.id)
    .where(_places.c.upload_id == bindparam("key"))
)
_NO_HASH = "0" * 64
BY_URL = "url"
"""The fingerprint of a place that was taken by the first request to its upload's URL."""


@dataclass(frozen=True, kw_only=True)
class GrantTerms:
    """What a grant allows. Sizes in bytes, times in seconds; None is no term of its own.

    `size` is what each upload has, so that the upload of `upload_url` has its length from the start.
    """

    expires_in: int = 3600
    uploads: int = 1
    filename: str | None = None
    size: int | None = None
    max_size: int | None = None
    max_duration: float | None = None
    types: tuple[str, ...] | None = None
    task: str | None = None
    metadata: Mapping[str, str] | None = None
    allowed_origin: str | None = None


@dataclass(frozen=True, kw_only=True, repr=False)
class Grants:
    """The grants of all owners."""

    database: Database
    memory: ShortMemory
    clock: Callable[[], datetime]
    new_id: Callable[[], str]

    @classmethod
    def open(cls, database: Database, clock: Callable[[], datetime], new_id: Callable[[], str]) -> "Grants":
        """The grants of a database."""
        return cls(database=database, memory=ShortMemory(database, _FIND), clock=clock, new_id=new_id)

    async def verify(self, given: Credential) -> Row:
        """The row of a grant, whether it has expired or not. Raises `CredentialInvalidError`, and the database's."""
        row = await self.memory.find(given.id)
        is_right = credentials.is_same(_NO_HASH if row is None else row.secret_hash, given.secret_hash)
        if row is None or not is_right:
            raise CredentialInvalidError(reason="credential_unknown")
        return row

    async def find(self, grant_id: str) -> Row | None:
        """The row of a grant, whether it has expired or not; None where there is none. Raises the database's errors."""
        return await self.memory.find(grant_id)

    def is_open(self, row: Row) -> bool:
        """Whether it may create uploads now."""
        return row.revoked_at is None and row.expires_at > self.clock()

    def check_open(self, row: Row) -> None:
        """Raise `GrantExpiredError` unless it may create uploads now."""
        if not self.is_open(row):
            raise GrantExpiredError

    def create(self, owner: str, created_by: str, terms: GrantTerms) -> tuple[Grant, str, str]:
        """A new grant: its row, its text, and the id of its first upload. Blocking."""
        made, text = credentials.make(credentials.GRANT)
        now = self.clock()
        row = Grant(
            id=made.id,
            secret_hash=made.secret_hash,
            owner=owner,
            created_by=created_by,
            created_at=now,
            expires_at=now + timedelta(seconds=terms.expires_in),
            revoked_at=None,
            uploads=terms.uploads,
            filename=terms.filename,
            size=terms.size,
            max_size=terms.max_size,
            max_duration=terms.max_duration,
            types=None if terms.types is None else list(terms.types),
            task=terms.task,
            upload_metadata=None if terms.metadata is None else dict(terms.metadata),
            allowed_origin=terms.allowed_origin,
        )
        places = [GrantPlace(grant_id=made.id, place=n + 1, upload_id=self.new_id()) for n in range(terms.uploads)]
        with self.database.write() as session:
            session.add(row)
            session.flush()
            session.add_all(places)
        return row, text, places[0].upload_id

    async def find_place(self, upload_id: str) -> Row | None:
        """The grant whose place has that upload's id, with the place's fingerprint; None for other uploads."""
        return await self.database.run(self._find_place, upload_id)

    async def take(self, grant: Row, fingerprint: str, *, is_open: bool = True) -> str:
        """The id of the upload that a creation makes, or has made. Raises `GrantUsedError`.

        Without `is_open` it makes none: `GrantExpiredError`, unless the same creation has taken its place before.
        """
        return await self.database.run(self._take, grant.id, fingerprint, grant.uploads, is_open)

    async def take_by_url(self, upload_id: str) -> bool:
        """Take the place of that upload for the client that has its URL; False when another creation has it."""
        return await self.database.run(self._take_by_url, upload_id)

    async def give_back(self, upload_id: str) -> None:
        """A creation was refused, and its place is free again, unless there is an upload."""
        await self.database.run(self._give_back, upload_id)

    def take_all(self, grant: Row, fingerprints: Sequence[str], session: Session) -> None:
        """Take a place for each of these, in the transaction that completes the uploads: no other time of a crash and
        no lost answer can take a place without an upload, or leave an upload without its place. Blocking.

        Raises `GrantUsedError`.
        """
        for mark in fingerprints:
            self._take_in(session, grant.id, mark, grant.uploads)

    def _find_place(self, upload_id: str) -> Row | None:
        with self.database.look() as connection:
            return _FIND_PLACE.one_or_none(connection, {"key": upload_id})

    def _take(self, grant_id: str, fingerprint: str, uploads: int, is_open: bool) -> str:
        with self.database.write() as session:
            return self._take_in(session, grant_id, fingerprint, uploads, is_open=is_open)

    def _take_in(self, session: Session, grant_id: str, fingerprint: str, uploads: int, *, is_open: bool = True) -> str:
        mine = (GrantPlace.grant_id == grant_id, GrantPlace.fingerprint == fingerprint)
        free = (GrantPlace.grant_id == grant_id, GrantPlace.fingerprint.is_(None))
        # Of equal creations at once the others wait here until the first one has its place.
        session.execute(select(Grant.id).where(Grant.id == grant_id).with_for_update())
        found = session.scalar(select(GrantPlace.upload_id).where(*mine))
        if found is None and not is_open:
            raise GrantExpiredError
        while found is None:
            first = session.scalar(select(GrantPlace.upload_id).where(*free).order_by(GrantPlace.place).limit(1))
            if first is None:
                raise GrantUsedError(uploads=uploads)
            # The first request to the URL of an upload takes its place without that lock.
            this = (GrantPlace.upload_id == first, GrantPlace.fingerprint.is_(None))
            found = first if changed(session, update(GrantPlace).where(*this).values(fingerprint=fingerprint)) else None
        return found

    def _take_by_url(self, upload_id: str) -> bool:
        with self.database.write() as session:
            this = (GrantPlace.upload_id == upload_id, GrantPlace.fingerprint.is_(None))
            return changed(session, update(GrantPlace).where(*this).values(fingerprint=BY_URL)) > 0

    def _give_back(self, upload_id: str) -> None:
        with self.database.write() as session:
            has_upload = exists().where(Upload.id == upload_id)
            changed(
                session,
                update(GrantPlace).where(GrantPlace.upload_id == upload_id, ~has_upload).values(fingerprint=None),
            )

    def list(self, owner: str | None = None, limit: int = 0) -> Sequence[tuple[Grant, int]]:
        """The grants of an owner, or of all, each with how many of its places are taken; the newest first. Blocking."""
        taken = func.count(GrantPlace.fingerprint)
        query = select(Grant, taken).join(GrantPlace, GrantPlace.grant_id == Grant.id).group_by(Grant.id)
        query = query.order_by(Grant.created_at.desc(), Grant.id).limit(limit or None)
        with self.database.read() as session:
            found = session.execute(query if owner is None else query.where(Grant.owner == owner)).all()
            return [(grant, count) for grant, count in found]

    def revoke(self, grant_id: str) -> bool:
        """Revoke a grant; False when there is none. Its uploads stay, and may be continued. Blocking."""
        with self.database.write() as session:
            values = {"revoked_at": func.coalesce(Grant.revoked_at, self.clock())}
            return changed(session, update(Grant).where(Grant.id == grant_id).values(values)) > 0


def fingerprint(*parts: object) -> str:
    """What makes two creations the same."""
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()
