"""Creates, verifies, lists and revokes API keys.

Rule: the text of a key is shown once, when it is made. Requests look it up by its id, and compare hashes.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from sqlalchemy import Table, bindparam, func, select, update
from sqlalchemy.exc import SQLAlchemyError

from server.auth import credentials
from server.auth.credentials import Credential
from server.auth.lookup import ShortMemory
from server.auth.principal import Principal, Scope, scopes_of
from server.database.access_models import ApiKey
from server.database.prepared import Prepared
from server.database.session import Database, changed
from server.errors import CredentialInvalidError

_keys = cast("Table", ApiKey.__table__)
_FIND = Prepared(select(_keys).where(_keys.c.id == bindparam("key")))
_NO_HASH = "0" * 64


@dataclass(frozen=True, kw_only=True, repr=False)
class ApiKeys:
    """The keys of all owners."""

    database: Database
    memory: ShortMemory
    clock: Callable[[], datetime]

    @classmethod
    def open(cls, database: Database, clock: Callable[[], datetime]) -> "ApiKeys":
        """The keys of a database."""
        return cls(database=database, memory=ShortMemory(database, _FIND), clock=clock)

    async def verify(self, given: Credential) -> Principal:
        """The principal of this key. Raises `CredentialInvalidError`, and the errors of the database."""
        row = await self.memory.find(given.id)
        # An unknown id takes as long as a wrong secret.
        is_right = credentials.is_same(_NO_HASH if row is None else row.secret_hash, given.secret_hash)
        if row is None or not is_right:
            raise CredentialInvalidError(reason="credential_unknown")
        now = self.clock()
        if row.revoked_at is not None:
            raise CredentialInvalidError(reason="credential_revoked")
        if row.expires_at is not None and row.expires_at <= now:
            raise CredentialInvalidError(reason="credential_expired")
        hour = now.replace(minute=0, second=0, microsecond=0)
        if row.last_used_at is None or row.last_used_at < hour:
            self.memory.forget(row.id)
            with suppress(SQLAlchemyError):  # for the operator's list only
                await self.database.run(self._record_use, row.id, hour)
        return Principal(row.owner, scopes_of(row.scopes), f"key:{row.id}")

    def create(self, owner: str, scopes: Iterable[Scope], expires_at: datetime | None) -> tuple[ApiKey, str]:
        """A new key, and its text. Blocking."""
        made, text = credentials.make(credentials.KEY)
        row = ApiKey(
            id=made.id,
            secret_hash=made.secret_hash,
            owner=owner,
            scopes=sorted(scope.value for scope in scopes),
            created_at=self.clock(),
            expires_at=expires_at,
            revoked_at=None,
            last_used_at=None,
        )
        with self.database.write() as session:
            session.add(row)
        return row, text

    def list(self, owner: str | None = None) -> Sequence[ApiKey]:
        """The keys of an owner, or of all; the newest first. Blocking."""
        query = select(ApiKey).order_by(ApiKey.created_at.desc(), ApiKey.id)
        with self.database.read() as session:
            return session.scalars(query if owner is None else query.where(ApiKey.owner == owner)).all()

    def revoke(self, key_id: str) -> bool:
        """Revoke a key; False when there is none. A revoked key stays so. Every process refuses it within 5 seconds.

        Blocking.
        """
        with self.database.write() as session:
            values = {"revoked_at": func.coalesce(ApiKey.revoked_at, self.clock())}
            return changed(session, update(ApiKey).where(ApiKey.id == key_id).values(values)) > 0

    def _record_use(self, key_id: str, hour: datetime) -> None:
        with self.database.write(lazy=True) as session:
            changed(session, update(ApiKey).where(ApiKey.id == key_id).values(last_used_at=hour))
