"""Quotas: how much one owner may have, and whether a new upload still fits.

Rule: `admit` runs in the transaction that inserts the row, and before the insert. On SQLite that transaction has the
write lock; on PostgreSQL `admit` takes a lock of the owner, after all locks of rows, until the commit. So of creations
at once, in any number of processes, exactly those that fit are made.

Theory of operation. What an owner has is added up from the rows (`usage.py`) each time, so nothing has to be given back
or repaired. This costs microseconds for each open upload and each upload of the day, and a tenth of a microsecond for
each complete one. An owner without a limit costs nothing: the limits of an owner are read anew after a few seconds, and
the settings are known.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from math import ceil
from typing import cast

from sqlalchemy import Connection, Table, bindparam, func, select

from server.database.access_models import OwnerLimits
from server.database.prepared import Link, Prepared
from server.database.session import Database
from server.errors import QuotaReachedError, QuotaTooSmallError, VideodockError
from server.settings import Settings
from server.tus.protocol import is_partial
from server.uploads import usage
from server.uploads.new_upload import NewUpload
from server.uploads.usage import OwnerUsage

FRESH_SECONDS = 2.0
"""For how long a process uses the limits of an owner that it has read."""

_MOST_KNOWN = 10_000
_owners = cast("Table", OwnerLimits.__table__)
_FIND = Prepared(select(_owners).where(_owners.c.owner == bindparam("owner")))


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What an owner may have at most; 0 is no limit."""

    stored_bytes: int = 0
    open_bytes: int = 0
    open_uploads: int = 0
    daily_bytes: int = 0
    waiting_tasks: int = 0

    @property
    def any(self) -> bool:
        """Whether there is a limit at all."""
        return bool(self.stored_bytes or self.open_bytes or self.open_uploads or self.daily_bytes or self.waiting_tasks)


LIMITS = tuple(each.name for each in fields(Limits))
"""The names of the limits: columns of `owners`, and settings with `owner_` before them."""


@dataclass(frozen=True)
class Room:
    """How many bytes more an owner may have; `refusal` is for one byte more than that."""

    left: int
    refusal: VideodockError


@dataclass(frozen=True)
class _Need:
    """What is asked for; `whole` is the size of the whole upload. None is not judged: it was admitted before."""

    size: int | None
    whole: int = 0
    uploads: int | None = None
    tasks: int | None = None
    is_of_today: bool = True


@dataclass(frozen=True)
class _Level:
    """One limit beside what there is."""

    refusal: QuotaReachedError
    limit: int
    used: int
    need: int


