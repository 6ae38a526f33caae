"""Whose turn it is: fair between owners, within their limit, and whatever the clock does."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import timedelta

import pytest
from sqlalchemy.dialects import sqlite

from server.database.session import Database
from server.lifecycle import TaskStatus
from server.tasks import fair_queue, queue
from server.tasks.queue import Claim, Failure
from tests.harness.waiting import PATIENCE
from tests.tasks.queued_tasks import LEASE, NOW, claim, claimed, file_ids, move_lease, new_id, register, task, write

BEHIND = 100
"""More tasks than a claim looks at."""
DAY = 86_400.0


def registered(database: Database, *owners: str) -> list[str]:
    """A task for each name, one second after the other."""
    return [register(database, owner=owner, at=NOW + timedelta(seconds=n)) for n, owner in enumerate(owners)]


def test_the_owner_with_the_fewest_running_tasks_comes_first(database: Database) -> None:
    """Three owners with three, two and one task: they take turns, and each one's oldest goes first."""
    a1, a2, b1, b2, c1, a3 = registered(database, "a", "a", "b", "b", "c", "a")
    assert [claimed(database).task_id for _ in range(6)] == [a1, b1, c1, a2, b2, a3]
    assert claim(database) is None


def test_ended_and_postponed_tasks_do_not_count_as_running(database: Database) -> None:
    """Of two that ran, one is set aside and one gives up: both owners have their turn again."""
    registered(database, "a", "b", "a", "b")
    ran = [claimed(database), claimed(database)]
    assert [one.owner for one in ran] == ["a", "b"]
    write(database, queue.postpone, ran[0], Failure("step_interrupted", {}), pause=60, now=NOW)
    write(database, queue.fail_exhausted, ran[1], Failure("too_many_attempts", {}), now=NOW)
    assert [claimed(database, owner_limit=1).owner for _ in range(2)] == ["a", "b"]
    assert claim(database, owner_limit=1) is None


@pytest.mark.parametrize("limit", [0, 1])
def test_an_owner_with_many_tasks_does_not_delay_the_others(database: Database, limit: int) -> None:
    """One owner has put in more tasks than a claim looks at: the next one goes to whoever came last of all."""
    tasks = registered(database, *["a"] * BEHIND, "b", "c")
    found = [claimed(database, owner_limit=limit) for _ in range(3)]
    assert [one.task_id for one in found] == [tasks[0], tasks[-2], tasks[-1]]
    again = claim(database, owner_limit=limit)
    assert (again and again.task_id) == (None if limit else tasks[1])


def test_an_owner_has_no_more_running_than_the_limit(database: Database) -> None:
    """At the limit neither the next nor a named task is given; below it again, both are."""
    first, second, third = registered(database, "a", "a", "a")
    one = claimed(database, owner_limit=1)
    assert one.task_id == first
    assert claim(database, owner_limit=1) is None
    assert claim(database, owner_limit=1, task_id=second) is None
    assert claimed(database, owner_limit=2, task_id=third).task_id == third
    write(database, queue.fail_exhausted, one, Failure("too_many_attempts", {}), now=NOW)
    assert claim(database, owner_limit=1) is None
    assert claimed(database, owner_limit=2).task_id == second


def test_a_named_task_is_claimed_once(database: Database) -> None:
    """The one that was asked for, once, and no other in its place."""
    first, second = registered(database, "a", "a")
    assert claimed(database, task_id=second).task_id == second
    assert claim(database, task_id=second) is None
    assert claim(database, task_id=new_id()) is None
    assert task(database, first).status is TaskStatus.UPLOADED


@pytest.mark.parametrize("owners", [1, 4])
@pytest.mark.every_backend
def test_concurrent_claims_never_exceed_the_owner_limit(database: Database, owners: int) -> None:
    """Eight workers claim at the same moment, again and again: each owner has exactly its limit."""
    registered(database, *[f"owner-{number % owners}" for number in range(24)])
    at_once = threading.Barrier(8)

    def take(worker: int) -> list[Claim]:
        found = []
        for _ in range(6):
            at_once.wait(PATIENCE)
            one = claim(database, f"node/{worker}", owner_limit=3)
            found += [one] if one else []
        return found

    with ThreadPoolExecutor(8) as pool:
        claims = [one for found in pool.map(take, range(8)) for one in found]
    assert Counter(one.owner for one in claims) == {f"owner-{number}": 3 for number in range(owners)}


