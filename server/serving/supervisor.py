"""Serving processes: one in this process, or several under a supervisor.

Rule: stopping always works. A first SIGTERM or SIGINT turns `/readyz` for `drain_seconds`, in which all else goes on;
then running requests get `shutdown_grace` seconds to end, and the process exits with 0. A second one exits at once;
nothing that hangs, no thread and no dead parent, keeps a process alive. Cutting a process off is safe by design:
offsets come from the files, tasks from leases.
"""

import asyncio
import contextlib
import gc
import logging
import os
import resource
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from types import FrameType
from typing import NoReturn

import structlog
import uvicorn
from starlette.types import ASGIApp

from server.errors import StartError
from server.serving.listeners import BACKLOG
from server.serving.shared_metrics import METRICS_VARIABLE, metrics_folder, reserve_metrics
from server.serving.uvicorn_http import http_class
from server.settings import Settings

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_PAUSE = 1.0  # seconds before a process that failed to start is tried again
CLEANUP = 8.0
"""Seconds after the grace period for the last work: cancelled requests record what they have, a
running step is stopped, connections are closed."""

_CANCELLED = 2.0

_log = structlog.stdlib.get_logger("videodock.serving")


def exit_process(code: int) -> NoReturn:
    """End the process now. Threads that still work are not waited for; what was written is flushed."""
    # A signal may have come in the middle of a write, and then flushing raises: no error may stop the exit.
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        logging.shutdown()
    os._exit(code)


def _no_cancellation(record: logging.LogRecord) -> bool:
    # We log one line for a request that was cut off; uvicorn would add a traceback as if something were broken.
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


