"""Server processes without waiting for their imports: a parent that has imported the server forks each one.

Rule: the parent is single-threaded, has nothing open, and has only imported and filled caches. So a child is what
`python -m server` would be by then: a process, a session, an environment and a log of its own, and it runs the same
`main`. (The server itself never forks.) `COLD_STARTS=1` makes each one a new interpreter instead; the tests of starting
and of the command line always use that.

Most of the processor time of a start goes into imports: 1.0 to 1.2 s without this, 0.25 s with it. Half of the rest
goes into what a first start compiles (patterns of routes, revisions, SQL) and into the trial of the sandbox. The parent
has started, swept and stopped a server once, and its children know what the trial found.
"""

import asyncio
import functools
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from tests.harness import compiled_patterns, compiled_sql, forked_workers, known_trial

if TYPE_CHECKING:
    from starlette.applications import Starlette

ROOT = Path(__file__).resolve().parents[2]
COLD = os.environ.get("COLD_STARTS", "") not in ("", "0")
_SECONDS = 60.0
# What a server and the operator's commands import, some of it only when they run.
_KNOWN = (
    "anyio._backends._asyncio",
    "anyio.streams.tls",
    "apscheduler.triggers.interval",
    "encodings.idna",
    "httptools",
    "logging.config",
    "prometheus_client",
    "server.app",
    "server.cli.main",
    "server.database.migration",
    "server.maintenance.checker",
    "server.serving.supervisor",
    "server.worker.scheduler",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite",
    "tests.harness.faulty_server",
    "uvicorn.lifespan.on",
    "uvicorn.loops.uvloop",
    "uvloop",
)


class ForkedProcess:
    """A child of the fork server, with the names of `subprocess.Popen`. May be used by one thread at a time."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self.returncode: int | None = None
        self.pid = int(self._hear(_SECONDS))

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        if self.returncode is None:
            try:
                self._end(self._hear(0))
            except BlockingIOError:
                return None
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once it has ended; raises `subprocess.TimeoutExpired`."""
        if self.returncode is None:
            try:
                self._end(self._hear(timeout))
            except TimeoutError:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0) from None
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        # The fork server tells of its end before it reaps it: no other process has its number yet.
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _end(self, code: str) -> None:
        self._line.close()
        assert code, "the fork server has ended"
        self.returncode = int(code)

    def _hear(self, seconds: float | None) -> str:
        self._line.settimeout(seconds)
        return self._line.recv(64).decode()


def start(
    main: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    out: Path,
    err: Path,
    *,
    imports: Sequence[str] = (),
) -> ForkedProcess:
    """Call `main` (`module:function`, called with the arguments) in a new process that prints to these files.

    `imports` are modules that it will import besides, and that the fork server keeps from then on.
    """
    order = {"main": main, "arguments": list(arguments), "environment": dict(environment), "imports": list(imports)}
    for path in (out, err):
        path.touch()  # somebody may look into it before the child has opened it
    line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        line.connect(_address())
        line.send(json.dumps(order | {"out": str(out), "err": str(err)}).encode())
        return ForkedProcess(line)
    except BaseException:
        line.close()
        raise


def run(
    main: str, arguments: Sequence[str], environment: Mapping[str, str], *, seconds: float
) -> subprocess.CompletedProcess[str]:
    """The same to its end; what it printed. Raises `subprocess.TimeoutExpired`, and then it is killed."""
    if COLD:
        command = [sys.executable, "-m", main.partition(":")[0], *arguments]
        return subprocess.run(
            command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True, timeout=seconds
        )
    with tempfile.TemporaryDirectory(prefix="videodock-run-") as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        process = start(main, arguments, environment, out, err)
        try:
            code = process.wait(seconds)
        finally:
            process.kill()
            process.wait()
        return subprocess.CompletedProcess([main, *arguments], code, out.read_text(), err.read_text())


def begin() -> None:
    """Start the fork server now, so that a test that counts processes and descriptors does not find it new."""
    if not COLD:
        _address()


_starting = threading.Lock()


def _address() -> str:
    """Where the fork server of this process listens; it is started for the first who asks, and ends with us."""
    with _starting:
        return _started(os.getpid())


