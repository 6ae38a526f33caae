"""Locks of several hosts: one holder, evicted by a later request, and harmless once it lost its lease."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import literal, select, text, update
from sqlalchemy.exc import OperationalError

from server.database.models import Upload
from server.database.session import Database
from server.errors import UploadLockedError
from server.storage.disk import DiskStore
from server.uploads import lease_keeper
from server.uploads.lease_locks import HeldLease, LeaseLocks
from tests.harness import migrated
from tests.harness.postgres import PostgresServer
from tests.harness.waiting import PATIENCE, Stopwatch, until

ID = "8a6b1c6e-3f0e-4a58-9f57-0d8f1f1f9c11"
SECONDS = 4.0

MakeHost = Callable[..., LeaseLocks]


class Hosts:
    """Processes of several hosts, each with its own connections and locks."""

    def __init__(self, url: str, store: DiskStore) -> None:
        self._url = url
        self._store = store
        self.seized: list[str] = []
        self.made: list[tuple[LeaseLocks, Database]] = []

    def __call__(self, *, frozen: bool = False) -> LeaseLocks:
        """One more; a `frozen` one renews nothing, as a process that was stopped."""
        database = Database(self._url, 4)

        def seize(name: str) -> None:
            self.seized.append(name)
            self._store.seize(name)

        locks = LeaseLocks(database, SECONDS, seize)
        if frozen:
            locks._start_keeper = lambda: None  # type: ignore[method-assign]
        self.made.append((locks, database))
        return locks

    def rows(self) -> list[str]:
        """The names of all leases."""
        with self.made[0][1].look() as connection:
            return list(connection.scalars(text("SELECT name FROM upload_leases ORDER BY name")))

    def end_all_leases(self) -> None:
        """As if their time were over."""
        with self.made[0][1].look() as connection:
            connection.execute(text("UPDATE upload_leases SET expires_at = clock_timestamp() - interval '1 hour'"))

    def close(self) -> None:
        for locks, database in self.made:
            locks.close()
            database.close()


@pytest.fixture
def store(tmp_path: Path) -> DiskStore:
    return DiskStore(tmp_path / "uploads")


@pytest.fixture
def hosts(postgres_url: str, store: DiskStore) -> Iterator[Hosts]:
    migrated.migrate(postgres_url)
    made = Hosts(postgres_url, store)
    yield made
    made.close()


def run(work: Awaitable[None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(PATIENCE):
            await work

    asyncio.run(bounded())


async def obliging(locks: LeaseLocks, is_held: asyncio.Event, let_go: list[str] | None = None) -> None:
    """Hold the lock until it is wanted."""
    wanted = asyncio.Event()
    async with locks.hold(ID) as held:
        held.attach(wanted.set)
        is_held.set()
        await wanted.wait()
        if let_go is not None:
            let_go.append(locks.process)


def test_a_later_request_of_another_host_evicts_the_holder_within_two_seconds(hosts: Hosts) -> None:
    """By the notification: the holder's callback is called, the newcomer gets the lock, and no row stays."""

    async def scene() -> None:
        one, other = hosts(), hosts()
        is_held, order = asyncio.Event(), list[str]()
        holding = asyncio.create_task(obliging(one, is_held, order))
        await is_held.wait()
        watch = Stopwatch()
        async with other.hold(ID):
            assert watch.seconds < 2
            assert order == [one.process]
        await holding

    run(scene())
    assert hosts.rows() == []
    assert hosts.seized == [], "a lock that was released needs no copy of the bytes"


