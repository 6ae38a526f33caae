"""The locks of uploads for several hosts: leases in PostgreSQL, each with an epoch.

Theory of operation. Taking and releasing a lock is one statement each, and a running body pins no connection: one
thread of the process renews all its leases in one statement a second, on a connection of its own that also listens for
requests of other hosts. Such a request names its number of arrival, and the holder's body stops if it came earlier.

A lease that is not renewed ends, and the next request takes it over. Its former holder may only have been slow, so it
is fenced in three ways:

- Every transaction that changes the upload's row names the epoch (`fence`), and fails if another holder came.
- The holder measures by its own clock since when it was not renewed, and stops before its next write and its next
  response (`HeldLease.permit`) well before the lease ends in the database.
- The new holder lets the store put the bytes where the former one cannot reach them (`UploadStore.seize`), so even a
  write that was stopped between that look and its system call changes nothing.

Rule: what cannot be known is treated as lost. A database that is away is an error (503) for a request that
wants a lock, and a holder that could not renew stops.
"""

import asyncio
import contextlib
import threading
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import cast

import structlog
from sqlalchemy import ColumnElement, Connection, exists, select

from server import threads
from server.database.lease_models import UploadLease
from server.database.session import AWAY, Database, reason
from server.errors import UploadLockedError
from server.storage.locks import BeforeAsking, HeldLock, IsNeedless, UploadLocks, permit_of
from server.tus.headers import is_id
from server.uploads import leases
from server.uploads.lease_keeper import LeaseKeeper, now

_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.2
_DEFERENCE_SECONDS = 2.0
# Longer than a lease: a request waits until the lease of a dead holder has ended.
_MORE_SECONDS = 2.0
_ASK_SECONDS = 1.0
# Of a lease, the part in which its holder may write: the rest is for clocks that run differently.
_SAFE = 0.8
_BRIEF = 0

_log = structlog.stdlib.get_logger("videodock.locks")
_mine: ContextVar[tuple["HeldLease", ...]] = ContextVar("leases", default=())


