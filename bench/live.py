"""`python -m bench.live`: polls of a task's status beside the same route in Flask, and live events at 1,000 streams.

Rules:

- Both servers are one process on the same database, with the same statements and the same JSON; they are measured in
  turns, so that what else the machine does happens to both. Besides, another process commits 20 times a second, as
  the progress of uploads and tasks does: a poll must not be quick only while nothing happens.
- A row is at a browser when the client has its message. Its time counts from the commit.
"""

import itertools
import os
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click
import structlog
from sqlalchemy import update

from bench.clients import connect
from bench.requests import Request, Requests
from bench.servers.base import ClientError
from server.database import migration
from server.database.models import DEFAULT_OWNER, Upload
from server.database.session import Database
from server.tasks import events, file_steps, queue
from server.tasks.queue import Claim
from tests.harness.brokers import RedisBroker
from tests.harness.ports import free_port
from tests.harness.postgres import PostgresServer
from tests.tasks.queued_tasks import NOW, claimed, register

_PEER = Path(__file__).parent / ".peers" / "venv"
_CONNECTIONS = 8
_SECONDS = 4.0
_COMMITS_A_SECOND = 20
_STEPS = {"scan": True, "probe": True, "mp4": True, "poster": True, "hls": True, "storyboard": True}


class Table:
    """A database with a running task."""

    def __init__(self, url: str) -> None:
        migration.upgrade(url)
        self.url = url
        self.database = Database(url, 4)
        self.task = register(self.database)
        self.claim: Claim = claimed(self.database, task_id=self.task)
        with self.database.write() as session:
            (file,) = queue.files_of(session, self.task)
            file_steps.begin_file(session, self.claim, file.id, _STEPS)
            file_steps.begin_step(session, self.claim, file.id, "scan", now=NOW)
            # Otherwise a server refuses to start without their bytes.
            session.execute(update(Upload).values(has_bytes=False))

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Commits besides, of another process."""
        ended = threading.Event()

        def commit() -> None:
            for number in itertools.count():
                if ended.wait(1 / _COMMITS_A_SECOND):
                    return
                with self.database.write() as session:
                    moved = {"progress": 1 + number % 90, "current_file": 1, "eta_seconds": 9}
                    queue.heartbeat(session, self.claim, lease=30, now=NOW, **moved)

        thread = threading.Thread(target=commit)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def event(self) -> float:
        """Commit an event; when it was committed."""
        with self.database.write() as session:
            events.append(session, self.task, "waiting", owner=DEFAULT_OWNER, at=NOW)
        return time.perf_counter()


class Server:
    """One process that serves."""

    def __init__(self, command: list[str], port: int, environment: dict[str, str], folder: Path) -> None:
        self.port = port
        self._log = folder / f"{port}.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command, env={**os.environ, **environment}, stdout=log, stderr=log, cwd=Path(__file__).parent.parent
            )

    def wait(self) -> None:
        """Until it listens."""
        for _ in range(600):
            if self.process.poll() is not None:
                raise ClientError("the server has ended: " + self.log())
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.1)
        raise ClientError("the server does not listen: " + self.log())

    def log(self) -> str:
        """The end of what it printed."""
        return self._log.read_text(errors="replace")[-1500:]

    def cpu_seconds(self) -> float:
        """Of it and its children."""
        pids = [str(self.process.pid)]
        pids += subprocess.run(["pgrep", "-P", pids[0]], capture_output=True, text=True, check=False).stdout.split()
        ticks = 0
        for pid in pids:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def resident_kib(self) -> int:
        """Memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _ours(url: str, folder: Path, *more: str) -> Server:
    port = free_port()
    data = folder / f"data-{port}"
    where = ["--data-dir", str(data), "--database-url", url, "--port", str(port), "--scheduler", "none"]
    limits = ["--max-event-streams", "6000", "--max-owner-event-streams", "6000", "--max-connections", "8000"]
    return Server([sys.executable, "-m", "server", "serve", *where, *limits, *more], port, {}, folder)


