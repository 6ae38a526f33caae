"""Looking up a row on the event loop: right at once, or not at all."""

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, bindparam, insert, select, update

from server.database import at_once
from server.database.prepared import Prepared
from server.database.session import Database

NUMBERS = Table("numbers", MetaData(), Column("id", Integer, primary_key=True), Column("number", Integer))
FIND = Prepared(select(NUMBERS).where(NUMBERS.c.id == bindparam("one")))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path}/a 'b' %41?.db", 5)
    with database.change() as connection:
        NUMBERS.create(connection)
        connection.execute(insert(NUMBERS), {"id": 1, "number": 10})
    yield database
    database.close()


def find(database: Database, one: int = 1) -> int | None:
    row = database.find_at_once(FIND, {"one": one})
    return None if row is None else int(row.number)


def test_every_committed_change_is_seen_and_no_other(database: Database) -> None:
    """Of this process and of others: nothing is remembered."""
    assert (find(database), find(database, 2)) == (10, None)
    with database.change(lazy=True) as connection:
        connection.execute(update(NUMBERS).values(number=11))
        assert find(database) == 10
    assert find(database) == 11
    other = sqlite3.connect(database.engine.url.database or "")
    other.execute("UPDATE numbers SET number = 12")
    assert find(database) == 11
    other.commit()
    assert find(database) == 12
    other.close()


def test_a_checkpoint_is_not_kept_waiting(database: Database) -> None:
    """No snapshot is left open: the log can begin anew, and does not grow for ever."""
    assert find(database) == 10
    with database.change() as connection:
        connection.execute(update(NUMBERS).values(number=11))
    with database.look() as connection:
        assert connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0] == 0
    assert find(database) == 11


def test_a_database_that_is_locked_for_readers_is_left_to_a_thread(database: Database) -> None:
    """The loop does not wait in SQLite's busy handler."""
    path = database.engine.url.database or ""
    database.engine.dispose()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA locking_mode=EXCLUSIVE")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(BlockingIOError):
        find(database)
    other.close()
    assert find(database) == 10


def test_another_thread_may_not_look(database: Database) -> None:
    """The connection belongs to one thread; others have the pool."""
    assert find(database) == 10
    errors: list[BaseException] = []

    def look() -> None:
        try:
            find(database)
        except BlockingIOError as error:
            errors.append(error)

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert len(errors) == 1


def test_a_database_on_another_machine_is_left_to_a_thread(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look over a network may take as long as it likes."""
    monkeypatch.setattr(at_once, "is_local", lambda _: False)
    with pytest.raises(BlockingIOError):
        find(database)


def test_a_missing_file_is_not_created(tmp_path: Path) -> None:
    """It would have neither tables nor the mode that keeps others out."""
    database = Database(f"sqlite:///{tmp_path}/none.db", 5)
    with pytest.raises(BlockingIOError):
        find(database)
    assert not list(tmp_path.iterdir())
    database.close()


def test_a_database_server_is_left_to_a_thread() -> None:
    """It is reached over a network."""
    database = Database("postgresql+psycopg://nowhere/none", 5)
    with pytest.raises(BlockingIOError):
        find(database)
    database.close()
