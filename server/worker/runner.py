"""One task at a time: claim it, run its steps, keep the claim alive, stop when it is no longer ours.

Rules:

- Every write bears the claim's attempt. The first that matches nothing ends the work: somebody cancelled the
  task, or another worker has it.
- A heartbeat keeps the lease and tells the progress, once a second. When it finds the claim lost, or cannot reach
  the database for as long as a lease lasts, it stops the running step.
- A step's own failure is the file's; an unexpected one is ours: the lease is left to run out, the attempt counts
  as failed, and another one tries until `task_max_attempts`.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import structlog
from sqlalchemy.orm import Session

from server import media_types
from server.database.models import TaskFile
from server.database.session import AWAY
from server.errors import StepError
from server.lifecycle import FILE_MOVES, ends
from server.media_types import MediaType
from server.pipeline.order import STEPS
from server.pipeline.step import Cancelled, Limits, Step, StepContext
from server.services import Services
from server.tasks import queue
from server.tasks.queue import Claim, Failure

HEARTBEAT_SECONDS = 1.0
_RETRY_SECONDS = 0.5

R = TypeVar("R")
_log = structlog.stdlib.get_logger("videodock.worker")


class LostError(Exception):
    """The task is not ours any more, or we are told to stop; nothing more of this attempt counts."""


@dataclass
class Progress:
    """How far a task is; told by the steps, read by the heartbeat."""

    file_count: int
    position: int = 0
    file_id: str | None = None
    done_files: int = 0
    file_percent: int = 0

    @property
    def percent(self) -> int:
        """Of the whole task; 100 is said by its end only."""
        return min(99, (100 * self.done_files + self.file_percent) // max(1, self.file_count))


def claim_next(services: Services, worker: str) -> Claim | None:
    """The oldest task that nobody works on; those that crashed too often are given up on the way. Blocking."""
    settings = services.settings
    while True:
        now = services.uploads.clock()
        with services.database.write() as session:
            claimed = queue.claim(session, worker, node=services.node, lease=settings.task_lease, now=now)
            if claimed is None or queue.failures(session, claimed) < settings.task_max_attempts:
                return claimed
            queue.give_up(session, claimed, Failure("too_many_attempts", {}), now=now)
            _log.error("task_given_up", task=claimed.task_id, attempt=claimed.attempt)


class Attempt:
    """One claim being worked on."""

    def __init__(self, services: Services, claim: Claim, ffmpeg: str) -> None:
        self.claim = claim
        self._services = services
        self._settings = services.settings
        self._ffmpeg = ffmpeg
        self._progress = Progress(claim.file_count)
        self._stopped = False
        self._lost = threading.Event()
        self._over = threading.Event()

    def stop(self) -> None:
        """Stop working, and give the task back: this process ends, and another one may go on at once."""
        self._stopped = True
        self._lost.set()

    def run(self) -> None:
        """Bring the task to its end, or leave it for another attempt. Never raises."""
        task_id, attempt = self.claim.task_id, self.claim.attempt
        heart = threading.Thread(target=self._beat, name=f"heartbeat-{task_id}")
        heart.start()
        try:
            self._work()
        except (LostError, Cancelled):
            _log.info("attempt_stopped", task=task_id, attempt=attempt, given_back=self._stopped)
            self._give_back()
        except Exception:
            _log.exception("attempt_failed", task=task_id, attempt=attempt)
        finally:
            self._over.set()
            heart.join()
            self._services.results.discard(task_id, attempt)

    def _work(self) -> None:
        progress = self._progress
        for file in self._transact(self._files):
            progress.position, progress.file_id, progress.file_percent = file.position, file.id, 0
            if file.status not in ends(FILE_MOVES):
                self._file(file)
            progress.done_files, progress.file_percent = progress.done_files + 1, 0
        status = self._transact(lambda session: queue.finish(session, self.claim, now=self._services.uploads.clock()))
        if status is None:
            raise LostError
        _log.info("task_ended", task=self.claim.task_id, attempt=self.claim.attempt, status=status.value)

    def _files(self, session: Session) -> list[TaskFile]:
        files = list(queue.files_of(session, self.claim.task_id))
        session.expunge_all()
        return files

    def _file(self, file: TaskFile) -> None:
        claim, clock = self.claim, self._services.uploads.clock
        self._must(lambda session: queue.begin_file(session, claim, file.id))
        found: dict[str, object] = {}
        try:
            self._steps(file, found)
        except StepError as error:
            failure = Failure(error.code, dict(error.params))
            _log.info("file_failed", task=claim.task_id, file=file.id, code=failure.code)
            self._must(lambda session: queue.fail_file(session, claim, file.id, failure, found, now=clock()))
            return

        def complete(session: Session) -> bool:
            # Published while the transaction holds the task's row: nobody can cancel it or take it over meanwhile,
            # and whoever reads the row afterwards finds the result in its place.
            mine = queue.complete_file(session, claim, file.id, found, now=clock())
            if mine:
                self._services.results.publish(claim.task_id, claim.attempt, file.id)
            return mine

        self._must(complete)

    def _steps(self, file: TaskFile, found: dict[str, object]) -> None:
        """Run the steps that apply; what they find out goes into `found` as they go."""
        output = self._services.results.begin(self.claim.task_id, self.claim.attempt, file.id)
        media_type = media_types.get(file.media_type) if file.media_type else None
        if media_type is None:
            return  # nothing that the pipeline knows came in under `accept=any`
        steps = [step for step in STEPS if step.applies_to(media_type)]
        total, before = sum(step.weight for step in steps), 0
        for step in steps:
            report = self._reporter(before, step, total)
            found.update(step.run(self._context(file, media_type, output, dict(found), report)))
            report(100)
            before += step.weight

    def _context(
        self,
        file: TaskFile,
        media_type: MediaType,
        output: Path,
        facts: dict[str, object],
        report: Callable[[int], None],
    ) -> StepContext:
        settings = self._settings
        return StepContext(
            source=self._services.store.local_path(file.upload_id),
            output=output,
            media_type=media_type,
            limits=Limits(settings.step_time_limit, int(settings.step_memory_limit)),
            ffmpeg=self._ffmpeg,
            poster_size=settings.poster_size,
            facts=facts,
            cancelled=self._lost,
            report=report,
        )

    def _reporter(self, before: int, step: Step, total: int) -> Callable[[int], None]:
        def report(percent: int) -> None:
            self._progress.file_percent = (100 * before + step.weight * percent) // total

        return report

    def _beat(self) -> None:
        """Keep the claim until the work is over; stop the work when the claim is lost."""
        last = time.monotonic()
        while not self._over.wait(HEARTBEAT_SECONDS):
            try:
                kept = self._keep()
                last = time.monotonic()
            except AWAY:
                # Nobody else can claim it before the lease has run out, whatever happens to the database.
                kept = time.monotonic() - last < self._settings.task_lease
            if not kept:
                self._lost.set()
                return

    def _keep(self) -> bool:
        progress = self._progress
        with self._services.database.write() as session:
            kept = queue.keep(
                session,
                self.claim,
                lease=self._settings.task_lease,
                progress=progress.percent,
                current_file=progress.position,
                now=self._services.uploads.clock(),
            )
            if kept and progress.file_id is not None:
                queue.file_progress(session, self.claim, progress.file_id, min(99, progress.file_percent))
        return kept

    def _must(self, work: Callable[[Session], bool]) -> None:
        if not self._transact(work):
            raise LostError

    def _transact(self, work: Callable[[Session], R]) -> R:
        """One transaction; a database that is away is waited for as long as the lease lasts."""
        deadline = time.monotonic() + self._settings.task_lease
        while True:
            if self._lost.is_set():
                raise LostError
            try:
                with self._services.database.write() as session:
                    return work(session)
            except AWAY:
                if time.monotonic() > deadline:
                    raise
                _log.warning("database_away", task=self.claim.task_id)
                self._lost.wait(_RETRY_SECONDS)

    def _give_back(self) -> None:
        if not self._stopped:
            return
        try:
            with self._services.database.write() as session:
                queue.give_back(session, self.claim, now=self._services.uploads.clock())
        except AWAY:
            _log.warning("not_given_back", task=self.claim.task_id)  # its lease will run out