def _flask(url: str, folder: Path) -> Server:
    port = free_port()
    site = next(Path(sys.prefix).glob("lib/python*/site-packages"))
    command = [str(_PEER / "bin/gunicorn"), "-w", "1", "-k", "gthread", "--threads", "4", "--keep-alive", "60"]
    paths = os.pathsep.join([str(Path(__file__).parent.parent), str(site)])
    environment = {"BENCH_DATABASE": url, "PYTHONPATH": paths}
    return Server([*command, "-b", f"127.0.0.1:{port}", "bench.apps.flask_status:app"], port, environment, folder)


def _poll(server: Server, task: str) -> tuple[float, float]:
    """Polls a second, and CPU milliseconds of each."""

    def check(data: bytes) -> None:
        if not data.startswith(b"HTTP/1.1 200") or task.encode() not in data:
            raise ClientError(data[:100].decode("latin-1"))

    head = f"GET /api/task/status/{task} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n".encode()

    def ask(seconds: float) -> tuple[int, float]:
        requests = Requests(server.port, [itertools.repeat(Request(head, check))] * _CONNECTIONS)
        try:
            return requests.run(seconds)[:2]
        finally:
            requests.close()

    ask(0.5)
    before = server.cpu_seconds()
    answered, took = ask(_SECONDS)
    return answered / took, 1000 * (server.cpu_seconds() - before) / answered


def _polls(kind: str, table: Table, servers: dict[str, Server], rounds: int) -> Iterator[str]:
    found: dict[tuple[str, bool], list[tuple[float, float]]] = {}
    for _ in range(rounds):
        for name, server in servers.items():
            found.setdefault((name, False), []).append(_poll(server, table.task))
        with table.busy():
            for name, server in servers.items():
                found.setdefault((name, True), []).append(_poll(server, table.task))
    for (name, is_busy), values in found.items():
        rate = statistics.median(value[0] for value in values)
        cpu = statistics.median(value[1] for value in values)
        peer = found.get(("Flask + gunicorn", is_busy))
        ratio = " | "
        if peer is not None:
            ratio = f"{rate / statistics.median(value[0] for value in peer):.1f} | "
            ratio += f"{statistics.median(value[1] for value in peer) / cpu:.1f}"
        yield f"| {kind} | {'20 a second' if is_busy else 'none'} | {name} | {rate:,.0f} | {cpu:.2f} ms | {ratio} |"


class Streams:
    """Many streams of one task, read by one thread."""

    def __init__(self, server: Server, task: str, number: int) -> None:
        self._selector = selectors.DefaultSelector()
        self.sockets: list[socket.socket] = []
        head = f"GET /api/task/events/{task} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n".encode()
        for _ in range(number):
            one = connect(server.port)
            one.sendall(head)
            self._selector.register(one, selectors.EVENT_READ)
            self.sockets.append(one)
        self.wait(b"task.status")

    def wait(self, word: bytes) -> list[float]:
        """When each had this word, in order."""
        waiting = {one.fileno(): b"" for one in self.sockets}
        found: list[float] = []
        deadline = time.perf_counter() + 60
        while waiting:
            if time.perf_counter() > deadline:
                raise ClientError(f"{len(waiting)} streams heard nothing")
            for key, _ in self._selector.select(1):
                data = key.fileobj.recv(1 << 16)  # type: ignore[union-attr]  # a socket
                if key.fd in waiting:
                    waiting[key.fd] += data
                    if word in waiting[key.fd]:
                        del waiting[key.fd]
                        found.append(time.perf_counter())
        return found

    def close(self) -> None:
        for one in self.sockets:
            one.close()


