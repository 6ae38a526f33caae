"""The hub with both databases and Redis, also while they are restarted in the middle of a stream."""

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from server.database.models import DEFAULT_OWNER
from server.database.session import AWAY, Database
from server.events.hub import EventHub, Stream
from server.events.progress import Interest
from server.events.redis_link import RedisLink
from server.events.task_cache import TaskCache
from server.tasks import events
from tests.harness.brokers import Broker
from tests.harness.migrated import migrate
from tests.harness.postgres import PostgresServer
from tests.tasks.queued_tasks import NOW, new_id

ALL = Interest(None, None)


class Process:
    """A process with a hub."""

    def __init__(self, url: str, redis_url: str = "") -> None:
        self.database = Database(url, 4)
        self.redis = RedisLink.open(redis_url) if redis_url else None
        if self.redis is not None:
            self.database.on_events = self.redis.announce
        self.hub = EventHub(database=self.database, cache=TaskCache(self.database, self.redis), redis=self.redis)

    def add(self, task: str, number: int = 1) -> None:
        """Commit so many events, a transaction each."""
        for _ in range(number):
            with self.database.write() as session:
                events.append(session, task, "waiting", owner=DEFAULT_OWNER, at=NOW)

    def close(self) -> None:
        self.hub.stop()
        self.hub.join(10)
        if self.redis is not None:
            self.redis.close()
        self.database.close()


@contextmanager
def processes(url: str, redis_url: str = "") -> Iterator[tuple[Process, Process]]:
    """Two of them on one database."""
    migrate(url)
    both = Process(url, redis_url), Process(url, redis_url)
    try:
        yield both
    finally:
        for process in both:
            process.close()


async def take(stream: Stream, number: int, seconds: float = 60) -> list[int]:
    """The numbers of so many messages."""
    found: list[int] = []
    deadline = time.monotonic() + seconds
    while len(found) < number:
        assert time.monotonic() < deadline, f"{len(found)} of {number}"
        await stream.wait(0.2)
        found += [message.what.id for message in stream.take() if hasattr(message.what, "id")]
    return found


@pytest.mark.parametrize("with_redis", [False, True])
def test_a_commit_of_another_process_wakes_the_hub(database_url: str, redis_server: Broker, with_redis: bool) -> None:
    """By LISTEN, by the number of SQLite's commits, or by Redis: within 300 ms, most far below."""
    redis_server.resume()

    async def go(web: Process, worker: Process) -> list[float]:
        task, found = new_id(), []
        stream = await web.hub.open(Interest(task, None), None)
        for _ in range(8):
            await asyncio.to_thread(worker.add, task)
            began = time.monotonic()
            await take(stream, 1)
            found.append(time.monotonic() - began)
        web.hub.close(stream)
        assert web.redis is None or not web.redis.is_away
        return found

    with processes(database_url, redis_server.url if with_redis else "") as (web, worker):
        seconds = sorted(asyncio.run(go(web, worker)))
    assert seconds[len(seconds) // 2] < 0.3, seconds


def test_a_hub_without_streams_reads_nothing(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader ends some time after the last stream, and a new stream begins a new one without a gap."""
    monkeypatch.setattr("server.events.hub._IDLE_SECONDS", 0.1)

    async def go(web: Process, worker: Process) -> None:
        task = new_id()
        stream = await web.hub.open(ALL, None)
        await asyncio.to_thread(worker.add, task)
        (first,) = await take(stream, 1)
        web.hub.close(stream)
        while any(thread.name == "events" for thread in threading.enumerate()):
            await asyncio.sleep(0.05)
        await asyncio.to_thread(worker.add, task, 3)
        assert web.hub.position == first
        stream = await web.hub.open(ALL, first)
        assert stream.is_behind
        assert web.hub.position == first + 3
        web.hub.close(stream)

    with processes(database_url) as (web, worker):
        asyncio.run(go(web, worker))


def test_a_slow_stream_holds_few_messages(database_url: str) -> None:
    """A stream whose sender takes nothing drops its messages, and knows that it has to read the table."""

    async def go(web: Process, worker: Process) -> None:
        slow, quick = await web.hub.open(ALL, None), await web.hub.open(ALL, None)
        for _ in range(10):
            await asyncio.to_thread(worker.add, new_id(), 20)
            assert len(await take(quick, 20)) == 20
        assert (slow.is_behind, quick.is_behind) == (True, False)
        assert len(slow.take()) <= 64

    with processes(database_url) as (web, worker):
        asyncio.run(go(web, worker))


def test_redis_is_restarted_in_mid_stream(database_url: str, redis_server: Broker) -> None:
    """Killed and started again while events come: each arrives once, by the database's own wake meanwhile."""
    redis_server.resume()

    async def go(web: Process, worker: Process) -> None:
        task = new_id()
        stream = await web.hub.open(Interest(task, None), None)
        await asyncio.to_thread(worker.add, task, 3)
        found = await take(stream, 3)
        redis_server.halt(signal.SIGKILL)
        await asyncio.to_thread(worker.add, task, 3)
        found += await take(stream, 3)
        redis_server.resume()
        await asyncio.to_thread(worker.add, task, 3)
        found += await take(stream, 3)
        assert found == sorted(set(found))
        assert len(found) == 9

    try:
        with processes(database_url, redis_server.url) as (web, worker):
            asyncio.run(go(web, worker))
    finally:
        redis_server.resume()


@pytest.fixture
def cluster() -> Iterator[PostgresServer]:
    """A PostgreSQL of its own, for a test that restarts it."""
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.stop()


def test_postgresql_is_restarted_while_it_is_listened_to(cluster: PostgresServer) -> None:
    """What was committed before and after the restart arrives once; notifications wake the hub again."""

    async def go(web: Process, worker: Process) -> None:
        task = new_id()
        stream = await web.hub.open(Interest(task, None), None)
        await asyncio.to_thread(worker.add, task, 2)
        found = await take(stream, 2)
        cluster.halt()
        await asyncio.sleep(1.0)
        cluster.resume()
        await asyncio.to_thread(_patiently, lambda: worker.add(task))
        found += await take(stream, 1)
        await asyncio.sleep(3.0)  # the hub listens again
        began = time.monotonic()
        await asyncio.to_thread(worker.add, task)
        found += await take(stream, 1)
        assert time.monotonic() - began < 1.0
        assert found == sorted(set(found))

    with processes(cluster.create_database()) as (web, worker):
        asyncio.run(go(web, worker))


def _patiently(work: Callable[[], None]) -> None:
    for _ in range(50):
        try:
            return work()
        except AWAY:
            time.sleep(0.2)
    return work()
