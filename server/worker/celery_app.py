"""Celery's side: the application, its one task, and a worker that runs it.

Rules:

- A message is only a task's id, and only a hint. The claim decides whether the task may be worked on, the lease decides
  whether the work goes on, and the result goes into the table. So a message is acknowledged before the work begins, no
  process waits for an answer, and a message that is lost, doubled or made up does no harm.
- Never fork: the pool is one of threads, and each step is a process of its own.
- Nothing is built at import; `celery -A server.worker.celery_app worker` builds the application on first access.
"""

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import structlog
from celery import Celery, signals
from celery.concurrency.thread import TaskPool
from celery.worker import state
from kombu.entity import Queue

from server.bootstrap import Services
from server.database import migration
from server.database.session import AWAY, reason
from server.errors import StartError
from server.observability import configure_logging
from server.pipeline.media import ffmpeg
from server.pipeline.sandbox.spare_children import SpareChildren
from server.pipeline.sandbox.trial import Trial
from server.settings import Settings, load
from server.worker import check_celery
from server.worker.attempt import Attempt
from server.worker.runner import runner_of
from server.worker.slots import Slots

TASK = "videodock.process"
QUEUE = "videodock"

# Celery logs two lines for each message, where our own say more.
_CHATTY = ("celery.worker.strategy", "celery.app.trace", "amqp", "kombu")
_CONNECT_SECONDS = 4
_SILENCE_SECONDS = 10  # until a connection without a sign of life is checked

_log = structlog.stdlib.get_logger("videodock.worker")


class CeleryWorker:
    """The tasks that this process works on: one in each thread of Celery's pool."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._runner = runner_of(services)
        # Not the folder's name first: that marks embedded workers, which are known to be dead when another leads.
        self.name = f"celery@{socket.gethostname()}/{os.getpid()}"
        self._ffmpeg = ""
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._attempts: set[Attempt] = set()
        self._trial = Trial()
        self._spares = SpareChildren(services.settings.spare_children)

    def prepare(self) -> None:
        """Check that tasks can be worked on. Raises `StartError`. Blocking."""
        self._ffmpeg = ffmpeg.find(self._services.settings.ffmpeg)
        self._trial.start()
        try:
            migration.check_fits(self._services.database.engine)
            self._services.claim_store()
        except AWAY as error:
            raise StartError(f"The database cannot be reached: {reason(error)}") from None
        self._spares.start()

    def work(self, task_id: object) -> None:
        """Bring a task to its end, unless another worker has it. Blocking; raises nothing that we would log as ours."""
        if self._stopping.is_set() or not isinstance(task_id, str):
            return
        try:
            claimed = self._runner.claim_next(self.name, task_id)
        except AWAY as error:
            _log.warning("database_away", task=task_id, reason=reason(error))  # it will be sent again
            return
        if claimed is None:
            _log.debug("not_claimable", task=task_id)
            return
        attempt = self._runner.attempt(claimed, self._ffmpeg, self._spares)
        with self._lock:
            self._attempts.add(attempt)
            if self._stopping.is_set():
                attempt.stop()
        try:
            attempt.run()
        finally:
            with self._lock:
                self._attempts.discard(attempt)

    def stop(self) -> None:
        """Start no more tasks, and give the running ones back."""
        self._stopping.set()
        with self._lock:
            for attempt in self._attempts:
                attempt.stop()
        self._trial.stop()
        self._spares.stop()


def make_app(settings: Settings) -> Celery:
    """The application. Raises `StartError` for settings with which Celery cannot work. Connects to nothing yet."""
    check_celery(settings)
    app = Celery("videodock", broker=settings.broker_url, backend=None, set_as_current=False)
    is_redis = settings.broker_url.startswith("redis")
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_default_queue=QUEUE,
        # Durable, as its messages are: messages survive a restart of the broker.
        task_queues=[Queue(QUEUE)],
        task_ignore_result=True,
        task_acks_late=False,
        task_publish_retry=False,
        worker_prefetch_multiplier=1,
        worker_enable_prefetch_count_reduction=False,
        worker_pool="threads",
        worker_concurrency=settings.encode_limit or os.cpu_count() or 1,
        worker_enable_remote_control=False,  # a broker can name a task to a worker, and do nothing else
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_connection_timeout=_CONNECT_SECONDS,
        broker_connection_retry=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_heartbeat=_SILENCE_SECONDS,
    )
    if is_redis:
        app.conf.broker_transport_options = {
            "socket_connect_timeout": _CONNECT_SECONDS,
            "socket_keepalive": True,
            "health_check_interval": _SILENCE_SECONDS,
        }
    return app


def _add_task(app: Celery, work: Callable[[object], None]) -> None:
    strategy = Slots(work).strategy

    @app.task(name=TASK, ignore_result=True, acks_late=False, Strategy=strategy)  # type: ignore[untyped-decorator]
    def process(task_id: object) -> None:
        work(task_id)


def run_worker(services: Services, on_ready: Callable[[], None], on_stop: Callable[[], None]) -> int:
    """Work until SIGTERM or Ctrl+C, then give back what runs. In the main thread. Raises `StartError`. Blocking.

    `on_ready` is called once, when everything but perhaps the broker is there; `on_stop` at each signal. Returns the
    exit code: not 0 when Celery itself gave up.
    """
    celery_worker = CeleryWorker(services)
    celery_worker.prepare()
    app = make_app(services.settings)
    _add_task(app, celery_worker.work)
    signals.setup_logging.connect(_keep_logging, weak=False)
    _quieten(services.settings.log_level)

    class StoppableWorker(app.Worker):  # type: ignore[misc,name-defined]
        def install_platform_tweaks(self, worker: object) -> None:  # Celery's names
            """Celery's signal handlers; ours replace them."""

        def stop(self, in_sighandler: bool = False, exitcode: int | None = None) -> None:
            celery_worker.stop()  # otherwise Celery would wait for running tasks, for hours
            super().stop(in_sighandler, exitcode)

        def set_process_status(self, info: str) -> None:
            """The process keeps its own name."""

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        on_stop()
        state.should_stop = 0
        # Not here: the interrupted code may hold a lock that stopping needs.
        threading.Thread(target=celery_worker.stop, name="stop", daemon=True).start()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    options = {"without_gossip": True, "without_mingle": True, "without_heartbeat": True}
    worker = StoppableWorker(hostname=f"videodock-{os.getpid()}@{socket.gethostname()}", quiet=True, **options)
    on_ready()
    worker.start()
    return int(worker.exitcode or 0)


