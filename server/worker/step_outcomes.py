"""What the end of a step means for its file and its task: published, given up, or postponed.

Rules:

- A result is in its place exactly when its row says so: both change in one transaction.
- A `StepError` ends the step; the file fails with it if the step is required. A fault of the server (a full disk, a
  scanner that is away, a bug) postpones the task, for longer each time; after `task_max_attempts` failures the step is
  given up, unless it only waits.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy.orm import Session

from server.database.models import TaskFile, TaskStep
from server.database.session import AWAY
from server.errors import StepError, UnavailableError
from server.media_types import MediaType
from server.pipeline.step import HINTS, Cancelled, Step, TryLaterError
from server.settings import Settings
from server.storage.result_store import ResultStore
from server.tasks import file_steps, queue
from server.tasks.queue import Claim, Failure
from server.tracing import AttemptTrace
from server.worker import failures
from server.worker.claimed_writes import ClaimedWrites, LostError
from server.worker.parallel_steps import Outcome

_log = structlog.stdlib.get_logger("videodock.worker")


class PostponedError(Exception):
    """The task waits, without a worker; no later result of this attempt counts."""


@dataclass(frozen=True)
class FileWork:
    """One file, and the facts that are known of it so far."""

    file: TaskFile
    media_type: MediaType | None
    facts: dict[str, object]
    max_duration: float | None


@dataclass(frozen=True, kw_only=True, repr=False)
class StepOutcomes:
    """Writes the beginning and the end of each step of one attempt."""

    claim: Claim
    writes: ClaimedWrites
    results: ResultStore
    trace: AttemptTrace
    settings: Settings
    clock: Callable[[], datetime]

    def begin(self, work: FileWork, step: Step) -> None:
        """The step begins."""
        claim, clock, file_id = self.claim, self.clock, work.file.id
        self.trace.begin(file_id, step.name)
        self.writes.move(lambda session: file_steps.begin_step(session, claim, file_id, step.name, now=clock()))

    def end(self, work: FileWork, step: Step, known: TaskStep, outcome: Outcome) -> None:
        """Write how a step ended.

        Raises `StepError` when the file has failed, `PostponedError` when the task waits, and as `ClaimedWrites.move`.
        """
        self.trace.end(work.file.id, step.name, outcome)
        try:
            if not isinstance(outcome, Exception):
                self._complete(work, step, outcome)
                return
        except Exception as error:
            outcome = error
        self._settle(work, step, known, outcome)

    def _settle(self, work: FileWork, step: Step, known: TaskStep, error: Exception) -> None:
        """Give up, postpone, or raise, as the failure requires."""
        claim, file_id = self.claim, work.file.id
        match error:
            case StepError():
                self._fail(work, step, Failure(error.code, dict(error.params)))
                if step.is_required:
                    raise error
            case LostError() | Cancelled():
                raise error
            case _ if isinstance(error, AWAY):
                raise error
            case UnavailableError():  # of the store
                self._try_later(work, step, known, Failure(error.code, dict(error.params)), counts=False)
            case TryLaterError():
                self._try_later(work, step, known, Failure(error.code, dict(error.params)), counts=error.counts)
            case _ if failures.is_full(error):
                # Remove partial output first: the database may be on the same disk, and needs space for the update.
                self.results.discard(claim.task_id, claim.attempt)
                self._try_later(work, step, known, Failure("disk_full", {}), counts=False)
            case _:
                _log.error("step_failed", task=claim.task_id, file=file_id, step=step.name, exc_info=error)
                self._try_later(work, step, known, Failure("step_interrupted", {}), counts=True)

    def _complete(self, work: FileWork, step: Step, found: Mapping[str, object]) -> None:
        """Publish the step's results and its facts. Raises the store's errors, and then no row changes."""
        claim, clock, file_id = self.claim, self.clock, work.file.id
        columns = {name: value for name, value in found.items() if name not in HINTS}

        def complete(session: Session) -> bool:
            # Published while the transaction holds the task's row: no cancel and no takeover comes between,
            # and a reader of the row finds the result in its place.
            mine = file_steps.complete_step(session, claim, file_id, step.name, columns, now=clock())
            if mine:
                self.results.publish(claim.task_id, claim.attempt, file_id, step.name, session)
            return mine

        self.results.seal(claim.task_id, claim.attempt, file_id, step.name, self.writes.check)
        self.writes.move(complete)
        work.facts.update(found)

    def _fail(self, work: FileWork, step: Step, failure: Failure) -> None:
        claim, clock = self.claim, self.clock
        _log.info("step_gave_up", task=claim.task_id, file=work.file.id, step=step.name, code=failure.code)
        self.writes.move(
            lambda session: file_steps.fail_step(session, claim, work.file.id, step.name, failure, now=clock())
        )

    def _try_later(self, work: FileWork, step: Step, known: TaskStep, why: Failure, *, counts: bool) -> None:
        """Postpone the task, or give the step up; raises accordingly, or returns when the file can do without it."""
        claim, now = self.claim, self.clock()
        count = known.failures + int(counts)
        if count >= self.settings.task_max_attempts:
            failure = Failure("step_failed" if why.code == "step_interrupted" else why.code, why.params)
            self._fail(work, step, failure)
            if step.is_required:
                raise StepError(failure.code, **failure.params)
            return
        if counts:
            pause = failures.pause_after(count, self.settings.task_retry_pause)
        else:
            pause = failures.pause_while_away(known.started_at, now)

        def set_aside(session: Session) -> bool:
            mine = file_steps.retry_step(session, claim, work.file.id, step.name, why, counts=counts)
            return mine and queue.postpone(session, claim, why, pause=pause, now=now)

        self.writes.move(set_aside)
        _log.warning("task_set_aside", task=claim.task_id, step=step.name, code=why.code, seconds=round(pause, 1))
        raise PostponedError
