"""Takes tasks for a worker, and makes the attempts that work on them.

Rule: a file that crashed its workers too often is given up when its task is claimed, before anything of it runs.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime

import structlog
from sqlalchemy.orm import Session

from server.bootstrap import Services
from server.database.session import AWAY, Database, reason
from server.lifecycle import TaskStatus
from server.pipeline.order import STEPS
from server.pipeline.sandbox.spare_children import NONE, SpareChildren
from server.settings import Settings
from server.storage.base import UploadStore
from server.storage.result_store import ResultStore
from server.tasks import durations, queue
from server.tasks.queue import Claim, Failure
from server.tracing import NO_TRACING, Tracing
from server.worker import planning
from server.worker.attempt import Attempt
from server.worker.learned_costs import LearnedCosts, Observation

_log = structlog.stdlib.get_logger("videodock.worker")


@dataclass(frozen=True, kw_only=True, repr=False)
class Runner:
    """Works on the tasks of one data folder."""

    settings: Settings
    node: str
    database: Database
    store: UploadStore
    results: ResultStore
    quarantine: Callable[[str], None]
    drop_originals: Callable[[str], None]
    clock: Callable[[], datetime]
    follow: Callable[[str], AbstractContextManager[None]] = lambda _: nullcontext()
    tracing: Tracing = NO_TRACING
    costs: LearnedCosts = field(default_factory=LearnedCosts)

    def claim_next(
        self, worker: str, task_id: str | None = None, *, first: Callable[[Session], None] = lambda _: None
    ) -> Claim | None:
        """Claim the next task; files that crashed their workers too often are given up on the way. Blocking.

        With `task_id`, that one or none. `first` is called in each transaction, before it looks for a task.
        """
        while True:
            with self.database.write() as session:
                first(session)
                claimed = queue.claim(
                    session,
                    worker,
                    node=self.node,
                    lease=self.settings.task_lease,
                    now=self.clock(),
                    owner_limit=self.settings.owner_limit,
                    task_id=task_id,
                )
                if claimed is None or queue.count_failed_attempts(session, claimed) < self.settings.task_max_attempts:
                    return claimed
                status = queue.fail_exhausted(session, claimed, Failure("too_many_attempts", {}), now=self.clock())
                if status is TaskStatus.PROCESSING:
                    _log.error("file_given_up", task=claimed.task_id, attempt=claimed.attempt)
                    return claimed
                _log.error("task_given_up", task=claimed.task_id, attempt=claimed.attempt)

    def attempt(self, claim: Claim, ffmpeg: str, spares: SpareChildren = NONE) -> Attempt:
        """The attempt at this claim with the program `ffmpeg`; it uses spare children, if any. Blocking."""
        self._learn()
        return Attempt(
            claim,
            ffmpeg=ffmpeg,
            costs=self.costs,
            spares=spares,
            settings=self.settings,
            database=self.database,
            store=self.store,
            results=self.results,
            quarantine=self.quarantine,
            drop_originals=self.drop_originals,
            clock=self.clock,
            follow=self.follow,
            trace=self.tracing.attempt(claim.task_id, claim.attempt),
        )

    def _learn(self) -> None:
        """Once: what the last steps cost. Without it, no time is shown until the worker knows by itself."""

        def read() -> Sequence[Observation]:
            with self.database.read() as session:
                return planning.observations(durations.last(session, self.node), STEPS, self.settings)

        try:
            self.costs.load(read)
        except AWAY as error:
            _log.warning("durations_not_read", reason=reason(error))


def runner_of(services: Services) -> Runner:
    """The runner of an installation."""
    return Runner(
        settings=services.settings,
        node=services.node,
        database=services.database,
        store=services.store,
        results=services.results,
        quarantine=services.quarantine,
        drop_originals=services.drop_originals,
        clock=services.clock,
        follow=services.events.cache.following,
        tracing=services.tracing,
    )