@functools.cache
def _started(owner: int) -> str:
    address = f"\0videodock-forkserver-{owner}-{uuid.uuid4()}"  # a number is unique in its PID namespace only
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(address)
        listener.listen(64)
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        # Its standard input is a pipe that only we hold: when that ends, it ends, and all of its children.
        reader, _kept = os.pipe()
        subprocess.Popen(
            [sys.executable, "-m", "tests.harness.forkserver", str(listener.fileno())],
            cwd=ROOT,
            env=environment,
            stdin=reader,
            stdout=subprocess.DEVNULL,
            pass_fds=[listener.fileno()],
            start_new_session=True,
        ).returncode = 0  # it is not waited for, and that is no mistake
        os.close(reader)
    return address


def _become(order: Mapping[str, Any]) -> NoReturn:
    """The child: leave everything of the parent behind, and run."""
    code = 1
    try:
        os.setsid()
        appended = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        streams = (
            os.open(os.devnull, os.O_RDONLY),
            os.open(order["out"], appended, 0o600),
            os.open(order["err"], appended, 0o600),
        )
        for number, descriptor in enumerate(streams):
            os.dup2(descriptor, number)
        os.closerange(3, 1024)
        os.environ.clear()
        os.environ.update(order["environment"])
        module, _, function = order["main"].partition(":")
        sys.argv = [module, *order["arguments"]]
        forked_workers.install()
        getattr(importlib.import_module(module), function)(order["arguments"])
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class _Parent:
    """Forks, reaps, and tells each client of its child: first its number, then its exit code."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._selector = selectors.DefaultSelector()
        self._selector.register(0, selectors.EVENT_READ, self._end)
        self._selector.register(listener, selectors.EVENT_READ, self._accept)
        self._children: dict[int, tuple[int, socket.socket]] = {}

    def serve(self) -> NoReturn:
        while True:
            for key, _ in self._selector.select():
                key.data(key.fd)

    def _accept(self, _: int) -> None:
        line = self._listener.accept()[0]
        order = json.loads(line.recv(1 << 18))
        _import(order["imports"])
        pid = os.fork()
        if not pid:
            _become(order)
        descriptor = os.pidfd_open(pid)
        self._children[descriptor] = pid, line
        self._selector.register(descriptor, selectors.EVENT_READ, self._reap)
        _tell(line, pid)

    def _reap(self, descriptor: int) -> None:
        self._selector.unregister(descriptor)
        os.close(descriptor)
        pid, line = self._children.pop(descriptor)
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert ended is not None
        # Told before it is reaped: until then its number is given to no other process.
        _tell(line, ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status)
        line.close()
        os.waitpid(pid, 0)

    def _end(self, _: int) -> NoReturn:
        for pid, _line in self._children.values():
            os.kill(pid, signal.SIGKILL)
        os._exit(0)


def _tell(line: socket.socket, number: int) -> None:
    try:
        line.send(str(number).encode())
    except OSError:
        return  # nobody waits for it any more


def _import(modules: Sequence[str]) -> None:
    missing = [module for module in modules if module not in sys.modules]
    if not missing:
        return
    for module in missing:
        importlib.import_module(module)
    _freeze()


def _freeze() -> None:
    assert threading.active_count() == 1, "a child would lack the other threads"
    gc.collect()
    gc.freeze()  # a child would look through all of this again and again


def _warm() -> None:
    """Start, ask, sweep and stop a server of an installation that is gone afterwards; filled caches are what stays."""
    from structlog.testing import capture_logs

    from server.app import create_app
    from server.bootstrap import Services
    from server.database import migration
    from server.settings import Settings

    mask = os.umask(0o077)  # opening the services sets it, and a child begins with ours
    try:
        with tempfile.TemporaryDirectory(prefix="videodock-warm-") as folder, capture_logs():
            data = Path(folder, "data")
            data.mkdir()
            settings = Settings(data_dir=data, fsync="never", disk_reserve="0", spare_children=0)
            migration.upgrade(settings.sqlalchemy_url)
            migration.upgrade(settings.sqlalchemy_url)  # at head, as a child finds its own
            with Services.open(settings) as services:
                services.claim_store()
                services.sweep()
            known_trial.learn()
            asyncio.run(_serve_once(create_app(settings)))
    finally:
        os.umask(mask)
    _freeze()


async def _serve_once(app: "Starlette") -> None:
    import httpx

    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            (await client.get("/readyz")).raise_for_status()


def _main(descriptor: str) -> NoReturn:
    compiled_sql.share()
    compiled_patterns.keep()
    _import(_KNOWN)
    _warm()
    _Parent(socket.socket(fileno=int(descriptor))).serve()


if __name__ == "__main__":
    _main(sys.argv[1])
