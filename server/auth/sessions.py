"""Sign-ins of browsers: made, found, ended and purged.

Rules:

- The cookie has 256 random bits, and the table has only their SHA-256.
- A session ends after `session_idle` without a request, after `session_lifetime` in any case, with its row, and with
  the key that it was made with. What is remembered of a row is 3 seconds old at most: so it ends in every process.
- When the database is away, its error is raised: a session that cannot be checked is not accepted.
"""

import hashlib
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import cast

import structlog
from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    and_,
    bindparam,
    case,
    delete,
    func,
    insert,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.exc import SQLAlchemyError

from server.auth.principal import Principal, scopes_of
from server.database.access_models import ApiKey, BrowserSession
from server.database.prepared import Prepared
from server.database.session import Database, changed, reason
from server.settings import Settings

_REMEMBERED_SECONDS = 3.0
_MOST_REMEMBERED = 10_000
_USE_SECONDS = 300  # between two writes of `used_at`
_BATCH = 500
_FORM = re.compile(r"[A-Za-z0-9_-]{43}")
_log = structlog.stdlib.get_logger("videodock.auth")

_sessions = cast("Table", BrowserSession.__table__)
_keys = cast("Table", ApiKey.__table__)
_KEY = "key:"
_IS_OF_KEY = func.substr(_sessions.c.credential, 1, len(_KEY)) == _KEY
# NULL where no key was shown at the sign-in: a token's subject must not be taken for the id of a key.
_KEY_ID = case((_IS_OF_KEY, func.substr(_sessions.c.credential, len(_KEY) + 1)), else_=null())
_FIND = Prepared(
    select(
        _sessions,
        _IS_OF_KEY.label("is_of_key"),
        _keys.c.id.label("key_id"),
        _keys.c.revoked_at.label("key_revoked_at"),
        _keys.c.expires_at.label("key_expires_at"),
    )
    .join(_keys, _keys.c.id == _KEY_ID, isouter=True)
    .where(_sessions.c.id_hash == bindparam("id_hash"))
)


@dataclass(frozen=True)
class _Remembered:
    """A session as the database had it. `until` and `at` are of the monotonic clock, in seconds."""

    principal: Principal
    at: float
    until: float


@dataclass(frozen=True, kw_only=True, repr=False)
class Sessions:
    """The sign-ins of all browsers. `monotonic` gives seconds; tests replace it."""

    settings: Settings
    database: Database
    clock: Callable[[], datetime]
    monotonic: Callable[[], float] = time.monotonic
    most_remembered: int = _MOST_REMEMBERED
    _memory: OrderedDict[str, _Remembered] = field(default_factory=OrderedDict)

    async def create(self, principal: Principal, *, until: datetime | None = None) -> str:
        """Sign somebody in; the value of the cookie, which nothing can give back later.

        The session ends at `until` at the latest, if that is given.
        """
        cookie = secrets.token_urlsafe(32)
        now = self.clock()
        ends = now + timedelta(seconds=self.settings.session_lifetime)
        values = {
            "id_hash": _hash(cookie),
            "owner": principal.owner,
            "scopes": sorted(scope.value for scope in principal.scopes),
            "credential": principal.credential,
            "created_at": now,
            "used_at": now,
            "expires_at": ends if until is None else min(ends, until),
        }
        await self.database.write_together(lambda connection: _insert(connection, values), lazy=True)
        return cookie

    async def find(self, cookie: str) -> Principal | None:
        """Who is signed in with this cookie; None when its session has ended, or never was."""
        if not _FORM.fullmatch(cookie):
            return None
        id_hash, now = _hash(cookie), self.monotonic()
        known = self._memory.get(id_hash)
        if known is not None and now - known.at < _REMEMBERED_SECONDS and now < known.until:
            return known.principal
        self._memory.pop(id_hash, None)
        found = await self.database.run(self._look, id_hash)
        if found is None:
            return None
        principal, seconds, is_used = found
        self._memory[id_hash] = _Remembered(principal, now, now + seconds)
        while len(self._memory) > self.most_remembered:
            self._memory.popitem(last=False)
        if not is_used:
            await self._record_use(id_hash)
        return principal

    async def end(self, cookie: str) -> bool:
        """Sign out; whether there was such a session. Other processes may accept it for 3 seconds more."""
        if not _FORM.fullmatch(cookie):
            return False
        id_hash = _hash(cookie)
        self._memory.pop(id_hash, None)
        statement = delete(_sessions).where(_sessions.c.id_hash == id_hash)
        gone: int = await self.database.write_together(lambda connection: connection.execute(statement).rowcount)
        self._memory.pop(id_hash, None)  # a request in between may have found it
        return gone > 0

    def _look(self, id_hash: str) -> tuple[Principal, float, bool] | None:
        """The session's principal, its remaining seconds, and whether its use is recorded already. Blocking."""
        with self.database.look() as connection:
            row = _FIND.one_or_none(connection, {"id_hash": id_hash})
        if row is None:
            return None
        now = self.clock()
        ends = [row.expires_at, row.used_at + timedelta(seconds=self.settings.session_idle)]
        if row.is_of_key:
            if row.key_id is None or row.key_revoked_at is not None:
                return None
            ends += [row.key_expires_at] if row.key_expires_at is not None else []
        seconds = (min(ends) - now).total_seconds()
        if seconds <= 0:
            return None
        principal = Principal(row.owner, scopes_of(row.scopes), row.credential)
        return principal, seconds, now - row.used_at < self._between_uses

    @property
    def _between_uses(self) -> timedelta:
        # A use that is not recorded shortens the idle time by so much: by a fourth at most.
        return timedelta(seconds=min(_USE_SECONDS, self.settings.session_idle / 4))

    async def _record_use(self, id_hash: str) -> None:
        now = self.clock()
        of = and_(_sessions.c.id_hash == id_hash, _sessions.c.used_at <= now - self._between_uses)
        statement = update(_sessions).where(of).values(used_at=now)
        try:
            await self.database.write_together(lambda connection: connection.execute(statement).rowcount, lazy=True)
        except SQLAlchemyError as error:  # the request can be answered; a later one records its use
            _log.warning("session_use_not_recorded", reason=reason(error))


def purge(database: Database, settings: Settings, now: datetime, *, dry_run: bool = False) -> int:
    """Delete the rows of sessions that have ended, in batches; how many there were. Blocking."""
    has_ended: ColumnElement[bool] = or_(
        BrowserSession.expires_at <= now, BrowserSession.used_at <= now - timedelta(seconds=settings.session_idle)
    )
    if dry_run:
        with database.read() as session:
            return session.scalar(select(func.count()).select_from(BrowserSession).where(has_ended)) or 0
    gone = 0
    some = select(BrowserSession.id_hash).where(has_ended).limit(_BATCH)
    while True:
        with database.write(lazy=True) as session:
            # Both conditions: a session may be used between the two reads.
            count = changed(session, delete(BrowserSession).where(BrowserSession.id_hash.in_(some), has_ended))
        gone += count
        if count < _BATCH:
            return gone


def _insert(connection: Connection, values: dict[str, object]) -> None:
    connection.execute(insert(_sessions).values(values))


def _hash(cookie: str) -> str:
    return hashlib.sha256(cookie.encode()).hexdigest()
