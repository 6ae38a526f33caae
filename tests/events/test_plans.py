"""What live streams and webhooks read, they read along an index, however many events and deliveries there are."""

import contextlib
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, event, text

from server.database.session import Database
from server.events import counts, deliveries, feed, progress
from server.events.deliveries import Delivery, Outcome
from server.events.feed import EventFeed
from server.events.sender import Sender, Sent
from server.events.webhooks import Webhooks
from server.settings import Settings
from tests.harness.migrated import migrate
from tests.harness.quick_fill import analyse, without_indexes
from tests.tasks.queued_tasks import register

AT = datetime(2026, 1, 1, tzinfo=UTC)
TASKS, OWNERS, ENDPOINTS = 5000, 500, 50
PER_TASK = 100  # events of a task, far more than a real one has; a task's own deliveries are read one by one
TABLES = ("task_events", "tasks", "webhook_deliveries", "webhook_attempts")

# `{at}` is the time, `{rows}` how many.
_NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) "
_EVENTS = """
INSERT INTO task_events (task_id, owner, at, type, attempt)
SELECT 'task-' || (i % {tasks}), 'owner-' || (i % {owners}), {at}, 'completed', 0 FROM {numbers}
"""
_TASKS = """
INSERT INTO tasks (id, owner, node, status, partial, progress, current_file, file_count, attempt, failures, created_at,
  updated_at, finished_at)
SELECT 'task-' || i, 'owner', 'node', 'completed', {no}, 100, 1, 1, 1, 0, {at}, {at}, {at} FROM {numbers}
"""
_ENDPOINTS = """
INSERT INTO webhook_endpoints (id, url, types, created_at, event_id, failures, worker)
SELECT 'e' || (i - 1), 'http://127.0.0.1:9/', '["task.completed"]', {at}, 0, 0, 'node/1' FROM {numbers}
"""
# One in a hundred is pending.
_DELIVERIES = """
INSERT INTO webhook_deliveries (message_id, endpoint_id, event_id, task_id, type, status, attempts, created_at,
  next_attempt_at, ended_at, data)
SELECT 'msg_' || i, 'e' || (i % {endpoints}), i, 'task-' || (i % {tasks}), 'task.completed',
  CASE WHEN i % 100 < 1 THEN 'pending' ELSE 'delivered' END, 1, {at},
  CASE WHEN i % 100 < 1 THEN {at} END, CASE WHEN i % 100 < 1 THEN NULL ELSE {at} END, '{{}}' FROM {numbers}
"""
_ATTEMPTS = """
INSERT INTO webhook_attempts (delivery_id, at, seconds, answer_status)
SELECT id, {at}, 0.1, 200 FROM webhook_deliveries
"""


