"""The leader: one process schedules the tasks of a data folder.

Rules:

- One process of a data folder leads: the one that holds `scheduler.lock`. The others try every two seconds, so that N
  serving processes do not do everything N times, and a dead leader is replaced. Hosts with folders of their own have a
  leader each: the claims of tasks and of webhooks are leases in the database, and one of them sweeps at a time.
- The table is the truth. A wake makes a look happen sooner, a tick makes it happen anyway, and a look that fails is
  followed by the next one.
- What follows the events (`server/events`: webhooks, hooks) runs beside it, from when it leads until it stops.
- When a process takes the lead, every earlier embedded worker of this folder is dead (their names begin with the
  folder's): their tasks are free at once, without waiting for a lease. Celery workers have other names.
"""

import fcntl
import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import ClassVar, TypedDict, Unpack

import structlog
from apscheduler.executors.pool import ThreadPoolExecutor as JobExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from server.bootstrap import Services
from server.database.session import AWAY, Database, is_full, reason
from server.events.follower import Follower
from server.maintenance.sweep_report import SweepReport
from server.messages.phrases import Phrase
from server.settings import Settings
from server.storage.results import Results
from server.tasks import outbox, queue
from server.tasks.wake import Wake

_LOOK_SECONDS = 1
_LEAD_SECONDS = 2
# Wall clocks jump and APScheduler follows them; our own wait looks at least this often.
_WAKE_SECONDS = 5.0
_STALE_SECONDS = 60.0
# A sweep of what is due costs little. A sweep of all open uploads runs at first, after a process has died, after a
# sweep that failed, and at this interval, to catch what was missed.
_ALL_SECONDS = 6 * 3600.0

_log = structlog.stdlib.get_logger("videodock.worker")


class LeaderParts(TypedDict):
    """The parts of every leader. `host` is its data folder, and `node` where the bytes of tasks are. `alone` yields
    whether no other leader of the node sweeps meanwhile; `sweep` gets whether it looks at every open upload."""

    settings: Settings
    host: str
    node: str
    alone: Callable[[], AbstractContextManager[bool]]
    database: Database
    results: Results
    wake: Wake
    sweep: Callable[[bool], SweepReport]
    clock: Callable[[], datetime]
    followers: Callable[[], Sequence[Follower]]


def leader_parts(services: Services) -> LeaderParts:
    """The parts of an installation."""
    return {
        "settings": services.settings,
        "host": services.host,
        "node": services.node,
        "alone": lambda: services.locks.try_hold(f"sweep/{services.node}"),
        "database": services.database,
        "results": services.results,
        "wake": services.wake,
        "sweep": lambda everything: services.sweep(everything=everything),
        "clock": services.clock,
        "followers": services.events.make_followers,
    }


