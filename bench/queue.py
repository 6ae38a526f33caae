"""`python -m bench.queue`: how quick the queue is, whatever lies in its table. Prints tables for docs/pipeline.md.

Rules:

- One claim is what a worker waits for: the whole transaction, with its commit. What was claimed is ended between two
  claims, outside the clock, so that there are always as many running as a machine has workers.
- The table with 10,000 rows and the one with 100,000 are measured in turns, so that what else the machine does
  happens to both.
"""

import itertools
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import click
import structlog
from sqlalchemy import insert, text

from bench.machine import describe
from server.bootstrap import Services
from server.database import migration
from server.database.models import DEFAULT_OWNER, Task
from server.database.session import Database
from server.lifecycle import TaskStatus
from server.settings import Settings
from server.tasks import queue
from server.tasks.queue import Claim
from server.uploads.new_upload import NewUpload
from server.worker import attempt, scheduler
from server.worker.runner import Runner
from tests.harness.postgres import PostgresServer

QUEUED = 10_000
SIZES = (10_000, 100_000)
RUNNING = 8
ROUNDS = 300  # claims of each table
CLAIMERS = 8
REGISTRATIONS = 50
GOAL_MS = 200
_NODE = "node"
_LEASE = 300.0
_NOW = datetime.now(UTC)


@dataclass(frozen=True)
class Owners:
    """Whose the waiting tasks are: of so many owners in turn, or nearly all of the first one, before the others'."""

    title: str
    count: int
    is_one_before_all: bool = False

    def of(self, number: int) -> str:
        """The owner of a waiting task, counted from the oldest."""
        others = QUEUED - self.count
        if self.is_one_before_all:
            return f"owner-{0 if number < others else number - others}"
        return f"owner-{number % self.count}"


OWNERS = (
    Owners("1 owner", 1),
    Owners("1,000 owners in turn", 1000),
    Owners("1,000 owners, 9,000 tasks of the first before all others", 1000, is_one_before_all=True),
)


