"""Spare children: processes that wait for a job with the imports of the usual jobs done.

Rules:

- A spare child does what a new one does, only sooner: one job, with its limits and confinement applied when the job
  comes. Without a spare, a new child is started.
- Spares are started while no child works, so that they take no time from a video; and they end when no job came for an
  hour, since each takes about 15 MB.
"""

import contextlib
import os
import threading
import time
from collections.abc import Iterator

import structlog

from server.pipeline.sandbox import child_process
from server.pipeline.sandbox.child_process import Process

_MODULES = tuple(f"server.pipeline.jobs.{name}" for name in ("probe", "mp4", "poster"))
_QUIET_SECONDS = 2.0  # without a child at work, until spares are started
_IDLE_SECONDS = 3600.0  # without a job, until they end

_log = structlog.stdlib.get_logger("videodock.pipeline")


class SpareChildren:
    """`count` waiting children. Before `start`, and after `stop`, all children are new ones. For several threads."""

    def __init__(self, count: int, *, quiet: float = _QUIET_SECONDS, idle: float = _IDLE_SECONDS) -> None:
        self._count = count
        self._quiet = quiet
        self._idle = idle
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_stopping = False
        self._waiting: list[Process] = []
        self._working = 0
        self._used = time.monotonic()

    def start(self) -> None:
        """Keep spares from now on. Idempotent."""
        if self._thread is None and self._count:
            self._used = time.monotonic()
            self._thread = threading.Thread(target=self._keep, name="spare-children", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End them. Blocking, for as long as it takes to kill a process."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    @contextlib.contextmanager
    def child(self) -> Iterator[Process]:
        """A child for one job; at the end of the block it and all of its group are gone."""
        with self._changed:
            self._working += 1
        try:
            process = self._take() or child_process.start()
            try:
                yield process
            finally:
                child_process.end(process)
        finally:
            with self._changed:
                self._working -= 1
                self._used = time.monotonic()
                self._changed.notify_all()

    def _take(self) -> Process | None:
        while True:
            with self._changed:
                if not self._waiting:
                    return None
                process = self._waiting.pop(0)  # the oldest: it has certainly done its imports
            if not child_process.is_dead(process):
                return process
            child_process.end(process)

    def _keep(self) -> None:
        """Start and end spares, until `stop`."""
        with self._changed:
            while not self._is_stopping:
                still = time.monotonic() - self._used
                if self._working:
                    self._changed.wait()
                elif still < self._quiet:
                    self._changed.wait(self._quiet - still)
                elif still > self._idle:
                    self._end_all()
                    self._changed.wait()
                elif len(self._waiting) < self._count and self._add():
                    continue
                else:
                    self._changed.wait(self._idle - still)
            self._end_all()

    def _add(self) -> bool:
        try:
            self._waiting.append(child_process.start(*_MODULES))
        except OSError as error:  # no more processes, or no memory: then a job starts its own, or fails with that error
            _log.warning("spare_child_not_started", reason=os.strerror(error.errno or 0))
            return False
        return True

    def _end_all(self) -> None:
        while self._waiting:
            child_process.end(self._waiting.pop(), grace=0)  # it has no job yet


NONE = SpareChildren(0)
"""Never started: each child is a new one."""