class Leader(ABC):
    """Looks for tasks, and sweeps, while it leads. `start` and `stop` may be called from any thread, once each."""

    def __init__(self, **parts: Unpack[LeaderParts]) -> None:
        self._settings = parts["settings"]
        self._node = parts["node"]
        self._alone = parts["alone"]
        self._database = parts["database"]
        self._results = parts["results"]
        self._wake = parts["wake"]
        self._run_sweep = parts["sweep"]
        self._clock = parts["clock"]
        self._make_followers = parts["followers"]
        self._followers: Sequence[Follower] = ()
        self._embedded = f"{parts['host']}/"
        self._lock_path = self._settings.data_dir / "scheduler.lock"
        self._lock: int | None = None
        self._stopping = threading.Event()
        self._looking = threading.Lock()
        self._looked = time.monotonic()
        self._problem: str | None = None
        self._sweeps_all_at = 0.0  # of the monotonic clock
        self._waker = threading.Thread(target=self._follow_wakes, name="wake")
        self._jobs = BackgroundScheduler(
            executors={"default": JobExecutor(3)},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
            timezone="UTC",
        )

    def start(self) -> None:
        """Begin. Raises `StartError` when something that it needs is missing."""
        self._prepare()
        self._lead()
        if self._lock is None:
            # Tells an operator who started a second server on this folder why it processes nothing.
            _log.info("scheduler_stands_by", data_dir=str(self._settings.data_dir))
        self._jobs.add_job(self._lead, "interval", seconds=_LEAD_SECONDS)
        self._jobs.add_job(self._claim_due, "interval", seconds=_LOOK_SECONDS)
        self._jobs.add_job(self._sweep, "interval", seconds=self._settings.sweep_interval)
        self._jobs.start()

    def stop(self) -> None:
        """Stop working, and let another process lead. Blocking, for about a second."""
        self._stopping.set()
        if self._jobs.running:
            self._jobs.shutdown(wait=True)
        self._finish()
        for follower in self._followers:
            follower.stop()
        if self._lock is not None:
            self._wake.notify()
            self._waker.join()
            self._wake.close()
            os.close(self._lock)
            self._lock = None

    WELL: ClassVar = ("running", "standby")

    def status(self) -> str:
        """`running`, `standby` (another process leads), or a sentence that describes the problem."""
        if self._stopping.is_set():
            return Phrase.of("stopping")
        if self._lock is None:
            return "standby"
        silent = time.monotonic() - self._looked
        if silent > _STALE_SECONDS:
            return Phrase.of("tasks_not_looked_for", seconds=round(silent))
        return self._problem or "running"

    def trouble(self) -> str | None:
        """The problem, if uploads should not be sent here because of it."""
        status = self.status()
        return None if status in self.WELL else status

    def checks(self) -> dict[str, Callable[[], str | None]]:
        """The checks for `/readyz`, by name."""
        return {"scheduler": self.trouble}

    # What each kind of leader does differently

    @abstractmethod
    def _prepare(self) -> None:
        """Called before anything else. Raises `StartError`."""

    @abstractmethod
    def _take_tasks(self) -> None:
        """One look at the table, alone in this data folder. May raise anything."""

    @abstractmethod
    def _finish(self) -> None:
        """Called at the end, after the last look. Blocking."""

    @property
    @abstractmethod
    def _description(self) -> dict[str, object]:
        """Fields for the log line when the lead is taken."""

    # What they share

    def _lead(self) -> None:
        """Take the lead if it is free."""
        if self._lock is not None or self._stopping.is_set():
            return
        descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return
        try:
            self._expire_dead_leases()
        except AWAY as error:
            _log.warning("lead_put_off", reason=reason(error))
            os.close(descriptor)
            return
        except Exception:
            # Leading without it would do half the work: release the lead, and try again in two seconds.
            _log.exception("lead_failed")
            os.close(descriptor)
            return
        self._wake.listen()
        self._lock = descriptor
        self._waker.start()
        _log.info("scheduler_leads", **self._description)
        self._followers = self._make_followers()
        for follower in self._followers:
            follower.start(dead=self._embedded)
        self._sweep()

    def _expire_dead_leases(self) -> None:
        now = self._clock()
        with self._database.write() as session:
            orphans = queue.expire_leases(session, self._embedded, now=now)
        if orphans:
            _log.warning("tasks_taken_over", count=orphans)
        self._discard_leftovers(dead=self._embedded)

    def _discard_leftovers(self, dead: str) -> None:
        """Remove the work folders of attempts without a worker; workers whose names begin with `dead` do not count."""
        found = self._results.attempts()  # first: a worker that begins later has claimed its task by then
        if not found:
            return
        with self._database.read() as session:
            working = outbox.active_claims(session, self._node, dead=dead)
        for task_id, attempt in found:
            if (task_id, attempt) not in working:
                self._results.discard(task_id, attempt)

    def _follow_wakes(self) -> None:
        while not self._stopping.is_set():
            if self._wake.wait(_WAKE_SECONDS):
                for follower in self._followers:
                    follower.notify()
            self._claim_due()

    def _claim_due(self) -> None:
        if self._lock is None:
            return
        with self._looking:
            if self._stopping.is_set():
                return  # the wake of `stop`
            try:
                self._take_tasks()
                self._problem = None
            except AWAY as error:
                # A full disk is reported by the check of space; the server stays ready, for downloads and deletions.
                self._problem = None if is_full(error) else Phrase.of("database_unreachable")
                _log.warning("database_away", reason=reason(error))
            except Exception:
                self._problem = Phrase.of("tasks_cannot_be_looked_for")
                _log.exception("look_failed")
            self._looked = time.monotonic()

    def _sweep(self) -> None:
        if self._lock is None or self._stopping.is_set():
            return
        now, due = time.monotonic(), self._sweeps_all_at
        everything = now >= due
        self._sweeps_all_at = now  # until this one has come to its end
        try:
            with self._alone() as is_alone:
                if not is_alone:
                    self._sweeps_all_at = due  # that of another host does it
                    return
                report = self._run_sweep(everything)
        except AWAY as error:
            _log.warning("sweep_put_off", reason=reason(error))
            return
        except Exception:
            _log.exception("sweep_failed")
            return
        self._sweeps_all_at = now + _ALL_SECONDS if everything else due
        if any(report.numbers.values()):
            done = {name: number for name, number in report.numbers.items() if number}
            _log.info("swept", **done, freed_bytes=report.freed)