def _rows(kind: str, table: Table, server: Server, number: int) -> str:
    table.event()
    before = server.resident_kib()
    streams = Streams(server, table.task, number)
    memory = (server.resident_kib() - before) / number
    last, middle = [], []
    worked = server.cpu_seconds()
    try:
        for turn in range(12):
            time.sleep(0.3 + turn % 5 / 20)
            committed: list[float] = []
            thread = threading.Thread(target=lambda found=committed: found.append(table.event()))
            thread.start()
            heard = streams.wait(b"event: task.waiting")
            thread.join()
            last.append(1000 * (heard[-1] - committed[0]))
            middle.append(1000 * (heard[len(heard) // 2] - committed[0]))
    finally:
        streams.close()
    worst, worked = max(last), 1000 * (server.cpu_seconds() - worked) / len(last)
    verdict = "met" if worst < 300 else "**not met**"
    return (
        f"| {kind} | {number:,} | {statistics.median(middle):.0f} ms | {statistics.median(last):.0f} ms | "
        f"{worst:.0f} ms | {worked:.0f} ms | {memory:.0f} KiB | {verdict if number <= 1000 else ''} |"
    )


def _commits(kind: str, table: Table) -> Iterator[str]:
    """What the notification costs a transaction: a row changes, and an event is added."""
    with_it: list[float] = []
    without: list[float] = []
    plain = events._INSERT  # as on SQLite: nobody is notified
    notifying = events._INSERT_AND_NOTIFY
    for _ in range(400):
        for found, statement in ((with_it, notifying), (without, plain)):
            events._INSERT_AND_NOTIFY = statement
            began = time.perf_counter()
            with table.database.write() as session:
                moved = {"progress": 5, "current_file": 1, "eta_seconds": 9}
                queue.heartbeat(session, table.claim, lease=30, now=NOW, **moved)
                events.append(session, table.task, "waiting", owner=DEFAULT_OWNER, at=NOW)
            found.append(time.perf_counter() - began)
    events._INSERT_AND_NOTIFY = notifying
    one, other = 1000 * statistics.median(with_it), 1000 * statistics.median(without)
    yield f"| {kind} | {one:.2f} ms | {other:.2f} ms | {one / other:.2f} |"


Serving = Callable[[Server], Server]


def _show_polls(tables: dict[str, Table], serving: Serving, folder: Path, redis_url: str, rounds: int) -> None:
    click.echo("| database | commits besides | server | polls a second | CPU each | times Flask | by CPU |")
    click.echo("|---|---|---|---|---|---|---|")
    for kind, table in tables.items():
        servers = {"Videodock": serving(_ours(table.url, folder))}
        servers["Videodock with Redis"] = serving(_ours(table.url, folder, "--redis-url", redis_url))
        if (_PEER / "bin/gunicorn").exists():
            servers["Flask + gunicorn"] = serving(_flask(table.url, folder))
        for line in _polls(kind, table, servers, rounds):
            click.echo(line)


def _show_rows(tables: dict[str, Table], serving: Serving, folder: Path, streams: Sequence[int]) -> None:
    click.echo(
        "\n| database | streams | half of them | all of them | slowest of 12 | CPU for all | memory each | < 300 ms |"
    )
    click.echo("|---|---|---|---|---|---|---|---|")
    for kind, table in tables.items():
        for number in streams:
            click.echo(_rows(kind, table, serving(_ours(table.url, folder)), number))


def _show_commits(table: Table) -> None:
    click.echo("\n| database | a change with its event | without NOTIFY | ratio |")
    click.echo("|---|---|---|---|")
    for line in _commits("PostgreSQL", table):
        click.echo(line)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)
@click.option("--streams", type=click.IntRange(1), multiple=True, default=[1000, 5000], show_default=True)
@click.option("--only", type=click.Choice(["polls", "rows", "commits"]), help="Only this table.")
def main(rounds: int, streams: tuple[int, ...], only: str | None) -> None:
    """Measure polls, live events and what a notification costs."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    cluster, redis = PostgresServer(), RedisBroker()
    with tempfile.TemporaryDirectory(prefix="bench-live-") as place, ExitStack() as stack:
        folder = Path(place)
        for one in (cluster, redis):
            stack.callback(one.stop)
        cluster.start()
        redis.resume()
        tables = {"SQLite": Table(f"sqlite:///{folder / 'live.db'}"), "PostgreSQL": Table(cluster.create_database())}

        def serving(made: Server) -> Server:
            stack.callback(made.stop)
            made.wait()
            return made

        show: dict[str, Callable[[], None]] = {
            "polls": lambda: _show_polls(tables, serving, folder, redis.url, rounds),
            "rows": lambda: _show_rows(tables, serving, folder, streams),
            "commits": lambda: _show_commits(tables["PostgreSQL"]),
        }
        for name, run in show.items():
            if only in (None, name):
                run()
        for table in tables.values():
            table.database.close()


if __name__ == "__main__":
    main()
