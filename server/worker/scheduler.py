"""The embedded scheduler: runs the tasks that it finds, in this process.

Rule: the limit of tasks at once is this leader's own pool of threads, so it holds for the machine.
"""

import os
from concurrent.futures import ThreadPoolExecutor

from server.pipeline import ffmpeg
from server.services import Services
from server.worker.leader import Leader
from server.worker.runner import Attempt, claim_next


class Scheduler(Leader):
    """Runs until it is stopped; then running steps are stopped and their tasks given back."""

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        self._worker = f"{services.node}/{os.getpid()}"
        self._limit = services.settings.encode_limit or os.cpu_count() or 1
        self._ffmpeg = ""
        self._attempts: set[Attempt] = set()
        self._runners = ThreadPoolExecutor(self._limit, thread_name_prefix="task")

    @property
    def _description(self) -> dict[str, object]:
        return {"limit": self._limit, "ffmpeg": self._ffmpeg}

    def _prepare(self) -> None:
        self._ffmpeg = ffmpeg.find(self._services.settings.ffmpeg)

    def _take_tasks(self) -> None:
        """Start as many tasks as there is room for."""
        while len(self._attempts) < self._limit and not self._stopping.is_set():
            claimed = claim_next(self._services, self._worker)
            if claimed is None:
                break
            attempt = Attempt(self._services, claimed, self._ffmpeg)
            self._attempts.add(attempt)
            self._runners.submit(self._run, attempt)

    def _run(self, attempt: Attempt) -> None:
        try:
            attempt.run()
        finally:
            with self._looking:
                self._attempts.discard(attempt)
            self._services.wake.notify()

    def _finish(self) -> None:
        with self._looking:
            for attempt in self._attempts:
                attempt.stop()
        self._runners.shutdown(wait=True, cancel_futures=True)