class HeldLease(HeldLock):
    """A lease that is held; `valid_until` is of this host's clock (`now`)."""

    def __init__(
        self,
        name: str,
        epoch: int,
        arrival: int,
        *,
        process: str,
        valid_until: float,
        loop: asyncio.AbstractEventLoop | None,
    ) -> None:
        super().__init__(name)
        self.process = process
        self.epoch = epoch
        self.arrival = arrival
        self.valid_until = valid_until
        self.is_lost = False
        self.is_released = False
        self.is_seized = False
        """It was taken over, and the bytes are not out of the former holder's reach yet."""
        self._loop = loop
        self.permit = self.check

    def check(self) -> None:
        """Raise `UploadLockedError` unless the lease is valid for some time yet. For any thread."""
        if self.is_lost or now() >= self.valid_until:
            raise UploadLockedError

    def want_from_thread(self) -> None:
        """`want`, from any thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it is closed: the process ends
                self._loop.call_soon_threadsafe(self.want)

    def lose(self) -> None:
        """Another holder has it, or may have. From any thread."""
        self.is_lost = True
        self.want_from_thread()


def ask_holder(database: Database, name: str) -> None:
    """Ask the holder of a lease for it, of whatever process. Blocking."""
    with database.look() as connection:
        connection.execute(leases.WANT_NOW, {"name": name, "channel": leases.CHANNEL})


class LeaseLocks(UploadLocks):
    """All locks of a database, as one process sees them. `seconds` is how long a lease lasts."""

    is_quick = False

    def __init__(
        self, database: Database, seconds: float, seize: Callable[[str], None], process: str | None = None
    ) -> None:
        self._database = database
        self._seconds = seconds
        self._seize = seize
        self.process = process or str(uuid.uuid4())
        self._guard = threading.Lock()
        self._held: dict[str, HeldLease] = {}
        self._pending: Counter[str] = Counter()
        self._keeper: LeaseKeeper | None = None

    def listen(self) -> None:
        self._start_keeper()

    def close(self) -> None:
        with self._guard:
            keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.end()

    def hold(self, upload_id: str, before_asking: BeforeAsking | None = None) -> AbstractAsyncContextManager[HeldLock]:
        async def is_needless() -> bool:
            if before_asking is not None:
                await before_asking()
            return False

        return cast("AbstractAsyncContextManager[HeldLock]", self.hold_unless(upload_id, is_needless))

    def hold_unless(self, upload_id: str, is_needless: IsNeedless) -> AbstractAsyncContextManager[HeldLock | None]:
        return self._holding(upload_id, is_needless)

    @contextlib.asynccontextmanager
    async def _holding(self, name: str, is_needless: IsNeedless) -> AsyncIterator[HeldLease | None]:
        held = await self._acquire(name, is_needless)
        if held is None:
            yield None
            return
        try:
            with self._in_context(held):
                yield held
        finally:
            await self._database.run(self._release, held)

    def request_release(self, upload_id: str) -> None:
        with self._guard:
            holder = self._held.get(upload_id)
        if holder is not None:
            holder.want_from_thread()
            return
        ask_holder(self._database, upload_id)

    @contextmanager
    def try_hold(self, upload_id: str) -> Iterator[bool]:
        held, _, __ = self._try(upload_id, _BRIEF, None)
        if held is None:
            yield False
            return
        try:
            with self._in_context(held):
                self._secure(held)
                yield True
        finally:
            self._release(held)

    def clean(self) -> int:
        with self._database.look() as connection:
            ended = list(connection.scalars(leases.ENDED, {"seconds": self._seconds}))
        taken = 0
        for name in ended:
            with self.try_hold(name) as held:  # which fences off the holder that seems dead
                taken += held
        return taken

    def stale_fifos(self) -> list[Path]:
        return []

    def fence(self, connection: object, upload_id: str, *, may_be_free: bool = False) -> None:
        held = self._lease_of(upload_id)
        if held is None:
            if may_be_free:
                return
            raise UploadLockedError
        values = {"name": upload_id, "epoch": held.epoch}
        if cast("Connection", connection).execute(leases.FENCE, values).first() is None:
            held.lose()
            raise UploadLockedError

    def guard(self, upload_id: str) -> ColumnElement[bool] | None:
        held = self._lease_of(upload_id)
        if held is None:
            return None
        this = (UploadLease.name == upload_id, UploadLease.epoch == held.epoch)
        return exists(select(1).where(*this).with_for_update(read=True))

    def _lease_of(self, name: str) -> HeldLease | None:
        """The lease of this request or sweep; else the one that this process has."""
        for held in reversed(_mine.get()):
            if held.upload_id == name and held.process == self.process:
                return held
        with self._guard:
            return self._held.get(name)

    @contextmanager
    def _in_context(self, held: HeldLease) -> Iterator[None]:
        token = _mine.set((*_mine.get(), held))
        try:
            with permit_of(held.check):
                yield
        finally:
            _mine.reset(token)

    # Taking and releasing

    async def _acquire(self, name: str, is_needless: IsNeedless) -> HeldLease | None:
        began, asked_at, pause = time.monotonic(), float("-inf"), _FIRST_PAUSE
        arrival: int | None = None
        loop = asyncio.get_running_loop()
        while True:
            # A holder in this process is known without a look into the table.
            with self._guard:
                local = None if arrival is None else self._held.get(name)
            if local is None:
                held, arrival, holders = await self._database.run(self._try, name, arrival, loop)
                if held is not None:
                    return await self._secured(held)
                with self._guard:
                    local = self._held.get(name)
            else:
                holders = local.arrival
            if asked_at == float("-inf") and await is_needless():
                return None
            asks = holders is not None and arrival is not None and holders < arrival
            if asks and time.monotonic() > asked_at + _ASK_SECONDS:
                asked_at = time.monotonic()
                if local is not None:
                    local.want()
                else:
                    await self._database.run(self._want, name, arrival)
            asked_at = max(asked_at, 0.0)
            if time.monotonic() - began > (self._seconds + _MORE_SECONDS if asks else _DEFERENCE_SECONDS):
                raise UploadLockedError
            await asyncio.sleep(pause)
            pause = min(1.5 * pause, _LONGEST_PAUSE)

    def _try(
        self, name: str, arrival: int | None, loop: asyncio.AbstractEventLoop | None
    ) -> tuple[HeldLease | None, int, int | None]:
        """Take it if it is free: the lease, this request's number, and the number of the holder's. Blocking."""
        self._start_keeper()
        with self._guard:
            self._pending[name] += 1  # until it is known here, the keeper must not take it for a leftover
        try:
            sent = now()
            values = {"name": name, "arrival": arrival, "process": self.process, "seconds": self._seconds}
            with self._database.look() as connection:
                row = connection.execute(leases.TAKE, values).one()
            if row.epoch is None:
                # Without a holder: it released the lease between two steps of the statement.
                return None, row.arrival, row.held_arrival
            until = sent + _SAFE * self._seconds
            held = HeldLease(name, row.epoch, row.arrival, process=self.process, valid_until=until, loop=loop)
            held.is_seized = row.held_epoch is not None
            with self._guard:
                self._held[name] = held
            return held, row.arrival, None
        finally:
            with self._guard:
                self._pending[name] -= 1
                if not self._pending[name]:
                    del self._pending[name]

    async def _secured(self, held: HeldLease) -> HeldLease:
        if held.is_seized:
            try:
                with self._in_context(held):
                    await threads.run(self._secure, held)
            except BaseException:
                await self._database.run(self._release, held)
                raise
        return held

    def _secure(self, held: HeldLease) -> None:
        """Fence off the bytes from the holder before, if there was one. Blocking."""
        if held.is_seized:
            _log.warning("lease_taken_over", upload=held.upload_id)
            if is_id(held.upload_id):  # not that of a sweep
                self._seize(held.upload_id)
            held.check()
            held.is_seized = False

    def _want(self, name: str, arrival: int) -> None:
        with self._database.look() as connection:
            connection.execute(leases.WANT, {"name": name, "arrival": arrival, "channel": leases.CHANNEL})

    def _release(self, held: HeldLease) -> None:
        """Blocking; what cannot be released now, the keeper releases, or it ends."""
        held.is_released = True
        # Whose bytes are not secured yet must not look released: the next holder has to do that.
        statement = leases.GIVE_UP if held.is_seized else leases.RELEASE
        try:
            with self._database.look() as connection:
                connection.execute(statement, {"name": held.upload_id, "epoch": held.epoch})
        except AWAY as error:
            _log.warning("lease_not_released", upload=held.upload_id, reason=reason(error))
        finally:
            with self._guard:
                if self._held.get(held.upload_id) is held:
                    del self._held[held.upload_id]

    # The keeper's view

    def _start_keeper(self) -> None:
        with self._guard:
            if self._keeper is None:
                self._keeper = LeaseKeeper(self, self._database.engine, self._seconds)
                self._keeper.start()

    def held(self) -> list[HeldLease]:
        """All leases of this process. For the keeper's thread, as all that follows."""
        with self._guard:
            return list(self._held.values())

    def wanted(self, name: str, arrival: int) -> None:
        """A request of another process wants a lease."""
        with self._guard:
            held = self._held.get(name)
        if held is not None and held.arrival < arrival:
            held.want_from_thread()

    def renewed(self, asked: Sequence[HeldLease], found: Sequence[leases.Found], sent: float) -> list[str]:
        """What a renewal found that was sent at `sent`; returns leases of this process that it does not know of."""
        seen = {name: epoch for name, epoch, _, __ in found}
        for held in asked:
            if seen.get(held.upload_id) != held.epoch and not held.is_released:
                held.lose()
        unknown = []
        for name, epoch, wanted, is_renewed in found:
            with self._guard:
                held_now = self._held.get(name)
                is_known = held_now is not None or name in self._pending
            if held_now is not None and held_now.epoch == epoch:
                if is_renewed:
                    held_now.valid_until = sent + _SAFE * self._seconds
                if wanted > held_now.arrival:
                    held_now.want_from_thread()
            elif not is_known:
                unknown.append(name)
        return unknown
