"""Writes of many requests in one transaction: as if each had its own, and paid once."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, Connection, Integer, MetaData, Table, event, text
from sqlalchemy import insert as insert_into
from sqlalchemy.exc import IntegrityError, OperationalError

from server.database.prepared import Link, Prepared
from server.database.session import Database
from tests.harness.waiting import until


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path}/test.db", 5)
    with database.write() as session:
        session.execute(text("CREATE TABLE numbers (number INTEGER PRIMARY KEY)"))
    yield database
    database.close()


@pytest.fixture
def commits(database: Database) -> list[int]:
    """One entry for each commit."""
    seen: list[int] = []
    event.listen(database.engine, "commit", lambda _: seen.append(1))
    return seen


def insert(number: int) -> Callable[[Connection], int]:
    """A write that adds a number and answers with it."""

    def work(connection: Connection) -> int:
        connection.execute(text("INSERT INTO numbers VALUES (:number)"), {"number": number})
        return number

    return work


def numbers(database: Database) -> list[int]:
    with database.read() as session:
        return list(session.scalars(text("SELECT number FROM numbers ORDER BY number")))


async def all_at_once(database: Database, *works: Callable[[Connection], Any]) -> list[Any]:
    """Their results and errors; they are all there before the writer looks for the second time."""
    entered, goes_on = threading.Event(), threading.Event()

    def first(_: Connection) -> None:
        entered.set()
        assert goes_on.wait(30)

    held = asyncio.ensure_future(database.write_together(first))
    await asyncio.to_thread(entered.wait, 30)
    running = [asyncio.ensure_future(database.write_together(work)) for work in works]
    await asyncio.sleep(0)  # each of them has put its work into the queue
    goes_on.set()
    await held
    return await asyncio.gather(*running, return_exceptions=True)


def test_waiting_writes_are_committed_together(database: Database, commits: list[int]) -> None:
    """A hundred writes that come while one commits take two transactions, and each has its own answer."""
    commits.clear()
    answers = asyncio.run(all_at_once(database, *(insert(number) for number in range(100))))
    assert answers == list(range(100))
    assert len(commits) == 3  # the first, 64 and 36
    assert numbers(database) == list(range(100))


def test_a_write_that_raises_does_not_affect_the_others(database: Database) -> None:
    """Its rows are not there, and those before and after it are."""

    def fails(connection: Connection) -> None:
        insert(50)(connection)
        raise KeyError("no")

    answers = asyncio.run(all_at_once(database, insert(1), fails, insert(2)))
    assert [type(answer) for answer in answers] == [int, KeyError, int]
    assert numbers(database) == [1, 2]


def test_a_write_that_breaks_a_constraint_does_not_affect_the_others(database: Database) -> None:
    """A broken constraint is an error of its own write."""
    answers = asyncio.run(all_at_once(database, insert(1), insert(1), insert(2)))
    assert [type(answer) for answer in answers] == [int, IntegrityError, int]
    assert numbers(database) == [1, 2]


def test_after_a_failed_commit_each_write_is_tried_alone(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the common transaction cannot be committed, only those fail that cannot be committed alone either."""
    failing = [2, 1]  # the common transaction is the second one; of the single ones the first fails, too

    def refuse(_: object) -> None:
        failing[0] -= 1
        if failing[0] in (0, -1):
            raise OperationalError("COMMIT", {}, sqlite3.OperationalError("disk I/O error"))

    event.listen(database.engine, "commit", refuse)
    answers = asyncio.run(all_at_once(database, insert(1), insert(2), insert(3)))
    assert [type(answer) for answer in answers] == [OperationalError, int, int]
    assert numbers(database) == [2, 3]


