"""One attempt at a task: run its steps, keep the claim alive, stop when another worker has it.

Rules:

- Every write bears the claim's attempt. The first write that matches no row ends the work: the task was cancelled, or
  another worker has it.
- A heartbeat extends the lease and writes the progress, once a second. When the claim is lost, or the database cannot
  be reached for as long as a lease lasts, it stops the running step. When the file was deleted, it stops the step too,
  and the work goes on with the next file.
- A step that has come to its end is not run again; `step_outcomes.py` decides what its end means.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path

import structlog
from sqlalchemy.orm import Session

from server import media_types
from server.database.models import TaskFile, TaskStep
from server.database.session import AWAY, Database
from server.errors import StepError
from server.lifecycle import FILE_MOVES, STEP_MOVES, StepStatus, TaskStatus, ends
from server.pipeline import budget
from server.pipeline.order import STEPS, groups
from server.pipeline.sandbox.spare_children import NONE, SpareChildren
from server.pipeline.step import Cancelled, Limits, Step, StepContext
from server.settings import Settings
from server.storage.base import UploadStore
from server.storage.result_store import ResultStore
from server.tasks import file_steps, queue
from server.tasks.queue import Claim, Failure
from server.tracing import NO_TRACE, AttemptTrace
from server.worker import parallel_steps, planning, sources
from server.worker.claimed_writes import ClaimedWrites, LostError
from server.worker.learned_costs import LearnedCosts
from server.worker.planning import Planner
from server.worker.progress import Look, TaskProgress
from server.worker.step_outcomes import FileWork, PostponedError, StepOutcomes

HEARTBEAT_SECONDS = 1.0

_log = structlog.stdlib.get_logger("videodock.worker")


class Attempt:
    """One claim and the work on it."""

    def __init__(
        self,
        claim: Claim,
        *,
        ffmpeg: str,
        costs: LearnedCosts,
        spares: SpareChildren = NONE,
        settings: Settings,
        database: Database,
        store: UploadStore,
        results: ResultStore,
        quarantine: Callable[[str], None],
        drop_originals: Callable[[str], None],
        clock: Callable[[], datetime],
        follow: Callable[[str], AbstractContextManager[None]] = lambda _: nullcontext(),
        trace: AttemptTrace = NO_TRACE,
    ) -> None:
        """`ffmpeg` is the path of the program. `follow` is entered with the task's id while this works at it.

        `quarantine` takes the id of an infected upload, `drop_originals` that of a task that has ended; neither raises.
        """
        self.claim = claim
        self._ffmpeg = ffmpeg
        self._spares = spares
        self._settings = settings
        self._database = database
        self._store = store
        self._results = results
        self._quarantine = quarantine
        self._drop_originals = drop_originals
        self._clock = clock
        self._follow = follow
        self._trace = trace
        self._progress = TaskProgress(costs)
        self._stopped = False
        self._cut_off = False
        self._kept = time.monotonic()
        self.is_owed = False
        """Whether it has ended while the database, which could not be reached, still says that a worker has it."""
        self._writes = ClaimedWrites(claim, database, lease=settings.task_lease)
        self._outcomes = StepOutcomes(
            claim=claim, writes=self._writes, results=results, trace=trace, settings=settings, clock=clock
        )
        self._over = threading.Event()
        # Asks the running step of the current file to stop.
        self._halt = threading.Event()

    @property
    def eta_seconds(self) -> int | None:
        """Seconds until the task has ended; None while that is unknown."""
        return self._progress.look().eta_seconds

    def stop(self) -> None:
        """Stop working, and give the task back: this process ends, and another one may go on at once."""
        self._stopped = True
        self._lose()

    def _lose(self) -> None:
        self._writes.lost.set()
        self._halt.set()

    def postpone(self, session: Session) -> None:
        """Before this process looks for a task: extend a lease that is due, so that the process does not claim its own
        task after the database was away for as long as a lease lasts."""
        if time.monotonic() - self._kept > self._settings.task_lease / 2:
            self._write_progress(session, self._progress.look())

    def run(self) -> None:
        """Bring the task to its end, or leave it for another attempt. Never raises."""
        with self._follow(self.claim.task_id):
            self._run()

    def _run(self) -> None:
        task_id, attempt = self.claim.task_id, self.claim.attempt
        heart = threading.Thread(target=self._heartbeat, name=f"heartbeat-{task_id}")
        heart.start()
        try:
            self._work()
        except PostponedError:
            pass
        except (LostError, Cancelled):
            _log.info("attempt_stopped", task=task_id, attempt=attempt, given_back=self._stopped)
            self._give_back()
        except AWAY:
            self._cut_off = True
            _log.warning("attempt_cut_off", task=task_id, attempt=attempt)
            self._give_back()
        except Exception:
            _log.exception("attempt_failed", task=task_id, attempt=attempt)
        finally:
            self._over.set()
            heart.join()
            self._progress.close()
            self._trace.close()
            self._results.discard(task_id, attempt)

    def _work(self) -> None:
        progress, found = self._progress, self._writes.transact(self._files)
        self._planner = Planner(progress=progress, settings=self._settings, steps=STEPS)
        self._planner.task(found)
        for file in found:
            if file.status not in ends(FILE_MOVES):
                progress.begin_file(file.id)
                self._file_unless_removed(file)
            progress.end_file(file.id)
        self._end_task()

    def _end_task(self) -> None:
        def end(session: Session) -> tuple[TaskStatus | None, datetime | None]:
            status = queue.finish(session, self.claim, now=self._clock())
            created = file_steps.first_upload(session, self.claim.task_id) if self._trace.is_on else None
            return status, created

        status, created = self._writes.transact(end)
        if status is None:
            raise LostError
        # From here on the claim is gone, as it should be: a heartbeat would take that for a loss.
        self._over.set()
        _log.info("task_ended", task=self.claim.task_id, attempt=self.claim.attempt, status=status.value)
        self._trace.task_ended(status.value, created)
        self._drop_originals(self.claim.task_id)

    def _files(self, session: Session) -> list[TaskFile]:
        found = list(queue.files_of(session, self.claim.task_id))
        session.expunge_all()
        return found

    def _file_unless_removed(self, file: TaskFile) -> None:
        """Bring a file to its end; a file that is deleted meanwhile ends nothing else."""
        claim = self.claim
        self._halt = threading.Event()  # after `progress.begin_file`: the heartbeat reads them the other way round
        if self._writes.lost.is_set():
            self._halt.set()
        try:
            self._file(file)
        except (LostError, Cancelled):
            if not self._writes.transact(lambda session: file_steps.is_removed(session, claim, file.id)):
                raise
            self._results.discard_file(claim.task_id, claim.attempt, file.id)
            _log.info("file_removed", task=claim.task_id, file=file.id)

    def _file(self, file: TaskFile) -> None:
        claim, clock = self.claim, self._clock
        media_type = media_types.get(file.media_type) if file.media_type else None
        steps = [step for step in STEPS if step.applies_to(media_type)]
        wanted = {step.name: step.is_wanted(self._settings) for step in steps}

        def begin(session: Session) -> tuple[Mapping[str, TaskStep] | None, float | None]:
            known = file_steps.begin_file(session, claim, file.id, wanted)
            session.expunge_all()
            return known, file_steps.max_duration(session, file.upload_id)

        known, max_duration = self._writes.transact(begin)
        if known is None:
            raise LostError
        try:
            work = FileWork(file, media_type, planning.facts(file), max_duration)
            self._steps(work, [step for step in steps if wanted[step.name]], known)
        except StepError as error:
            failure = Failure(error.code, dict(error.params))
            _log.info("file_failed", task=claim.task_id, file=file.id, code=failure.code)
            self._writes.move(lambda session: file_steps.fail_file(session, claim, file.id, failure, now=clock()))
            if failure.code == file_steps.INFECTED:
                self._quarantine(file.upload_id)
            return
        self._writes.move(lambda session: file_steps.complete_file(session, claim, file.id, now=clock()))

    def _steps(self, work: FileWork, steps: Sequence[Step], known: Mapping[str, TaskStep]) -> None:
        """Run the steps that no earlier attempt has ended."""
        for step in STEPS:
            # Also a step that is no longer wanted: a virus that was found stays one when the scanner is switched off.
            ended = known.get(step.name)
            if ended is not None and step.is_required and ended.status is StepStatus.ERROR:
                # The attempt that found this out ended before it could write it into the file's row.
                raise StepError(ended.error_code or "step_failed", **(ended.error_params or {}))
        progress, file_id = self._progress, work.file.id
        done = {step.name for step in steps if known[step.name].status in ends(STEP_MOVES)}
        self._planner.file(work.file, work.facts, done)
        waiting = [step for step in steps if step.name not in done]
        for group in groups(waiting):
            # The step that begins last is the one that the task's row names.
            for step in reversed(group):
                self._outcomes.begin(work, step)
                progress.begin(file_id, step.name)

            def run(step: Step, stop: threading.Event) -> Mapping[str, object]:
                source = sources.Source(self._store, work.file.upload_id)
                context = self._context(work, step, stop, partial(progress.report, file_id, step.name), source.path)
                with source.blamed():
                    return step.run(context)

            with closing(parallel_steps.run(group, run, self._halt)) as outcomes:
                for step, outcome in outcomes:
                    progress.end(file_id, step.name, is_success=not isinstance(outcome, Exception))
                    self._outcomes.end(work, step, known[step.name], outcome)
                    self._planner.file(work.file, work.facts)

    def _context(
        self, work: FileWork, step: Step, stop: threading.Event, report: Callable[[int], None], source: Path
    ) -> StepContext:
        claim = self.claim
        return StepContext(
            source=source,
            size=work.file.size,
            output=self._results.begin(claim.task_id, claim.attempt, work.file.id, step.name),
            media_type=work.media_type,
            settings=self._settings,
            limits=self._limits(work, step),
            ffmpeg=self._ffmpeg,
            facts=dict(work.facts),
            max_duration=work.max_duration,
            cancelled=stop,
            report=report,
            spares=self._spares,
        )

    def _limits(self, work: FileWork, step: Step) -> Limits:
        """What the step may use; once the video's facts are known, the time that they justify at most."""
        limits = step.limits(self._settings)
        if not work.facts.get("width"):
            return limits
        return replace(limits, seconds=budget.seconds(work.facts, work.file.size, limits.seconds))

    def _heartbeat(self) -> None:
        """Keep the claim until the work is over; stop the work when the claim is lost."""
        while not self._over.wait(HEARTBEAT_SECONDS):
            try:
                kept = self._extend_lease()
                self._kept = time.monotonic()
            except AWAY:
                # No other worker can claim it before the lease has run out, whatever happens to the database.
                kept = time.monotonic() - self._kept < self._settings.task_lease
                self._cut_off = not kept
            if not kept:
                self._lose()
                return

    def _write_progress(self, session: Session, seen: Look) -> bool:
        lease, at = self._settings.task_lease, {"progress": seen.percent, "current_file": seen.position}
        return queue.heartbeat(session, self.claim, lease=lease, eta_seconds=seen.eta_seconds, now=self._clock(), **at)

    def _extend_lease(self) -> bool:
        halt, seen = self._halt, self._progress.look()  # in this order
        file_id, is_removed = seen.file_id, False
        with self._database.write() as session:
            kept = self._write_progress(session, seen)
            if kept and file_id is not None:
                mine = file_steps.file_progress(session, self.claim, file_id, seen.file_percent, seen.steps)
                is_removed = not mine and file_steps.is_removed(session, self.claim, file_id)
        if is_removed:
            halt.set()
        return kept

    def _give_back(self) -> None:
        if not (self._stopped or self._cut_off):
            return
        try:
            with self._database.write() as session:
                queue.give_back(session, self.claim, now=self._clock())
        except AWAY:
            self.is_owed = True
            _log.warning("not_given_back", task=self.claim.task_id)  # its lease will run out
