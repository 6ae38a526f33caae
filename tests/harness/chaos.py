"""Chaos around a queue: many small tasks, workers that are killed, frozen and replaced, and a database that goes away.

Rule: what happens is drawn from a seed; what must be true at the end does not depend on it. (When each thing happens
depends on the machine, so a seed tells much, not all, of a round.)
"""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import update

from server.bootstrap import Services
from server.database.models import Task
from server.database.session import AWAY, changed
from server.database.types import database_time
from server.errors import TaskEndedError
from server.settings import Settings
from server.tasks import queue
from server.uploads.new_upload import NewUpload
from tests.harness.server_process import ROOT

T = TypeVar("T")

FROZEN_SECONDS = 3.6  # longer than a lease: another worker has the task when the frozen one goes on
_PATIENCE = 30.0
_DAY = 86_400.0

# What may be wrong with a file, and how often of a hundred.
_ORDERS: tuple[tuple[int, Mapping[str, object]], ...] = (
    (4, {"step": "probe", "what": "refuse"}),
    (4, {"step": "poster", "what": "refuse"}),
    (6, {"step": "poster", "what": "fail", "attempts": 2}),
    (4, {"step": "mp4", "what": "bug", "attempts": 1}),
    (4, {"step": "probe", "what": "wait", "attempts": 2}),
)
POISON: Mapping[str, object] = {"step": "mp4", "what": "die"}


@dataclass(frozen=True)
class Plan:
    """How much of everything: tasks, processes, and seconds in which they are disturbed."""

    tasks: int
    schedulers: int
    workers: int
    seconds: float
    restarts: int = 0
    poisons: int = 2


@dataclass
class Worker:
    """A process that works on tasks."""

    pid: int
    role: str
    thaw: threading.Timer | None = None  # of one that was frozen

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True


@dataclass
class ChaosScenario:
    """A data folder with a database, its tasks and the workers that process them."""

    services: Services
    folder: Path
    plan: Plan
    dice: random.Random
    restart: Callable[[], None] | None = None
    """Restart the database; None where there is nothing to restart."""
    orders: dict[str, list[Mapping[str, object]]] = field(default_factory=dict)
    frozen: set[int] = field(default_factory=set)
    done: Counter[str] = field(default_factory=Counter)
    workers: list[Worker] = field(default_factory=list)

    def fill(self) -> None:
        """Register the tasks, of a few owners; poison among them."""
        for number in range(self.plan.tasks):
            orders = [self._order() for _ in range(self.dice.choice((1, 1, 2)))]
            if number < self.plan.poisons:
                orders[-1] = POISON
            self._register(f"owner-{self.dice.randrange(4)}", orders)

    def _order(self) -> Mapping[str, object]:
        drawn = self.dice.randrange(100)
        for share, order in _ORDERS:
            if drawn < share:
                return order
            drawn -= share
        return {}

    def _register(self, owner: str, orders: list[Mapping[str, object]]) -> None:
        repository, task_id = self.services.repository, self.services.new_id()
        ids = [self.services.new_id() for _ in orders]
        for number, upload_id in enumerate(ids):
            # Of a length that no other file of the task has, so that facts which get mixed up are seen.
            data = json.dumps({**orders[number], "pad": "x" * number}).encode()
            values: dict[str, Any] = {"task_id": task_id, "length": len(data)}
            repository.insert(NewUpload(id=upload_id, owner=owner, protocol="multipart", filename="a.mp4", **values))
            self.services.store.local_path(upload_id).write_bytes(data)
            self.services.store.finish(upload_id)
        self.services.completion.complete_verified(dict.fromkeys(ids, "mp4"), task_id)
        self.orders[task_id] = orders

    def disturb(self, start_worker: Callable[[str], Worker]) -> None:
        """Kill, freeze, cancel, set the clock, restart the database, until the time is over."""
        begin = time.monotonic()
        acts = [self._kill] * 9 + [self._freeze] * 2 + [self._cancel] * 2 + [self._jump]
        restarts = [begin + self.plan.seconds * (n + 0.5) / self.plan.restarts for n in range(self.plan.restarts)]
        while time.monotonic() - begin < self.plan.seconds:
            time.sleep(self.dice.uniform(0.05, 0.3))
            self.replace_dead_workers(start_worker)
            if restarts and time.monotonic() > restarts[0] and self.restart:
                restarts.pop(0)
                self.restart()
                self.done["restart"] += 1
            self.dice.choice(acts)()

    def replace_dead_workers(self, start_worker: Callable[[str], Worker]) -> None:
        """Start a worker for each one that has ended."""
        for worker in [worker for worker in self.workers if not worker.alive]:
            self.workers.remove(worker)
            self.workers.append(start_worker(worker.role))

    def wait_until_thawed(self) -> None:
        """Wait until each frozen worker runs again."""
        for worker in self.workers:
            if worker.thaw:
                worker.thaw.join()

    def _kill(self) -> None:
        self.done["kill"] += 1
        with suppress(ProcessLookupError):
            os.kill(self.dice.choice(self.workers).pid, signal.SIGKILL)

    def _freeze(self) -> None:
        worker = self.dice.choice(self.workers)
        if any(other.thaw and other.thaw.is_alive() for other in self.workers):
            return  # one at a time: on SQLite it may hold the lock that all others want
        self.done["freeze"] += 1
        with suppress(ProcessLookupError):
            os.kill(worker.pid, signal.SIGSTOP)
            self.frozen.add(worker.pid)
            # Beside the test, which may wait for a row that the frozen one holds.
            worker.thaw = threading.Timer(FROZEN_SECONDS, _go_on, (worker.pid,))
            worker.thaw.start()

    def _cancel(self) -> None:
        task_id = self.dice.choice(list(self.orders))
        self.done["cancel"] += 1

        def cancel() -> None:
            with self.services.database.write() as session:
                owner = session.get_one(Task, task_id).owner
                with suppress(TaskEndedError):
                    queue.cancel(session, task_id, owner, now=self.services.clock())

        self.retry_while_away(cancel)

    def _jump(self) -> None:
        """The clock of the database is set forward or back by a day: what is in the rows stays."""
        seconds = self.dice.choice((_DAY, -_DAY))
        self.done["jump"] += 1

        def jump() -> None:
            with self.services.database.write() as session:
                held = update(Task).where(Task.lease_expires_at.is_not(None))
                changed(session, held.values(lease_expires_at=database_time(seconds)))

        self.retry_while_away(jump)

    def retry_while_away(self, work: Callable[[], T]) -> T:
        """Do the work, and try it again while the database is away."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                return work()
            except AWAY:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)


def _go_on(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


@contextmanager
def worker_starter(folder: Path, settings: Settings) -> Iterator[Callable[[str], Worker]]:
    """A function that starts a worker of a role; all workers end with the context."""
    orders = {"settings": settings.model_dump(mode="json", exclude_defaults=True), "log": str(folder / "steps.log")}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.harness.chaos_worker"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        stdin, stdout = parent.stdin, parent.stdout
        assert stdin is not None
        assert stdout is not None

        def start_worker(role: str) -> Worker:
            stdin.write(json.dumps({**orders, "role": role, "out": str(folder / f"{role}.out")}) + "\n")
            stdin.flush()
            return Worker(int(stdout.readline()), role)

        try:
            yield start_worker
        finally:
            parent.kill()