def test_writes_that_cannot_begin_fail_together(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process keeps the database locked: nobody waits for it 64 times."""
    begin, begun = database._writer._begin, [0]  # type: ignore[union-attr]

    @contextmanager
    def locked(lazy: bool, plain: bool) -> Iterator[Any]:
        begun[0] += 1
        if begun[0] == 2:
            raise OperationalError("BEGIN IMMEDIATE", {}, sqlite3.OperationalError("database is locked"))
        with begin(lazy, plain) as connections:
            yield connections

    monkeypatch.setattr(database._writer, "_begin", locked)
    answers = asyncio.run(all_at_once(database, *(insert(number) for number in range(10))))
    assert [type(answer) for answer in answers] == [OperationalError] * 10
    assert begun[0] == 2
    asyncio.run(database.write_together(insert(1)))
    assert numbers(database) == [1]


def test_a_write_returns_after_its_commit(database: Database) -> None:
    """When a write returns, another connection sees its row."""

    async def write_and_look() -> list[int]:
        await database.write_together(insert(7))
        return await asyncio.to_thread(numbers, database)

    assert asyncio.run(write_and_look()) == [7]


def test_what_follows_a_commit_is_done_before_the_answer(database: Database) -> None:
    """It gets the result, and sees the row; what it raises is raised, and the row stays."""
    seen: list[tuple[int, list[int]]] = []

    async def write() -> None:
        assert await database.write_together(insert(7), then=lambda n: seen.append((n, numbers(database)))) == 7
        with pytest.raises(IndexError):
            await database.write_together(insert(8), then=lambda _: [][1])
        with pytest.raises(IntegrityError):
            await database.write_together(insert(8), then=lambda n: seen.append((n, [])))

    asyncio.run(write())
    assert seen == [(7, [7])]
    assert numbers(database) == [7, 8]


def test_a_cancelled_caller_waits_for_its_write(database: Database) -> None:
    """What the write works on must not be let go under its hands."""
    entered, goes_on = threading.Event(), threading.Event()

    def slowly(connection: Connection) -> None:
        entered.set()
        assert goes_on.wait(30)
        insert(9)(connection)

    async def cancel() -> tuple[bool, bool]:
        running = asyncio.ensure_future(database.write_together(slowly))
        await asyncio.to_thread(entered.wait, 30)
        running.cancel()
        await asyncio.sleep(0.05)
        waited = not running.done()
        goes_on.set()
        with pytest.raises(asyncio.CancelledError):
            await running
        return waited, numbers(database) == [9]

    assert asyncio.run(cancel()) == (True, True)


def test_closing_commits_waiting_writes_and_ends_the_thread(database: Database) -> None:
    """What waits is done first; no thread is left."""
    before = set(threading.enumerate())
    asyncio.run(database.write_together(insert(1)))
    (writer,) = (thread for thread in set(threading.enumerate()) - before if thread.name == "sql-writer")
    database.close()
    until(lambda: not writer.is_alive(), what="the writer has ended")


PLAIN_INSERT = Prepared(insert_into(Table("numbers", MetaData(), Column("number", Integer))), ["number"])


def test_plain_writes_and_others_share_a_transaction(database: Database, commits: list[int]) -> None:
    """A write of prepared statements and one of SQLAlchemy's are committed once, together, in their order."""
    commits.clear()
    works = [insert(1), insert(3)]
    plain = partial(PLAIN_INSERT.change, parameters={"number": 2})

    async def write() -> Any:
        return await asyncio.gather(
            database.write_together(works[0]),
            database.write_together(plain, plain=True),
            database.write_together(works[1]),
        )

    assert list(asyncio.run(write())) == [1, 1, 3]
    assert len(commits) == 1
    assert numbers(database) == [1, 2, 3]


def test_a_plain_write_that_fails_leaves_no_rows_and_disturbs_no_other(database: Database) -> None:
    """A key that is there already: SQLAlchemy's error, and the writes around it are committed."""
    works = [partial(PLAIN_INSERT.change, parameters={"number": number}) for number in (1, 2, 2, 3)]

    async def write() -> list[Any]:
        return await asyncio.gather(
            *(database.write_together(work, plain=True) for work in works), return_exceptions=True
        )

    answers = asyncio.run(write())
    assert [type(answer) for answer in answers] == [int, int, IntegrityError, int]
    assert numbers(database) == [1, 2, 3]
    asyncio.run(database.write_together(insert(4)))
    assert numbers(database) == [1, 2, 3, 4]


@pytest.mark.parametrize("plain", [True, False])
def test_what_comes_after_the_commit_may_write_once_more(database: Database, plain: bool) -> None:
    """The first row is there before `then`; its write is there when the caller has its answer."""
    seen: list[list[int]] = []

    def then(_: int) -> Callable[[Link], int]:
        seen.append(numbers(database))
        return partial(PLAIN_INSERT.change, parameters={"number": 2})

    def work(connection: Link) -> int:
        return PLAIN_INSERT.change(connection, {"number": 1})

    async def write() -> list[int]:
        await database.write_together(work, then=then, plain=plain)
        return numbers(database)

    assert asyncio.run(write()) == [1, 2]
    assert seen == [[1]]


def test_an_error_of_the_second_write_is_raised(database: Database) -> None:
    """The first one is committed all the same, and another write of the same turn has its answer."""
    again = partial(PLAIN_INSERT.change, parameters={"number": 1})

    async def write() -> Any:
        return await asyncio.gather(
            database.write_together(again, then=lambda _: again, plain=True),
            database.write_together(insert(2)),
            return_exceptions=True,
        )

    answers = asyncio.run(write())
    assert [type(answer) for answer in answers] == [IntegrityError, int]
    assert numbers(database) == [1, 2]
