"""The feed of events: in order, without a gap and without a double, whatever commits when."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import delete, text

from server.database.models import TaskEvent
from server.database.session import Database
from server.events.feed import EventFeed, span
from server.tasks import events
from tests.harness.migrated import migrate
from tests.harness.waiting import until

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    migrate(database_url)
    made = Database(database_url, pool_size=4)
    yield made
    made.close()


def add(database: Database, *tasks: str) -> None:
    """Events in one transaction."""
    with database.write() as session:
        session.execute(text("DELETE FROM outbox_cursors"))  # so that the transaction has its number
        for task in tasks:
            events.append(session, task, "uploaded", owner="ann", at=NOW, data={"files": 1})


def tasks_of(feed: EventFeed, limit: int = 500) -> list[str]:
    return [event.task_id for event in feed.read(limit)]


def read_on(feed: EventFeed, number: int) -> list[str]:
    """The tasks of the next events, until there are so many."""
    found: list[str] = []

    def has_all() -> bool:
        found.extend(tasks_of(feed))
        return len(found) >= number

    until(has_all, seconds=10, what="all events were read")
    return found


def test_a_reader_gets_every_event_once_and_in_order(database: Database) -> None:
    """Page by page, from where it is; what comes later is on a later page."""
    add(database, "a", "b", "c")
    feed = EventFeed(database, 0)
    assert (tasks_of(feed, 2), tasks_of(feed, 2), tasks_of(feed, 2)) == (["a", "b"], ["c"], [])
    add(database, "d")
    assert tasks_of(feed) == ["d"]
    assert tasks_of(EventFeed(database, EventFeed.newest(database))) == []
    (event,) = EventFeed(database, feed.after - 1).read()
    assert (event.type, event.owner, event.data, event.at) == ("uploaded", "ann", {"files": 1}, NOW)


def test_removed_events_hold_nothing_up(database: Database) -> None:
    """Retention leaves gaps, which a reader passes at once when nothing else runs."""
    add(database, *"abcdef")
    with database.write() as session:
        session.execute(delete(TaskEvent).where(TaskEvent.task_id.in_(["b", "d", "e"])))
    assert read_on(EventFeed(database, 0), 3) == ["a", "c", "f"]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite has one writer
def test_a_late_commit_is_not_passed_over(database: Database) -> None:
    """Event 1 commits after event 2: the reader waits for it, and gets both in their order."""
    numbered, commit = threading.Event(), threading.Event()

    def slow() -> None:
        with database.write() as session:
            session.execute(text("DELETE FROM outbox_cursors"))
            events.append(session, "slow", "uploaded", owner="ann", at=NOW)
            numbered.set()
            assert commit.wait(30)

    thread = threading.Thread(target=slow)
    thread.start()
    try:
        assert numbered.wait(30)
        add(database, "quick")
        feed = EventFeed(database, 0)
        assert [tasks_of(feed) for _ in range(3)] == [[], [], []]
        add(database, "quicker")
        assert tasks_of(feed) == []
    finally:
        commit.set()
        thread.join()
    assert read_on(feed, 3) == ["slow", "quick", "quicker"]


def test_a_time_is_found_among_the_numbers(database: Database) -> None:
    """Every event of a time is in the span, and not many others, though one host has a wrong clock."""
    hour = timedelta(hours=1)
    with database.write() as session:
        for number in range(600):
            wrong = {101: -1000, 452: 1000}.get(number, 0)
            events.append(session, str(number), "uploaded", owner="ann", at=NOW + (number + wrong) * hour)
    with database.look() as connection:
        for first, last in ((0, 599), (300, 310), (-50, -40), (599, 599), (700, 800), (17, 17)):
            after, until = span(connection, NOW + first * hour, NOW + last * hour)
            wanted = [n + 1 for n in range(600) if first <= n <= last and n not in (101, 452)]
            assert all(after < number <= until for number in wanted), (first, last, after, until)
            assert until - after <= len(wanted) + 250, (first, last, after, until)