class Table:
    """A database with so many tasks, of which the youngest wait."""

    def __init__(self, url: str, rows: int, owners: Owners) -> None:
        migration.upgrade(url)
        self.database = Database(url, CLAIMERS + 1)
        self._running: list[Claim] = []
        history = rows - QUEUED
        begin = _NOW - timedelta(days=30)
        with self.database.engine.begin() as connection:
            for numbers in _batched(rows):
                made = [self._row(n - history, owners, begin + timedelta(seconds=n)) for n in numbers]
                connection.execute(insert(Task), made)
        if self.database.engine.dialect.name == "postgresql":
            with self.database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.execute(text("VACUUM ANALYZE"))
        for _ in range(RUNNING):
            self.claim()

    @staticmethod
    def _row(number: int, owners: Owners, at: datetime) -> dict[str, Any]:
        ended = number < 0
        return {
            "id": str(uuid.uuid4()),
            "owner": owners.of(number % QUEUED),
            "node": _NODE,
            "status": TaskStatus.COMPLETED if ended else TaskStatus.UPLOADED,
            "partial": False,
            "progress": 100 if ended else 0,
            "current_file": 1,
            "file_count": 1,
            "attempt": 1 if ended else 0,
            "failures": 0,
            "created_at": at,
            "updated_at": at,
            "finished_at": at if ended else None,
        }

    def claim(self, owner_limit: int = 0) -> float:
        """Claim the next task; the seconds that it took. The one that runs for the longest ends."""
        if len(self._running) >= RUNNING:
            self._end(self._running.pop(0))
        began = time.perf_counter()
        found = self._claim(owner_limit)
        seconds = time.perf_counter() - began
        assert found is not None
        self._running.append(found)
        return seconds

    def claim_at_once(self, owner_limit: int) -> float:
        """Many claim at the same time; claims a second, of all of them."""
        at_once = threading.Barrier(CLAIMERS)

        def take(_: int) -> tuple[int, float]:
            at_once.wait(30)
            began, found = time.perf_counter(), 0
            for _ in range(ROUNDS // CLAIMERS):
                one = self._claim(owner_limit)
                if one is not None:
                    found += 1
                    self._end(one)
            return found, time.perf_counter() - began

        with ThreadPoolExecutor(CLAIMERS) as pool:
            told = list(pool.map(take, range(CLAIMERS)))
        return sum(found for found, _ in told) / max(seconds for _, seconds in told)

    def _claim(self, owner_limit: int) -> Claim | None:
        with self.database.write() as session:
            return queue.claim(session, "w/1", node=_NODE, lease=_LEASE, now=_NOW, owner_limit=owner_limit)

    def _end(self, claimed: Claim) -> None:
        with self.database.write() as session:
            session.execute(
                text("UPDATE tasks SET status = 'completed', worker = NULL, lease_expires_at = NULL, "
                     "finished_at = updated_at WHERE id = :id"),
                {"id": claimed.task_id},
            )  # fmt: skip


def _batched(rows: int) -> Iterator[range]:
    return (range(begin, min(begin + 10_000, rows)) for begin in range(0, rows, 10_000))


Url = Callable[[], str]


def _claims(kind: str, url: Url) -> Iterator[str]:
    for owners in OWNERS:
        tables = [Table(url(), rows, owners) for rows in SIZES]
        taken: list[list[float]] = [[] for _ in tables]
        for _ in range(ROUNDS):
            for table, found in zip(tables, taken, strict=True):
                found.append(table.claim())
        cells = [f"{1 / median(found):,.0f} ({median(found) * 1000:.1f} ms)" for found in taken]
        ratio = median(taken[0]) / median(taken[1])
        yield f"| {kind} | {owners.title} | {cells[0]} | {cells[1]} | {ratio:.2f} |"
        for table in tables:
            table.database.close()


def _at_once(kind: str, url: Url) -> Iterator[str]:
    table = Table(url(), SIZES[-1], OWNERS[1])
    free, limited = table.claim_at_once(0), table.claim_at_once(1000)
    yield f"| {kind} | {free:,.0f} | {limited:,.0f} |"
    table.database.close()


def _latency(kind: str, url: str, folder: Path) -> str:
    """From the moment at which the last byte is there until the embedded scheduler has the task."""
    migration.upgrade(url)
    claimed_at: dict[str, float] = {}
    seen = threading.Event()
    real = Runner.claim_next

    def claim_next(self: Runner, *args: Any, **named: Any) -> Claim | None:
        found = real(self, *args, **named)
        if found is not None:
            claimed_at[found.task_id] = time.perf_counter()
            seen.set()
        return found

    setattr(Runner, "claim_next", claim_next)  # noqa: B010  # mypy forbids the assignment
    vars(attempt)["STEPS"] = ()
    taken = []
    with Services.open(Settings(data_dir=folder, database_url=url)) as services:
        services.claim_store()
        running = scheduler.scheduler_of(services)
        running.start()
        try:
            for number in range(REGISTRATIONS):
                task_id = services.new_id()
                told: dict[str, Any] = {"protocol": "tus", "length": 1, "filename": "a.mp4"}
                services.repository.insert(NewUpload(id=task_id, owner=DEFAULT_OWNER, task_id=task_id, **told))
                services.store.local_path(task_id).write_bytes(b"x")
                services.store.finish(task_id)
                time.sleep(0.03 + number % 7 / 50)  # at any moment between two ticks
                seen.clear()
                began = time.perf_counter()
                services.completion.complete_verified({task_id: "mp4"}, task_id)
                seen.wait(30)
                taken.append(1000 * (claimed_at[task_id] - began))
        finally:
            running.stop()
    taken.sort()
    late = taken[int(len(taken) * 0.95)]
    verdict = "met" if taken[-1] < GOAL_MS else "**not met**"
    return f"| {kind} | {median(taken):.1f} ms | {late:.1f} ms | {taken[-1]:.1f} ms | {verdict} |"


@contextmanager
def _databases(folder: Path) -> Iterator[list[tuple[str, Url]]]:
    cluster = PostgresServer()
    numbers = itertools.count()
    try:
        cluster.start()
        yield [
            ("SQLite", lambda: f"sqlite:///{folder / str(next(numbers))}.db"),
            ("PostgreSQL", cluster.create_database),
        ]
    finally:
        cluster.stop()


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Measure claims and the time from a registration to its claim."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    with tempfile.TemporaryDirectory(prefix="bench-queue-") as place, _databases(Path(place)) as kinds:
        machine = describe(Path(place), [], {})
        click.echo(
            f"{machine['date']}: {machine['cpu']}, {machine['cores']} cores, {machine['kernel']}, "
            f"files on {machine['file_system']}; PostgreSQL of the tests, without fsync.\n"
        )
        click.echo(f"| database | {QUEUED:,} waiting tasks of | in a table of {SIZES[0]:,} | of {SIZES[1]:,} | ratio |")
        click.echo("|---|---|---|---|---|")
        for kind, url in kinds:
            for line in _claims(kind, url):
                click.echo(line)
        click.echo(f"\n| database | {CLAIMERS} workers at once: claimed and ended a second | with an owner limit |")
        click.echo("|---|---|---|")
        for kind, url in kinds:
            for line in _at_once(kind, url):
                click.echo(line)
        click.echo("\n| registration to claim | median | 95 % | longest of 50 | under 200 ms |")
        click.echo("|---|---|---|---|---|")
        for kind, url in kinds:
            click.echo(_latency(kind, url(), Path(place) / kind))


if __name__ == "__main__":
    main()