@pytest.mark.every_backend
def test_an_uncommitted_claim_counts_against_the_limit(database: Database) -> None:
    """While one claims, the next one waits where there is a limit: it finds the owner at it."""
    registered(database, "a", "a")
    with ThreadPoolExecutor(1) as pool:
        with database.write() as session:
            assert queue.claim(session, "node/1", node="node", lease=LEASE, now=NOW, owner_limit=1)
            other = pool.submit(claim, database, "node/2", owner_limit=1)
            assert not wait([other], timeout=0.5).done
        assert other.result(30) is None


def test_concurrent_workers_claim_one_task_each(database: Database) -> None:
    """Eight workers claim at the same moment where one owner has enough for all: nobody goes away empty."""
    registered(database, *["a"] * BEHIND)
    at_once = threading.Barrier(8)

    def take(worker: int) -> str:
        at_once.wait(PATIENCE)
        return claimed(database, f"node/{worker}").task_id

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(take, range(8)))) == 8


@pytest.mark.parametrize("set_aside", [False, True])
@pytest.mark.parametrize(("seconds", "is_free"), [(-1, True), (10, False), (299, False), (3600, True), (DAY, True)])
def test_a_lease_beyond_the_longest_has_expired(
    database: Database, seconds: float, is_free: bool, set_aside: bool
) -> None:
    """The clock was set back by an hour or a day: what is left of a lease is no reason to wait as long."""
    (task_id,) = registered(database, "a")
    mine = claimed(database)
    if set_aside:
        write(database, queue.postpone, mine, Failure("step_interrupted", {}), pause=300, now=NOW)
    move_lease(database, task_id, seconds)
    for asked in ({"task_id": task_id}, {}):
        found = claim(database, "node/2", owner_limit=1, **asked)
        assert (found is not None) is is_free
        if found:
            assert found.attempt == 2
            assert not write(database, queue.update_claimed, mine, {})
            break


def test_a_configured_long_lease_is_respected(database: Database) -> None:
    """Where workers ask for an hour, an hour is no jump of the clock."""
    (task_id,) = registered(database, "a")
    claimed(database)
    move_lease(database, task_id, 3599)
    with database.write() as session:
        assert queue.claim(session, "node/2", node="node", lease=3600, now=NOW) is None
    move_lease(database, task_id, 3800)
    with database.write() as session:
        assert queue.claim(session, "node/2", node="node", lease=3600, now=NOW) is not None


def test_a_heartbeat_renews_the_lease_after_a_clock_jump(database: Database) -> None:
    """Its next heartbeat sets the lease by the clock as it is now, and the task is nobody else's."""
    (task_id,) = registered(database, "a")
    mine = claimed(database)
    for jump in (DAY, -DAY):
        move_lease(database, task_id, jump)
        assert write(
            database, queue.heartbeat, mine, lease=LEASE, progress=1, current_file=1, eta_seconds=None, now=NOW
        )
        assert claim(database, "node/2") is None


def test_a_late_heartbeat_does_not_change_the_pause(database: Database) -> None:
    """Whoever set a task aside, or gave it back, holds it no more, though the attempt is still the last one."""
    (task_id,) = registered(database, "a")
    mine = claimed(database)
    write(database, queue.postpone, mine, Failure("step_interrupted", {}), pause=5, now=NOW)
    before = task(database, task_id).lease_expires_at
    assert not write(
        database, queue.heartbeat, mine, lease=LEASE, progress=9, current_file=1, eta_seconds=None, now=NOW
    )
    assert task(database, task_id).lease_expires_at == before
    assert file_ids(database, task_id)


@pytest.mark.every_backend
def test_a_claim_uses_indexes_only(tmp_path_factory: pytest.TempPathFactory, database: Database) -> None:
    """SQLite's plan: no statement of a claim reads the table from end to end. (`bench/queue.py` measures both.)"""
    if database.engine.dialect.name != "sqlite":
        return
    asked = {"node": "node", "horizon": 360.0, "owner_limit": 1, "owner": "a", "task_id": "x"}
    for statement in (fair_queue._FIRST, fair_queue._FIRST_OF_OWNER, fair_queue._OWNERS_IN_ORDER, fair_queue._THIS):
        compiled = statement.compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": False})
        values = tuple({**compiled.params, **asked}[name] for name in compiled.positiontup or ())
        with database.engine.connect() as connection:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}", values).all()
        reads = [row[3] for row in plan if "tasks" in row[3]]
        assert reads
        assert all(read.startswith("SEARCH") for read in reads), reads