@dataclass(frozen=True, kw_only=True, repr=False)
class OwnerQuotas:
    """The limits of owners. Sizes are bytes; everything here blocks for a moment."""

    settings: Settings
    database: Database
    clock: Callable[[], datetime]
    monotonic: Callable[[], float] = time.monotonic
    _known: dict[str, tuple[float, Limits]] = field(default_factory=dict)

    def limits_of(self, connection: Link, owner: str) -> Limits:
        """The limits in force: the owner's, else those of the settings."""
        limits = self._fresh(owner)
        if limits is None:
            now = self.monotonic()
            own = self.own_limits(connection, owner)
            limits = Limits(**{name: self._limit(name, own[name]) for name in LIMITS})
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[owner] = now, limits
        return limits

    def is_unlimited(self, owner: str) -> bool:
        """Whether the owner is known to have no limit; without a look into the database."""
        limits = self._fresh(owner)
        return limits is not None and not limits.any

    def _fresh(self, owner: str) -> Limits | None:
        read_at, limits = self._known.get(owner, (0.0, None))
        return limits if self.monotonic() - read_at <= FRESH_SECONDS else None

    def own_limits(self, connection: Link, owner: str) -> Mapping[str, int | None]:
        """The limits of the owner's row; None where the setting holds."""
        row = _FIND.one_or_none(connection, {"owner": owner})
        return {name: getattr(row, name, None) for name in LIMITS}

    def _limit(self, name: str, of_owner: int | None) -> int:
        return int(getattr(self.settings, f"owner_{name}")) if of_owner is None else of_owner

    def admit(self, connection: Link, new: NewUpload, now: datetime) -> None:
        """Raise unless the owner may have this upload; in the transaction that inserts its row, before the insert.

        Raises `QuotaTooSmallError` when the owner could never have it, and `QuotaReachedError`.
        """
        limits = self.limits_of(connection, new.owner)
        if not limits.any or new.heir_of is not None:  # the bytes of the form's other files are counted
            return
        self._lock(connection, new.owner)
        size: int | None = new.room
        if new.parts:
            # A limit that was lowered since its parts were made does not keep them from being joined.
            size = usage.added_by_final(connection, new.parts) or None
        is_form = new.protocol != "tus"
        lock = new.task_id if is_form else new.id
        need = _Need(size, size or 0, uploads=1, tasks=None if is_partial(new.concat) else 1)
        self._judge(limits, need, OwnerUsage(connection, new.owner, now, lock=lock, task=new.task_id), now)

    def admit_growth(self, connection: Connection, owner: str, created_at: datetime, end: int, now: datetime) -> None:
        """Raise unless the owner may have an upload whose row has reserved `end` bytes, in this transaction. Raises as
        `admit`."""
        limits = self.limits_of(connection, owner)
        if limits.any:
            self._lock(connection, owner)
            need = _Need(0, end, is_of_today=created_at >= usage.midnight(now))
            self._judge(limits, need, OwnerUsage(connection, owner, now), now)

    def admit_retry(self, connection: Connection, owner: str, now: datetime) -> None:
        """Raise `QuotaReachedError` unless the owner may have the tasks that wait, of which one was retried in this
        transaction."""
        limits = self.limits_of(connection, owner)
        if limits.waiting_tasks:
            self._lock(connection, owner)
            self._judge(limits, _Need(None, tasks=0), OwnerUsage(connection, owner, now), now)

    def check(self, owner: str, size: int) -> None:
        """Raise what `admit` would raise now for an upload or form of `size` bytes. Nothing is reserved."""
        if self.is_unlimited(owner):
            return
        now = self.clock()
        with self.database.look() as connection:
            limits = self.limits_of(connection, owner)
            if limits.any:
                need = _Need(size, size, uploads=1, tasks=1)
                self._judge(limits, need, OwnerUsage(connection, owner, now), now)

    def check_growth(self, owner: str, created_at: datetime, more: int, end: int) -> None:
        """Raise what `admit_growth` would raise now for an upload that grows by `more` bytes to `end`."""
        if self.is_unlimited(owner):
            return
        now = self.clock()
        with self.database.look() as connection:
            limits = self.limits_of(connection, owner)
            if limits.any:
                need = _Need(more, end, is_of_today=created_at >= usage.midnight(now))
                self._judge(limits, need, OwnerUsage(connection, owner, now), now)

    def room(self, owner: str) -> Room | None:
        """How many bytes more the owner may have; None without a limit. For bodies of unknown length."""
        if self.is_unlimited(owner):
            return None
        now = self.clock()
        with self.database.look() as connection:
            limits = self.limits_of(connection, owner)
            if not limits.any:
                return None
            levels = _levels(limits, _Need(0), OwnerUsage(connection, owner, now), now)
            tightest = min(levels, key=lambda level: level.limit - level.used, default=None)
        return None if tightest is None else Room(max(0, tightest.limit - tightest.used), tightest.refusal)

    def _lock(self, connection: Link, owner: str) -> None:
        """Until the end of the transaction, no other one admits something of this owner. SQLite has one writer."""
        if isinstance(connection, Connection) and connection.dialect.name == "postgresql":
            digest = hashlib.blake2b(owner.encode(), digest_size=8, person=b"owner").digest()
            key = int.from_bytes(digest, "big", signed=True)
            connection.execute(select(func.pg_advisory_xact_lock(key)))

    def _judge(self, limits: Limits, need: _Need, has: OwnerUsage, now: datetime) -> None:
        sizes = (limits.stored_bytes, limits.open_bytes, limits.daily_bytes)
        too_small = [limit for limit in sizes if limit and need.whole > limit]
        if too_small:
            raise QuotaTooSmallError(limit=min(too_small))
        for level in _levels(limits, need, has, now):
            if level.used + level.need > level.limit:
                raise level.refusal


def _levels(limits: Limits, need: _Need, has: OwnerUsage, now: datetime) -> Iterator[_Level]:
    """The limits that the need is judged by; what there is, is looked up one after the other."""
    if limits.open_uploads and need.uploads is not None:
        refusal = QuotaReachedError(reason="quota_open_uploads", count=limits.open_uploads)
        yield _Level(refusal, limits.open_uploads, has.open_uploads, need.uploads)
    if limits.waiting_tasks and need.tasks is not None:
        refusal = QuotaReachedError(reason="quota_tasks", count=limits.waiting_tasks)
        yield _Level(refusal, limits.waiting_tasks, has.waiting_tasks, need.tasks)
    if need.size is None:
        return
    if limits.open_bytes:
        refusal = QuotaReachedError(reason="quota_open_bytes", limit=limits.open_bytes)
        yield _Level(refusal, limits.open_bytes, has.open_bytes, need.size)
    if limits.stored_bytes:
        refusal = QuotaReachedError(reason="quota_stored", limit=limits.stored_bytes)
        yield _Level(refusal, limits.stored_bytes, has.stored_bytes, need.size)
    if limits.daily_bytes and need.is_of_today:
        refusal = QuotaReachedError(reason="quota_daily", limit=limits.daily_bytes)
        tomorrow = usage.midnight(now) + timedelta(days=1)
        refusal.retry_seconds = ceil((tomorrow - now).total_seconds())  # type: ignore[misc]  # of this refusal
        yield _Level(refusal, limits.daily_bytes, has.daily_bytes, need.size)