def test_the_holder_learns_of_a_request_without_the_notification(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL's message is lost: the next renewal tells that the lock is wanted."""
    monkeypatch.setattr(lease_keeper.LeaseKeeper, "_hear", lambda *_: None)

    async def scene() -> None:
        one, other = hosts(), hosts()
        is_held = asyncio.Event()
        holding = asyncio.create_task(obliging(one, is_held))
        await is_held.wait()
        async with other.hold(ID):
            pass
        await holding

    run(scene())


def test_an_earlier_request_does_not_evict_a_later_one(hosts: Hosts) -> None:
    """A dead request that still waits would take the lock from the one that replaced it: it gets 423."""

    async def scene() -> None:
        one, other, third = hosts(), hosts(), hosts()
        with one.try_hold(ID):
            early = asyncio.create_task(_enter(other))
            await asyncio.sleep(0)
            with one._database.look() as connection:
                seen = text("SELECT last_value FROM upload_lease_epochs")
                numbers = connection.scalar(seen)
                while connection.scalar(seen) <= numbers:  # until the early request has its number
                    await asyncio.sleep(0.01)
            late, is_held = asyncio.Event(), asyncio.Event()

            async def hold_long() -> None:
                async with third.hold(ID) as held:
                    is_held.set()
                    await late.wait()
                    assert not held.wanted

            later = asyncio.create_task(hold_long())
            # The late one gets it although the other waits longer: whoever looks first.
            other._try = lambda *_: (None, 1, 2**40)  # type: ignore[method-assign]
        await is_held.wait()
        with pytest.raises(UploadLockedError):
            await early
        late.set()
        await later

    run(scene())


async def _enter(locks: LeaseLocks) -> None:
    async with locks.hold(ID):
        pass


def test_a_holder_that_does_not_let_go_is_waited_for_and_refused(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails closed: nobody enters while the holder renews its lease."""
    monkeypatch.setattr("server.uploads.lease_locks._MORE_SECONDS", -SECONDS + 0.5)

    async def scene() -> None:
        one, other = hosts(), hosts()
        async with one.hold(ID) as held:
            with pytest.raises(UploadLockedError):
                await _enter(other)
            assert held.wanted

    run(scene())


def test_a_running_body_renews_its_lease_and_pins_no_connection(hosts: Hosts) -> None:
    """The lease outlives its first term, and no transaction or connection of the pool is held meanwhile."""

    async def scene() -> None:
        one = hosts()
        async with one.hold(ID) as held:
            assert isinstance(held, HeldLease)
            first = held.valid_until
            while held.valid_until == first:
                await asyncio.sleep(0.05)
            assert one._database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
            held.check()

    run(scene())


def test_a_lost_lease_is_taken_over_and_its_holder_changes_nothing(hosts: Hosts, store: DiskStore) -> None:
    """A holder that slept longer than its lease: its rows, its bytes and its truncation are refused, and a write of a
    descriptor that was open before reaches no file that has a name."""
    store.create(ID)
    store.local_path(ID).write_bytes(b"abc")

    async def scene() -> None:
        one, other = hosts(frozen=True), hosts()
        async with one.hold(ID) as held:
            assert isinstance(held, HeldLease)
            with store.local_path(ID).open("r+b") as late:
                hosts.end_all_leases()
                async with other.hold(ID) as newer:
                    assert isinstance(newer, HeldLease)
                    assert newer.epoch > held.epoch
                    assert hosts.seized == [ID]
                    with pytest.raises(UploadLockedError), one._database.write() as session:
                        one.fence(session.connection(), ID)
                    with pytest.raises(UploadLockedError):
                        held.check()
                    with pytest.raises(UploadLockedError):
                        _truncate_as(one, held, store)
                    late.seek(3)
                    late.write(b"of the former holder")
                    late.flush()
                    assert store.local_path(ID).read_bytes() == b"abc"

    run(scene())
    assert hosts.rows() == []


def test_the_guard_is_a_condition_that_a_lost_lease_does_not_meet(hosts: Hosts) -> None:
    """For a store that keeps rows: a statement of a former holder changes nothing."""

    async def scene() -> None:
        one, other = hosts(frozen=True), hosts()
        assert one.guard(ID) is None
        async with one.hold(ID):
            guard = one.guard(ID)
            assert guard is not None
            change = update(Upload).where(guard).values(has_bytes=False)
            with one._database.look() as connection:
                assert connection.scalar(select(literal(1)).where(guard)) == 1
                connection.execute(change)  # in a change, too, it is SQL that PostgreSQL takes
                hosts.end_all_leases()
                async with other.hold(ID):
                    assert connection.scalar(select(literal(1)).where(guard)) is None

    run(scene())


def test_a_holder_stops_by_its_own_clock_before_its_lease_ends(hosts: Hosts) -> None:
    """It need not hear of it: what it could not renew for the safe part of a lease, it has lost."""

    async def scene() -> None:
        one = hosts(frozen=True)
        async with one.hold(ID) as held:
            assert isinstance(held, HeldLease)
            held.check()
            assert held.valid_until < lease_keeper.now() + SECONDS * 0.9
            held.valid_until = lease_keeper.now()
            with pytest.raises(UploadLockedError):
                held.check()

    run(scene())


def _truncate_as(locks: LeaseLocks, held: HeldLease, store: DiskStore) -> None:
    with locks._in_context(held):
        store.truncate(ID, 1)


def test_the_next_holder_secures_the_bytes_that_the_last_one_could_not(hosts: Hosts) -> None:
    """A takeover whose copy failed for want of space ends, and leaves the lease as ended: the next one copies."""

    async def scene() -> None:
        one, other, third = hosts(frozen=True), hosts(), hosts()
        taken, _, __ = one._try(ID, None, None)
        assert taken is not None
        hosts.end_all_leases()
        other._seize = lambda name: (_ for _ in ()).throw(OSError(28, name))
        with pytest.raises(OSError, match="28"):
            await _enter(other)
        assert hosts.rows() == [ID]
        await _enter(third)
        assert hosts.seized == [ID]

    run(scene())


def test_a_commit_of_the_holder_is_waited_for_by_the_next_one(hosts: Hosts) -> None:
    """Whoever named its epoch in a transaction keeps it until the end: the newcomer reads what was committed."""

    async def scene() -> None:
        one, other = hosts(), hosts()
        async with one.hold(ID):
            with one._database.write() as session:
                one.fence(session.connection(), ID)
                hosts_waiting = asyncio.create_task(_enter(other))
                with pytest.raises(OperationalError, match="lock timeout"):
                    _change_at_once(other)
            hosts_waiting.cancel()
            await asyncio.wait({hosts_waiting})

    run(scene())


def _change_at_once(locks: LeaseLocks) -> None:
    with locks._database.look() as connection:
        connection.execute(text("SET lock_timeout = '50ms'"))
        try:
            connection.execute(text("UPDATE upload_leases SET wanted = 0"))
        finally:
            connection.execute(text("SET lock_timeout = 0"))


def test_a_lease_whose_process_died_is_cleaned_by_a_sweep(hosts: Hosts) -> None:
    """And counts as the trace of a death, so that the sweep looks at everything; an upload in use stays."""
    one, other = hosts(frozen=True), hosts()
    one._try(ID, None, None)
    assert other.clean() == 0
    hosts.end_all_leases()
    assert other.clean() == 1
    assert hosts.rows() == []
    assert hosts.seized == [ID]


def test_what_a_lost_answer_left_is_given_up_by_the_keeper(hosts: Hosts) -> None:
    """A row of this process that it does not know of: another process takes it without waiting for its time."""
    one, other = hosts(), hosts()
    held, _, __ = one._try(ID, None, None)
    assert held is not None
    with one._guard:
        one._held.clear()
    until(lambda: other._try(ID, None, None)[0] is not None, what="another process takes the lease")


def test_locks_are_refused_while_the_database_is_away_and_work_again_after_it(postgres_url: str) -> None:
    """Nobody gets a lock on a guess."""
    server = PostgresServer()
    server.start()
    try:
        url = server.create_database()
        migrated.migrate(url)
        database = Database(url, 4)
        locks = LeaseLocks(database, SECONDS, lambda _: None)

        async def scene() -> None:
            await _enter(locks)
            server.halt()
            with pytest.raises(OperationalError):
                await _enter(locks)
            server.resume()
            await _enter(locks)
            async with locks.hold(ID) as held:
                assert isinstance(held, HeldLease)
                first = held.valid_until
                while held.valid_until == first:  # the keeper found the database, too
                    await asyncio.sleep(0.05)

        run(scene())
        locks.close()
        database.close()
    finally:
        server.stop()