def fill(database: Database, rows: int) -> None:
    """So many events, a fifth as many deliveries, and tasks and endpoints for them."""
    is_sqlite = database.engine.dialect.name == "sqlite"
    at, no = ("'2026-01-01 00:00:00'", "0") if is_sqlite else ("TIMESTAMPTZ '2026-01-01 00:00:00+00'", "FALSE")
    amounts = {_EVENTS: rows, _TASKS: 20_000, _ENDPOINTS: ENDPOINTS, _DELIVERIES: rows // 5, _ATTEMPTS: 0}
    with database.write() as session, without_indexes(session, *TABLES):
        for statement, amount in amounts.items():
            if is_sqlite:
                numbers = f"({_NUMBERS.format(rows=amount)} SELECT i FROM n) AS made"
            else:
                numbers = f"generate_series(1, {amount}) AS made(i)"
            few = {"tasks": max(TASKS, rows // PER_TASK), "owners": OWNERS, "endpoints": ENDPOINTS}
            values = {"at": at, "no": no, "numbers": numbers, **few}
            session.execute(text(statement.format(**values)))
    register(database)
    analyse(database, *TABLES)


@pytest.fixture(scope="module", params=[20_000, pytest.param(10_000_000, marks=pytest.mark.soak)], ids=["20k", "10m"])
def rows(request: pytest.FixtureRequest) -> int:
    """How many events there are."""
    number: int = request.param
    return number


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql")])
def database(request: pytest.FixtureRequest, rows: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A database with many events, ended tasks and deliveries."""
    with contextlib.ExitStack() as stack:
        if request.param == "sqlite":
            url = f"sqlite:///{tmp_path_factory.mktemp('events') / 'test.db'}"
        else:
            cluster = request.getfixturevalue("postgres_server")
            url = cluster.create_database()
            stack.callback(cluster.drop_database, url)
        migrate(url)
        made = Database(url, 2)
        stack.callback(made.close)
        fill(made, rows)
        yield made


@contextmanager
def explained(database: Database) -> Iterator[dict[str, str]]:
    """The plans of all statements in this block, by statement; filled at its end."""
    asked: dict[str, object] = {}
    plans: dict[str, str] = {}

    def note(_c: object, _u: object, statement: str, parameters: object, _x: object, many: bool) -> None:
        if re.match(r"\s*(SELECT|UPDATE|DELETE)", statement) and "pg_" not in statement:
            asked.setdefault(statement, parameters[0] if many else parameters)  # type: ignore[index]

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield plans
    finally:
        event.remove(database.engine, "before_cursor_execute", note)
    explain = "EXPLAIN QUERY PLAN " if database.engine.dialect.name == "sqlite" else "EXPLAIN "
    with database.engine.connect() as connection:
        for statement, parameters in asked.items():
            found = connection.exec_driver_sql(explain + statement, parameters)  # type: ignore[arg-type]  # as it came
            plans[statement] = "\n".join(str(row) for row in found)


_LARGE = "task_events|webhook_deliveries|webhook_attempts|tasks|task_files"
# What is pending or runs is few rows, which have an index of their own.
_WHOLE = re.compile(
    rf"Seq Scan on ({_LARGE})\b|"
    rf"SCAN ({_LARGE})\b(?! USING (COVERING )?INDEX ix_(webhook_deliveries_pending|tasks_running))"
)


def check(plans: Mapping[str, str], least: int) -> None:
    """No large table is read whole."""
    assert len(plans) >= least
    for statement, plan in plans.items():
        assert not _WHOLE.search(plan), f"{statement}\n{plan}"


def quickly(rows: int, work: Callable[[], object]) -> None:
    """Whatever is asked at ten million rows takes milliseconds: the best of some times, without what else runs."""
    if rows < 1_000_000:
        return
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    assert min(taken) < 0.05, taken


def test_streams_read_along_indexes(database: Database, rows: int) -> None:
    """Pages of a task, of an owner and of all, the last event of a task, and running tasks: no table is read whole."""

    def resume(connection: Connection) -> Sequence[object]:
        found: list[object] = []
        for task, owner in (("task-7", None), (None, "owner-7"), (None, None)):
            page = feed.past(connection, task_id=task, owner=owner, after=rows // 2, until=rows, limit=50)
            assert page
            found += page
        return found

    with explained(database) as plans, database.engine.connect() as connection:
        resume(connection)
        assert feed.last_of(connection, "task-7", {"completed"})
        progress.ProgressWatch(lambda _task, _owner: True).look(connection)
        reader = EventFeed(database, rows - 100)
        assert len(reader.read()) >= 100
        assert EventFeed.newest(database) >= rows
    check(plans, 7)
    with database.engine.connect() as connection:
        quickly(rows, lambda: resume(connection))
    quickly(rows, lambda: EventFeed(database, rows // 2).read())


def test_webhooks_read_along_indexes(database: Database, rows: int) -> None:
    """What is due, its record, the log, and a replay of an hour: the same at any number of events and deliveries."""
    now = datetime.now(UTC)
    sender = Sender(allow_private=True)
    webhooks = Webhooks(settings=Settings(), database=database, sender=sender, clock=lambda: now)

    def look() -> Sequence[Delivery]:
        with database.look() as connection:
            assert "e0" in deliveries.ready(connection, "node/1", now)
            return deliveries.due(connection, "e0", now).found

    with explained(database) as plans:
        with database.look() as connection:
            # One in a hundred is pending: those of the endpoint e0.
            assert deliveries.ready(connection, "node/1", now) == ["e0"]
        due = look()
        assert due
        outcomes = [Outcome(due[0], now, Sent(0.1, 200)), Outcome(due[1], now, Sent(0.1, 500))]
        with database.change() as connection:
            deliveries.record(connection, outcomes, now)
            deliveries.give_up_old(connection, "e1", now)
            deliveries.all_due(connection, "e1", now)
        assert webhooks.log("e1", None, limit=20)
        webhooks.replay_range("e1", None, now, now + timedelta(hours=1))
        webhooks.replay_range("e1", None, AT - timedelta(days=2), AT - timedelta(days=1))
        webhooks.counts(["e1"])
        with pytest.raises(Exception, match="delivery_not_found"):
            webhooks.replay("e1", None, "msg_none")
        counts.gauges(database, now)
        deliveries.purge(database, AT - timedelta(days=1))
    check({one: plan for one, plan in plans.items() if "count(*)" not in one.lower()}, 15)
    quickly(rows, look)
    quickly(rows, lambda: webhooks.log("e1", None, limit=20))
    sender.close()
