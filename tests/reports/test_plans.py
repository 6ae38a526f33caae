"""What a report reads: with sums kept, the rows of today along an index, and not the whole tables."""

import os
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from time import process_time

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from server.database import report_queries
from server.database.report_queries import REPORTS
from server.database.session import Database
from server.maintenance import report_sums
from tests.harness.migrated import migrate
from tests.reports.generated_month import fill
from tests.reports.page import QUERIES

Ask = Callable[[Session], object]

FEW, MANY = 3_000, 30_000
SOAK = 1_000_020

# They look at every row of one small or narrow index or table; the soak test measures them.
WHOLE = {
    "Who stores how much",
    "Deliveries that were given up",
    "Who did what",
    "Health of webhooks",
}


@pytest.fixture
def month(database_url: str) -> Iterator[Database]:
    migrate(database_url)
    database = Database(database_url, 2)
    yield database
    database.close()


def _keep_all(database: Database) -> None:
    while report_sums.keep(database, datetime(2026, 6, 2, tzinfo=UTC), row_retention=0):
        pass


@pytest.mark.parametrize("heading", sorted(set(QUERIES) - WHOLE))
def test_a_query_reads_no_whole_table(heading: str, filled: dict[str, Database]) -> None:
    """`EXPLAIN` shows no scan of uploads, tasks, files, steps or events: only indexes, and sums of days."""
    database = filled["sqlite"]
    with database.read() as session:
        plan = [row[3] for row in session.execute(text("EXPLAIN QUERY PLAN " + QUERIES[heading]))]
    scanned = [line for line in plan if line.startswith("SCAN ") and _is_large(line)]
    assert scanned == []


def _is_large(line: str) -> bool:
    name = line.split()[1]
    of_all = name in ("u", "t", "f", "e", "s", "x", "uploads", "tasks", "task_files", "task_events", "task_steps")
    # A partial index has the few rows of one kind.
    return of_all and not any(f"INDEX {index}" in line for index in _PARTIAL)


_PARTIAL = ("ix_task_steps_failed", "ix_task_events_retried", "ix_uploads_open", "ix_tasks_open", "ix_tasks_gathering")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Database]]:
    """A month of which every day is kept."""
    url = f"sqlite:///{tmp_path_factory.mktemp('plans') / 'month.db'}"
    migrate(url)
    database = Database(url, 2)
    with database.change() as connection:
        fill(connection, FEW)
    _keep_all(database)
    yield {"sqlite": database}
    database.close()


@pytest.mark.soak
def test_a_million_uploads_are_reported_within_a_second(month: Database) -> None:
    """Every query of the documentation and every report of the API, for all owners and for one, with today's rows
    unkept; the best of three, of processor time."""
    with month.change() as connection:
        fill(connection, SOAK)
    while report_sums.keep(month, datetime(2026, 5, 30, 12, tzinfo=UTC), row_retention=0):
        pass
    asked: dict[str, Ask] = {heading: partial(_run, query) for heading, query in QUERIES.items()}
    for name, report in REPORTS.items():
        for owner in (None, "owner-7") if report.of_owner else (None,):
            asked[f"{name} of {owner or 'all'}"] = partial(
                report_queries.rows, report=report, owner=owner, first=date(2026, 5, 1), last=date(2026, 5, 30)
            )
    slow = {}
    for heading, ask in asked.items():
        took = min(_seconds(month, ask) for _ in range(3))
        print(f"{heading}: {took:.2f} s")
        if took >= 1:
            slow[heading] = round(took, 2)
    assert slow == {}


def _run(query: str, session: Session) -> object:
    return session.execute(text(query)).all()


def _seconds(database: Database, ask: Ask) -> float:
    """Processor time: of this process on SQLite; of the server's on PostgreSQL, set up as for a granted role."""
    with database.read() as session:
        if database.engine.dialect.name != "postgresql":
            began = process_time()
            ask(session)
            return process_time() - began
        session.execute(text("SET LOCAL jit = off"))
        session.execute(text("SET LOCAL max_parallel_workers_per_gather = 0"))  # all of it in the one process
        pid = session.scalar(text("SELECT pg_backend_pid()"))
        began = _worked(pid)
        ask(session)
        return _worked(pid) - began


def _worked(pid: int) -> float:
    """Seconds of processor time that a process of this machine has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
