"""`python -m bench.webhooks`: how many webhooks one process delivers. Prints a table for docs/webhooks.md.

Rules:

- The receiver is a process of its own on this machine, and answers at once; so what is measured is Videodock's part:
  the status of the task, the signature, a connection for each message, and the record of each attempt.
- `backlog` is a queue that was there before; `paced` adds 100 events a second, each in a transaction of its own, and
  measures from the commit until the receiver has the message.
- Processor time and round trips to the database are those of the delivering process, for each message of the backlog:
  they are the same on a busy machine.
"""

import asyncio
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

import click
import structlog
from sqlalchemy import Engine, event

from bench.machine import describe
from server.bootstrap import Services, new_id, utc_now
from server.database import migration
from server.events.follower import Follower
from server.settings import Settings
from server.tasks import events
from server.uploads.new_upload import NewUpload
from tests.harness.postgres import PostgresServer

GOAL = 100
"""Messages a second."""
TASKS = 500


class _Receiver(asyncio.Protocol):
    """Answers 204, and prints the id of each message."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._data = transport, b""

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, end, body = self._data.partition(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        if end and len(body) >= int(fields[b"content-length"]):
            click.echo(fields[b"webhook-id"].decode())
            self._transport.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
            self._transport.close()


async def _receive() -> None:
    server = await asyncio.get_running_loop().create_server(_Receiver, "127.0.0.1", 0, backlog=1024)
    click.echo(server.sockets[0].getsockname()[1])
    await server.serve_forever()


class Receiver:
    """The process, and when each message came."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "bench.webhooks", "--receive"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        self.came: dict[str, float] = {}
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.came.setdefault(line.strip(), time.monotonic())

    def wait(self, count: int) -> float:
        """Seconds until so many messages have come since now."""
        began = time.monotonic()
        while len(self.came) < count:
            time.sleep(0.005)
        return time.monotonic() - began

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()
        self._thread.join()


@contextmanager
def _services(folder: Path, url: str) -> Iterator[Services]:
    settings = Settings(data_dir=folder, database_url=url, webhook_allow_private="on", disk_reserve="0")
    folder.mkdir()
    migration.upgrade(settings.sqlalchemy_url)
    with Services.open(settings) as services:
        services.claim_store()
        yield services


def _make_tasks(services: Services) -> list[str]:
    made = []
    for _ in range(TASKS):
        upload = new_id()
        new = NewUpload(id=upload, owner="default", protocol="tus", task_id=upload, length=1, filename="clip.mp4")
        services.repository.insert(new)
        path = services.store.local_path(upload)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
        services.completion.complete_verified({upload: "mp4"}, upload)
        made.append(upload)
    return made


def _add(services: Services, task: str) -> None:
    with services.database.write() as session:
        events.append(session, task, "completed", owner="default", at=utc_now())


@contextmanager
def _delivering(services: Services) -> Iterator[Follower]:
    (deliverer,) = services.events.make_followers()
    deliverer.start()
    try:
        yield deliverer
    finally:
        deliverer.stop()


@contextmanager
def _round_trips(engine: Engine) -> Iterator[list[int]]:
    """Counts statements, begins and ends of transactions, and the check of a connection that is taken from the pool."""
    count = [0]

    def note(*_: object) -> None:
        count[0] += 1

    names = ["before_cursor_execute", "begin", "commit", "rollback"]
    pool = ["checkout"] if engine.dialect.name == "postgresql" else []
    listened = [(engine, name) for name in names] + [(engine.pool, name) for name in pool]
    for target, name in listened:
        event.listen(target, name, note)
    try:
        yield count
    finally:
        for target, name in listened:
            event.remove(target, name, note)


@dataclass(frozen=True)
class Figures:
    """Messages a second of a backlog, with milliseconds of a processor and round trips for each; and at 100 a second
    the rate, and milliseconds from commit to receiver."""

    backlog: float
    cpu: float
    trips: float
    paced: float
    median: float
    p95: float


def measure(services: Services, messages: int) -> Figures:
    """All figures of one database."""
    tasks = _make_tasks(services)
    receiver = Receiver()
    try:
        services.events.webhooks.add(f"http://127.0.0.1:{receiver.port}/", ["task.completed"], None)
        for number in range(messages):
            _add(services, tasks[number % TASKS])
        with _round_trips(services.database.engine) as trips, _delivering(services):
            used = time.process_time()
            rate = messages / receiver.wait(messages)
            used, asked = time.process_time() - used, trips[0]
            began, committed = time.monotonic(), []
            for number in range(messages):
                time.sleep(max(0.0, began + number / GOAL - time.monotonic()))
                _add(services, tasks[number % TASKS])
                committed.append(time.monotonic())
            receiver.wait(2 * messages)
            took = max(receiver.came.values()) - began
        paced = sorted(receiver.came.values())[-messages:]
        late = [1000 * (came - at) for came, at in zip(paced, committed, strict=True)]
        middle, high = median(late), quantiles(late, n=20)[-1]
        return Figures(rate, 1000 * used / messages, asked / messages, messages / took, middle, high)
    finally:
        receiver.close()


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--messages", default=2000, show_default=True, help="Messages of each measurement.")
@click.option("--receive", is_flag=True, hidden=True)
def main(messages: int, receive: bool) -> None:
    """Deliver webhooks on each kind of database."""
    if receive:
        asyncio.run(_receive())
        return
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    postgres = PostgresServer()
    postgres.start()
    try:
        with tempfile.TemporaryDirectory(prefix="bench-webhooks-") as place:
            click.echo(f"{describe(Path(place), [], {})}\n")
            click.echo(
                "| database | backlog, messages/s | CPU-ms a message | round trips a message | paced, messages/s "
                "| commit to receiver, median ms | p95 ms |"
            )
            click.echo("| --- | --- | --- | --- | --- | --- | --- |")
            is_quick = True
            for name, url in (("SQLite", ""), ("PostgreSQL", postgres.create_database())):
                with _services(Path(place) / name, url) as services:
                    found = measure(services, messages)
                first = f"| {name} | {found.backlog:.0f} | {found.cpu:.1f} | {found.trips:.1f} "
                click.echo(f"{first}| {found.paced:.0f} | {found.median:.0f} | {found.p95:.0f} |")
                is_quick = is_quick and found.backlog >= GOAL
    finally:
        postgres.stop()
    sys.exit(0 if is_quick else 1)


if __name__ == "__main__":
    main()