def allow_descriptors() -> None:
    """Open as many files as this user may: an upload needs three of them, and the soft limit is often 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


# New objects that start a collection of the youngest, and how many of those start one of the older ones.
_GARBAGE = (5_000, 20, 20)
_SWITCH_SECONDS = 0.001


class Server(uvicorn.Server):
    """uvicorn's server, with a reliable end. `on_ready` is called once it serves."""

    def __init__(self, app: ASGIApp, settings: Settings, on_ready: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                lambda: app,
                factory=True,
                loop="auto",  # uvloop where there is one
                http=http_class(settings),
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                backlog=BACKLOG,
            )
        )
        self._on_stopping: Callable[[], None] | None = getattr(getattr(app, "state", None), "on_stopping", None)
        self._on_draining: Callable[[], None] | None = getattr(getattr(app, "state", None), "on_draining", None)
        self._drain = settings.drain_seconds
        self._is_stopping = False
        self._grace = settings.shutdown_grace
        self._on_ready = on_ready
        logging.getLogger("uvicorn.error").addFilter(_no_cancellation)

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        # asyncio.run would wait for the threads of its executor at the end. The loop stays open: the caller leaves
        # the process next.
        factory = self.config.get_loop_factory() or asyncio.new_event_loop
        loop = factory()
        asyncio.set_event_loop(loop)
        loop.run_until_complete(self.serve(sockets=sockets))

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        _prepare_interpreter()
        if not self.should_exit:
            self._on_ready()

    async def _wait_tasks_to_complete(self) -> None:
        if self._on_stopping is not None:
            self._on_stopping()  # what would never end by itself
        # uvicorn cancels the remaining requests and closes the app at once; a cancelled request
        # still has an offset to record, so it gets time for that before the database is closed.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._grace):
                await super()._wait_tasks_to_complete()
        left = list(self.server_state.tasks)
        for task in left:
            task.cancel()
        if left:
            _log.warning("requests_cut_off", number=len(left), grace=self._grace)
            await asyncio.wait(left, timeout=_CANCELLED)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        # uvicorn's own raises the signal again at the end, and the exit code would not be 0.
        before = {number: signal.signal(number, self.handle_exit) for number in _STOP_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  # uvicorn's names
        if self._is_stopping:
            exit_process(1)
        self._is_stopping = True
        cut_off_after(self._drain + self._grace + CLEANUP)
        if self._on_draining is not None:
            self._on_draining()
        if not self._drain:
            self._leave()
            return
        timer = threading.Timer(self._drain, self._leave)
        timer.daemon = True
        timer.start()

    def _leave(self) -> None:
        """Take no more connections, and let running requests end."""
        self.should_exit = True


def _prepare_interpreter() -> None:
    """Let requests stand still for neither garbage nor other threads.

    A full collection looks at everything that was imported, 300,000 objects, and takes 50 to 100 ms: none of that will
    ever be garbage. And a request that needs the interpreter back after a system call would wait 5 ms for a thread
    that computes.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GARBAGE)
    sys.setswitchinterval(_SWITCH_SECONDS)


def cut_off_after(seconds: float) -> None:
    """Leave with exit code 1 in so many seconds, even if something hangs then."""

    def leave_late() -> None:
        _log.error("stopping_took_too_long", seconds=seconds)
        exit_process(1)

    timer = threading.Timer(seconds, leave_late)
    timer.daemon = True
    timer.start()


def serve_here(app: ASGIApp, settings: Settings, sockets: list[socket.socket], on_ready: Callable[[], None]) -> int:
    """Serve in this process until a signal; returns the exit code. Afterwards only `leave` makes sense."""
    allow_descriptors()
    server = Server(app, settings, on_ready)
    try:
        server.run(sockets)
    except SystemExit:  # uvicorn's exit for an app that does not start; the log has the reason
        return 1
    return 0


def serve_many(settings: Settings, sockets: list[socket.socket], on_ready: Callable[[], None]) -> int:
    """Serve in `settings.workers` processes until a signal; returns the exit code.

    They are new processes: they read their settings anew, so the options of the command line must be in the
    environment by now.
    """
    with metrics_folder(settings.data_dir) as folder:
        place = {} if folder is None else {METRICS_VARIABLE: str(folder)}
        return Supervisor(settings, sockets, on_ready, {**os.environ, **place}).run()


class _Worker:
    """A serving process. `line` reports that it is ready, and its end shows that either side is gone."""

    def __init__(self, sockets: Sequence[socket.socket], environment: dict[str, str]) -> None:
        self.ready = False
        self.line, theirs = socket.socketpair()
        numbers = [theirs.fileno(), *(one.fileno() for one in sockets)]
        self.process = subprocess.Popen(  # noqa: S603  # our own interpreter and our own module
            [sys.executable, "-m", "server.serving.supervisor", *map(str, numbers)],
            pass_fds=numbers,
            env=environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl+C reaches the supervisor only, which passes it on once
        )
        theirs.close()

    def end(self) -> int:
        """The exit code, once `line` has ended; a process that does not exit is killed."""
        self.line.close()
        try:
            return self.process.wait(timeout=CLEANUP)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


class Supervisor:
    """Keeps serving processes alive that share the sockets.

    A process that dies is replaced. At the start, one that never gets ready stops everything, since the next would
    fail in the same way; once all were ready, the cause is outside (a database that is away), and it is tried again.
    """

    def __init__(
        self,
        settings: Settings,
        sockets: Sequence[socket.socket],
        on_ready: Callable[[], None],
        environment: dict[str, str],
    ) -> None:
        self._count = settings.workers
        # They watch themselves; this is the last resort.
        self._patience = settings.drain_seconds + settings.shutdown_grace + 2 * CLEANUP
        self._sockets = sockets
        self._on_ready = on_ready
        self._environment = environment
        self._workers: set[_Worker] = set()
        self._selector = selectors.DefaultSelector()
        self._signals = 0
        self._code = 0
        self._announced = False
        self._missing: list[float] = []  # when to start each process that is to be replaced
        self._deadline: float | None = None

    def run(self) -> int:
        """Blocks until all have ended; returns 0 after a stop signal when all of them ended well, else 1."""
        wake, waker = socket.socketpair()
        waker.setblocking(False)

        def on_signal(_number: int, _frame: FrameType | None) -> None:
            self._signals += 1
            with contextlib.suppress(BlockingIOError):
                waker.send(b"s")

        for number in _STOP_SIGNALS:
            signal.signal(number, on_signal)
        self._selector.register(wake, selectors.EVENT_READ)
        for _ in range(self._count):
            self._start()
        while self._workers or self._missing:
            for key, _ in self._selector.select(self._time_left()):
                if key.data is None:
                    wake.recv(64)
                else:
                    self._read_messages(key.data)
            self._handle_signal()
            self._start_missing()
        return self._code

    def _start_missing(self) -> None:
        """Start the missing processes whose pause is over."""
        now = time.monotonic()
        due = [moment for moment in self._missing if moment <= now]
        if self._deadline is None:
            self._missing = [moment for moment in self._missing if moment > now]
            for _ in due:
                self._start()
        else:
            self._missing.clear()

    def _start(self) -> None:
        worker = _Worker(self._sockets, self._environment)
        self._workers.add(worker)
        self._selector.register(worker.line, selectors.EVENT_READ, worker)

    def _read_messages(self, worker: _Worker) -> None:
        try:
            said = worker.line.recv(64)
        except ConnectionResetError:
            said = b""
        if said:
            worker.ready = True
            if not self._announced and all(one.ready for one in self._workers):
                self._announced = True
                self._on_ready()
            return
        self._selector.unregister(worker.line)
        self._workers.remove(worker)
        self._replace(worker, worker.end())

    def _replace(self, worker: _Worker, code: int) -> None:
        if self._deadline is not None:
            # One that was still starting had no handler for the signal yet.
            well = code == 0 or (code == -signal.SIGTERM and not worker.ready)
            self._code = self._code if well else 1
        elif worker.ready or self._announced:
            _log.error("serving_process_replaced", pid=worker.process.pid, exit_code=code)
            self._missing.append(time.monotonic() + (0 if worker.ready else _PAUSE))
        else:
            self._code = 1
            self._stop()

    def _handle_signal(self) -> None:
        if self._signals and self._deadline is None:
            self._stop()
        if self._signals > 1 or (self._deadline is not None and time.monotonic() > self._deadline):
            for worker in self._workers:
                worker.process.kill()
            self._code = 1

    def _stop(self) -> None:
        self._deadline = time.monotonic() + self._patience
        for worker in self._workers:
            worker.process.terminate()

    def _time_left(self) -> float | None:
        moments = [*self._missing, *([] if self._deadline is None else [self._deadline + 0.1])]
        return max(0.0, min(moments) - time.monotonic()) if moments else None


def _child(numbers: Sequence[str]) -> NoReturn:
    """The main function of a serving process: the line to the supervisor, then the listening sockets."""
    from server.app import create_app
    from server.observability import configure_logging
    from server.settings import load

    line, *sockets = (socket.socket(fileno=int(number)) for number in numbers)
    threading.Thread(target=_follow, args=(line,), name="supervisor", daemon=True).start()
    try:
        settings = load()
        configure_logging(settings.log_level, settings.log_format)
        reserve_metrics()
        code = serve_here(create_app(settings), settings, sockets, lambda: line.sendall(b"r"))
    except StartError as error:
        sys.stderr.write(f"{error}\n")
        code = 1
    exit_process(code)


def _follow(line: socket.socket) -> None:
    """End with the supervisor, even if it was killed: no other process could stop this one."""
    with contextlib.suppress(OSError):
        line.recv(1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    _child(sys.argv[1:])
