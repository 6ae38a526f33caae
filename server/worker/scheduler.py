"""The embedded scheduler: runs the tasks that it finds, in this process.

Rules:

- The limit of tasks at once is this leader's own pool of threads, so it holds for the machine.
- It never claims a task that it already has: before it looks for one, it extends its leases, and gives back what it
  could not give back before. So a database that was locked for a while does not count as a crash.
"""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Unpack

from sqlalchemy.orm import Session

from server.bootstrap import Services
from server.pipeline.media import ffmpeg
from server.pipeline.order import STEPS
from server.pipeline.sandbox.spare_children import SpareChildren
from server.pipeline.sandbox.trial import Trial
from server.tasks import queue
from server.tasks.queue import Claim
from server.worker.attempt import Attempt
from server.worker.leader import Leader, LeaderParts, leader_parts
from server.worker.queue_wait import QueueWait
from server.worker.runner import Runner, runner_of

_TELL_SECONDS = 5.0  # between two looks at how long the queue is


class Scheduler(Leader):
    """Runs until it is stopped; then running steps are stopped and their tasks given back."""

    def __init__(self, runner: Runner, **parts: Unpack[LeaderParts]) -> None:
        super().__init__(**parts)
        self._runner = runner
        self._worker = f"{self._embedded}{os.getpid()}"
        self._limit = self._settings.encode_limit or os.cpu_count() or 1
        self._ffmpeg = ""
        self._attempts: set[Attempt] = set()
        self._owed: set[Claim] = set()
        self._trial = Trial()
        self._spares = SpareChildren(self._settings.spare_children)
        self._runners = ThreadPoolExecutor(self._limit, thread_name_prefix="task")
        self._told = 0.0  # of the monotonic clock
        self._queue_wait = QueueWait(
            settings=self._settings, node=self._node, costs=runner.costs, steps=STEPS, limit=self._limit
        )

    @property
    def _description(self) -> dict[str, object]:
        return {"limit": self._limit, "ffmpeg": self._ffmpeg}

    def _prepare(self) -> None:
        self._ffmpeg = ffmpeg.find(self._settings.ffmpeg)
        self._trial.start()

    def checks(self) -> dict[str, Callable[[], str | None]]:
        """The checks of every leader, and the protections that child processes lack."""
        return super().checks() | {"confinement": self._trial.trouble}

    def _take_tasks(self) -> None:
        """Start as many tasks as there is room for."""
        self._spares.start()  # here, since a process on standby needs none
        while len(self._attempts) < self._limit and not self._stopping.is_set():
            claimed = self._runner.claim_next(self._worker, first=self._settle)
            self._owed.clear()
            if claimed is None:
                break
            attempt = self._runner.attempt(claimed, self._ffmpeg, self._spares)
            self._attempts.add(attempt)
            self._runners.submit(self._run, attempt)
        if len(self._attempts) >= self._limit and time.monotonic() > self._told + _TELL_SECONDS:
            self._told = time.monotonic()
            with self._database.write(lazy=True) as session:
                self._queue_wait.write(session, [attempt.eta_seconds for attempt in self._attempts])

    def _settle(self, session: Session) -> None:
        """Called in the transaction that looks for a task, before it does."""
        for attempt in self._attempts:
            attempt.postpone(session)
        for claimed in self._owed:
            queue.give_back(session, claimed, now=self._clock())

    def _run(self, attempt: Attempt) -> None:
        try:
            attempt.run()
        finally:
            with self._looking:
                self._attempts.discard(attempt)
                if attempt.is_owed:
                    self._owed.add(attempt.claim)
            self._wake.notify()

    def _finish(self) -> None:
        self._trial.stop()
        with self._looking:
            for attempt in self._attempts:
                attempt.stop()
        self._runners.shutdown(wait=True, cancel_futures=True)
        self._spares.stop()


def scheduler_of(services: Services) -> Scheduler:
    """The embedded scheduler of an installation."""
    return Scheduler(runner_of(services), **leader_parts(services))