def _for_command() -> Celery:
    """The application for Celery's own commands. Those that start a worker build its `CeleryWorker` then."""
    settings = load()
    if settings.scheduler != "celery":
        raise StartError("The setting scheduler is not celery, so no server would send tasks to Celery's workers.")
    app = make_app(settings)
    workers: list[CeleryWorker] = []

    _add_task(app, lambda task_id: workers[0].work(task_id))

    def begin(sender: Any, **_: object) -> None:
        if sender.pool_cls not in ("threads", TaskPool):
            raise SystemExit("Videodock's tasks run on threads: start the worker with --pool threads.")
        try:
            services = Services.open(settings)
            workers.append(CeleryWorker(services))
            workers[0].prepare()
        except StartError as error:
            raise SystemExit(str(error)) from None
        except Exception:
            # Celery would log it and go on, with a worker that takes messages and cannot work on them.
            _log.exception("start_failed")
            raise SystemExit("The worker cannot start; the log says why.") from None

    def stop(**_: object) -> None:
        for one in workers:
            threading.Thread(target=one.stop, name="stop", daemon=True).start()

    configure_logging(settings.log_level, settings.log_format)
    _quieten(settings.log_level)
    signals.setup_logging.connect(_keep_logging, weak=False)
    signals.worker_init.connect(begin, weak=False)
    signals.worker_shutting_down.connect(stop, weak=False)
    return app


def _keep_logging(**_: object) -> None:
    """A receiver of this signal keeps Celery from setting up its own log."""


def _quieten(level: str) -> None:
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.NOTSET if level == "debug" else logging.WARNING)


def __getattr__(name: str) -> Celery:
    if name != "app":
        raise AttributeError(name)
    try:
        made = globals()["app"] = _for_command()
    except StartError as error:
        raise SystemExit(str(error)) from None
    return made
