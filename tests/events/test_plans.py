"""What live streams read, they read along an index, however many events and tasks there are."""

from collections.abc import Iterator

import pytest
from sqlalchemy import event, text

from server.database.session import Database
from server.events import feed, progress
from tests.harness.migrated import migrate
from tests.tasks.queued_tasks import register

_EVENTS = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
INSERT INTO task_events (task_id, owner, at, type, attempt)
SELECT 'task-' || (i % 5000), 'owner-' || (i % 500), '2026-01-01 00:00:00', 'waiting', 0 FROM n
"""
_TASKS = """
INSERT INTO tasks (id, owner, node, status, partial, progress, current_file, file_count, attempt, failures, created_at,
  updated_at, finished_at)
SELECT 'task-' || i, 'owner', 'node', 'completed', :no, 100, 1, 1, 1, 0, at, at, at FROM (
  WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
  SELECT i, CAST('2026-01-01 00:00:00' AS {time}) AS at FROM n) AS made
"""


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A database with many events and ended tasks."""
    migrate(database_url)
    made = Database(database_url, 2)
    is_sqlite = made.engine.dialect.name == "sqlite"
    with made.write() as session:
        cast = "'2026-01-01 00:00:00'" if is_sqlite else "CAST('2026-01-01 00:00:00' AS timestamptz)"
        session.execute(text(_EVENTS.replace("'2026-01-01 00:00:00'", cast)))
        tasks = (
            _TASKS.format(time="timestamptz")
            if not is_sqlite
            else _TASKS.replace("CAST('2026-01-01 00:00:00' AS {time})", "'2026-01-01 00:00:00'")
        )
        session.execute(text(tasks), {"no": False})
    register(made)
    with made.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))
    yield made
    made.close()


def test_streams_read_along_indexes(database: Database) -> None:
    """Pages of a task, of an owner and of all, the last event of a task, and running tasks: no table is read whole."""
    asked: list[tuple[str, object]] = []
    with database.engine.connect() as connection:

        def note(_c: object, _u: object, statement: str, parameters: object, _x: object, _m: object) -> None:
            asked.append((statement, parameters))

        event.listen(database.engine, "before_cursor_execute", note)
        for task, owner in (("task-7", None), (None, "owner-7"), (None, None)):
            assert feed.past(connection, task_id=task, owner=owner, after=10_000, until=20_000, limit=50)
        assert feed.last_of(connection, "task-7", {"waiting"})
        progress.ProgressWatch(lambda _task, _owner: True).look(connection)
        event.remove(database.engine, "before_cursor_execute", note)
        explain = "EXPLAIN QUERY PLAN " if connection.dialect.name == "sqlite" else "EXPLAIN "
        assert len(asked) == 5
        for statement, parameters in asked:
            plan = "\n".join(str(row) for row in connection.exec_driver_sql(explain + statement, parameters))  # type: ignore[arg-type]  # as it came
            assert "Seq Scan" not in plan, plan
            assert "USING INDEX" in plan or "USING INTEGER PRIMARY KEY" in plan or "Index" in plan, plan
