"""The embedded scheduler: looks for tasks and runs them, and sweeps.

Rules:

- One scheduler leads a data folder: the one that holds `scheduler.lock`. The others try every two seconds, so
  that N serving processes do not run N times the encodes, and a dead leader is replaced.
- The table is the truth. A wake makes a look happen sooner, a tick makes it happen anyway, and a look that
  fails is followed by the next one.
- Who takes the lead knows that every worker of this folder before it is dead: their tasks are free at once,
  without waiting for a lease.
"""

import fcntl
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import structlog
from apscheduler.executors.pool import ThreadPoolExecutor as JobExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from server.database.session import AWAY, reason
from server.pipeline import ffmpeg
from server.services import Services
from server.tasks import queue
from server.worker.runner import Attempt, claim_next

_LOOK_SECONDS = 1
_LEAD_SECONDS = 2
# Wall clocks jump and APScheduler follows them; a wait that counts by itself looks at least this often.
_WAKE_SECONDS = 5.0
_STALE_SECONDS = 60.0

_log = structlog.stdlib.get_logger("videodock.scheduler")


class Scheduler:
    """Runs until it is stopped. `start` and `stop` may be called from any thread, once each."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._worker = f"{services.node}/{os.getpid()}"
        self._limit = services.settings.encode_limit or os.cpu_count() or 1
        self._ffmpeg = ""
        self._lock_path = services.settings.data_dir / "scheduler.lock"
        self._lock: int | None = None
        self._stopping = threading.Event()
        self._looking = threading.Lock()
        self._attempts: set[Attempt] = set()
        self._looked = time.monotonic()
        self._problem: str | None = None
        self._runners = ThreadPoolExecutor(self._limit, thread_name_prefix="task")
        self._waker = threading.Thread(target=self._follow_wakes, name="wake")
        self._jobs = BackgroundScheduler(
            executors={"default": JobExecutor(3)},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
            timezone="UTC",
        )

    def start(self) -> None:
        """Begin. Raises `StartError` when there is no FFmpeg."""
        self._ffmpeg = ffmpeg.find(self._services.settings.ffmpeg)
        self._lead()
        self._jobs.add_job(self._lead, "interval", seconds=_LEAD_SECONDS)
        self._jobs.add_job(self._look, "interval", seconds=_LOOK_SECONDS)
        self._jobs.add_job(self._sweep, "interval", seconds=self._services.settings.sweep_interval)
        self._jobs.start()

    def stop(self) -> None:
        """End: running steps are stopped and their tasks given back. Blocking, for about a second."""
        self._stopping.set()
        if self._jobs.running:
            self._jobs.shutdown(wait=True)
        with self._looking:
            for attempt in self._attempts:
                attempt.stop()
        self._runners.shutdown(wait=True, cancel_futures=True)
        if self._lock is not None:
            self._services.wake.notify()
            self._waker.join()
            self._services.wake.close()
            os.close(self._lock)
            self._lock = None

    def status(self) -> str:
        """`running`, `standby` (another process leads), or a sentence that says what is wrong."""
        if self._stopping.is_set():
            return "stopping"
        if self._lock is None:
            return "standby"
        silent = time.monotonic() - self._looked
        if silent > _STALE_SECONDS:
            return f"has not looked for tasks for {silent:.0f} s"
        return self._problem or "running"

    def _lead(self) -> None:
        """Take the lead if nobody has it."""
        if self._lock is not None or self._stopping.is_set():
            return
        descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return
        try:
            self._free_orphans()
        except AWAY as error:
            _log.warning("lead_put_off", reason=reason(error))
            os.close(descriptor)
            return
        except Exception:
            # A lead without that would be half a lead: let go of it, and try again in two seconds.
            _log.exception("lead_failed")
            os.close(descriptor)
            return
        self._services.wake.listen()
        self._lock = descriptor
        self._waker.start()
        _log.info("scheduler_leads", limit=self._limit, ffmpeg=self._ffmpeg)
        self._sweep()

    def _free_orphans(self) -> None:
        now = self._services.uploads.clock()
        with self._services.database.write() as session:
            orphans = queue.orphan(session, f"{self._services.node}/", now=now)
        if orphans:
            _log.warning("tasks_taken_over", count=orphans)
        for task_id, attempt in self._services.results.attempts():
            self._services.results.discard(task_id, attempt)

    def _follow_wakes(self) -> None:
        while not self._stopping.is_set():
            self._services.wake.wait(_WAKE_SECONDS)
            self._look()

    def _look(self) -> None:
        """Start as many tasks as there is room for."""
        if self._lock is None:
            return
        with self._looking:
            try:
                while len(self._attempts) < self._limit and not self._stopping.is_set():
                    claimed = claim_next(self._services, self._worker)
                    if claimed is None:
                        break
                    attempt = Attempt(self._services, claimed, self._ffmpeg)
                    self._attempts.add(attempt)
                    self._runners.submit(self._run, attempt)
                self._problem = None
            except AWAY as error:
                self._problem = "the database cannot be reached"
                _log.warning("database_away", reason=reason(error))
            except Exception:
                self._problem = "cannot look for tasks; the log says why"
                _log.exception("look_failed")
            self._looked = time.monotonic()

    def _run(self, attempt: Attempt) -> None:
        try:
            attempt.run()
        finally:
            with self._looking:
                self._attempts.discard(attempt)
            self._services.wake.notify()

    def _sweep(self) -> None:
        if self._lock is None or self._stopping.is_set():
            return
        try:
            report = self._services.sweep()
        except AWAY as error:
            _log.warning("sweep_put_off", reason=reason(error))
            return
        except Exception:
            _log.exception("sweep_failed")
            return
        if any(vars(report).values()):
            _log.info("swept", **vars(report))
