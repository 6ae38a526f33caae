"""The cache of task states, with a real Redis, on both databases."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, update
from structlog.testing import capture_logs

from server.database.models import Task, TaskFile, TaskStep
from server.database.session import Database
from server.events.redis_link import RedisLink
from server.events.task_cache import SECONDS, TaskCache
from server.lifecycle import StepStatus, TaskStatus
from server.tasks import queue, status_rows
from tests.harness.brokers import PASSWORD, Broker
from tests.harness.migrated import migrate
from tests.tasks.queued_tasks import NOW, claimed, new_id, register


class Process:
    """A process with a cache, whose questions to the database are counted."""

    def __init__(self, url: str, redis_url: str) -> None:
        self.database = Database(url, 4)
        self.redis = RedisLink.open(redis_url) if redis_url else None
        self.cache = TaskCache(self.database, self.redis)
        self.asked = 0
        real = self.database.look_up

        async def counted(work: Callable[[Any], Any]) -> Any:
            self.asked += 1
            return await real(work)

        self.database.look_up = counted  # type: ignore[method-assign]  # only counted

    def close(self) -> None:
        self.cache.close()
        if self.redis is not None:
            self.redis.close()
        self.database.close()


@pytest.fixture
def begin(database_url: str) -> Iterator[Callable[[str], Process]]:
    """Begin a process."""
    migrate(database_url)
    begun: list[Process] = []

    def make(redis_url: str = "") -> Process:
        begun.append(Process(database_url, redis_url))
        return begun[-1]

    yield make
    for process in begun:
        process.close()


async def poll(process: Process, task: str) -> str:
    state = await process.cache.find(task)
    assert state is not None
    return str(state.rows.task.status.value)


async def eventually(check: Callable[[], Awaitable[bool]], seconds: float) -> float:
    """Seconds until it was so."""
    began = time.monotonic()
    while not await check():
        assert time.monotonic() - began < seconds
        await asyncio.sleep(0.02)
    return time.monotonic() - began


def test_rows_survive_the_way_through_json(begin: Callable[..., Process]) -> None:
    """What is unpacked equals what was packed, with its times and states."""
    database = begin().database
    task = register(database, files=2)
    claimed(database, task_id=task)
    with database.look() as connection:
        rows = status_rows.look(connection, task)
    assert rows is not None
    again = status_rows.unpack(status_rows.pack(rows))
    assert tuple(again.task) == tuple(rows.task)
    assert [tuple(file) for file in again.files] == [tuple(file) for file in rows.files]
    assert again.task.status is TaskStatus.PROCESSING


def test_rows_of_several_tasks_are_those_of_each(begin: Callable[..., Process]) -> None:
    """Their own files and steps, with the types that the tables have; what is not there is left out."""
    database = begin().database
    tasks = [register(database, files=2), register(database)]
    claimed(database, task_id=tasks[1])
    with database.write() as session:
        (file,) = queue.files_of(session, tasks[1])
        session.execute(
            update(TaskFile)
            .where(TaskFile.id == file.id)
            .values(duration=0.1 + 0.2, hdr=True, remarks=["a"], error_code="x", error_params={"n": 1, "ü": None})
        )
        session.execute(insert(TaskStep).values(file_id=file.id, name="probe", position=1, status=StepStatus.WAITING))
        moved = {"created_at": NOW + timedelta(microseconds=120), "gather_until": NOW}
        session.execute(update(Task).where(Task.id == tasks[0]).values(moved))
    with database.look() as connection:
        found = status_rows.look_all(connection, [*tasks, new_id()])
        assert list(found) == tasks or list(found) == tasks[::-1]
        assert all(status_rows.look(connection, task) == found[task] for task in tasks)
    one, other = (found[task] for task in tasks)
    assert (one.task.created_at, one.task.gather_until, one.arrived) == (NOW + timedelta(microseconds=120), NOW, 2)
    assert [file.position for file in one.files] == [1, 2]
    (file,) = other.files
    assert (file.duration, file.hdr, file.remarks, file.error_params) == (0.1 + 0.2, True, ["a"], {"n": 1, "ü": None})
    ((step,),) = other.steps.values()
    assert (step.file_id, step.name, step.status) == (file.id, "probe", StepStatus.WAITING)
    with database.read() as session:
        expected = session.get_one(TaskFile, file.id)
        assert all(
            (type(value), value) == (type(getattr(expected, name)), getattr(expected, name))
            for name, value in file._asdict().items()
        )


def test_polls_at_once_share_a_statement(begin: Callable[..., Process]) -> None:
    """200 polls of 20 tasks on PostgreSQL ask it a few times, and each gets its own task as it is."""
    process = begin()
    tasks = [register(process.database) for _ in range(20)]

    async def go() -> None:
        states = await asyncio.gather(*(process.cache.find(task) for task in tasks * 10))
        assert [state and state.rows.task.id for state in states] == tasks * 10
        if not process.database.looks_at_once:
            assert process.asked <= 2
        claimed(process.database, task_id=tasks[0])
        assert await poll(process, tasks[0]) == "processing"
        assert await process.cache.find(new_id()) is None

    asyncio.run(go())


def test_polls_of_a_running_task_ask_no_database(begin: Callable[..., Process], redis_server: Broker) -> None:
    """While a worker follows a task, the polls of two processes are answered from Redis, and are a second old at most;
    they belong to the owner that the row has."""
    redis_server.resume()
    worker, web, other = (begin(redis_server.url) for _ in range(3))
    task = register(worker.database, owner="alice")
    claim = claimed(worker.database, task_id=task)

    async def go() -> None:
        with worker.cache.following(task):
            await eventually(lambda: _is_far(web, task), 10)
            asked, ends = web.asked + other.asked, time.monotonic() + 2
            while time.monotonic() < ends:
                assert await poll(web, task) == await poll(other, task) == "processing"
                await asyncio.sleep(0.01)
            assert web.asked + other.asked == asked
            state = await web.cache.find(task)
            assert state is not None
            assert state.rows.task.owner == "alice"
            with worker.database.write() as session:
                assert queue.heartbeat(session, claim, lease=30, now=NOW, progress=40, current_file=1, eta_seconds=None)

            async def is_seen() -> bool:
                seen = await web.cache.find(task)
                return seen is not None and seen.rows.task.progress == 40

            await eventually(is_seen, 2 * SECONDS)
        with worker.database.write() as session:
            queue.cancel(session, task, None, now=NOW)
        # The other process was not told of it.
        assert await eventually(lambda: _is(other, task, "cancelled"), 5) <= SECONDS + 0.3

    asyncio.run(go())


async def _is_far(process: Process, task: str) -> bool:
    return await process.cache._far(task) is not None


async def _is(process: Process, task: str, status: str) -> bool:
    return await poll(process, task) == status


def test_many_polls_of_a_waiting_task_are_one_question(begin: Callable[..., Process], redis_server: Broker) -> None:
    """A state that one process has read answers the others for a second; the change of a request is seen at once."""
    redis_server.resume()
    web, other = begin(redis_server.url), begin(redis_server.url)
    task = register(web.database)

    async def go() -> None:
        assert await poll(web, task) == "uploaded"
        await eventually(lambda: _is_far(other, task), 2)
        before = other.asked
        for _ in range(50):
            assert await poll(web, task) == await poll(other, task) == "uploaded"
        assert (web.asked, other.asked - before) == (1, 0)
        with web.database.write() as session:
            queue.cancel(session, task, None, now=NOW)
        await web.cache.forget(task)
        assert await poll(web, task) == "cancelled"
        assert await web.cache.find(new_id()) is None

    asyncio.run(go())


def test_without_redis_the_database_answers(begin: Callable[..., Process], redis_server: Broker) -> None:
    """Redis is killed between polls and comes back: no error, no long wait, one warning without the password."""
    redis_server.resume()
    web = begin(redis_server.url)
    task = register(web.database)

    async def go() -> None:
        assert await poll(web, task) == "uploaded"
        with capture_logs() as lines:  # before it is away: the write of that poll may notice it first
            redis_server.halt(signal.SIGKILL)
            web.cache.forget_here(task)
            began = time.monotonic()
            for _ in range(100):
                assert await poll(web, task) == "uploaded"
            assert time.monotonic() - began < 3
            redis_server.resume()
            await eventually(lambda: _is_back(web, task), 10)
        assert [line["event"] for line in lines] == ["redis_away", "redis_back"]
        assert PASSWORD not in str(lines)

    try:
        asyncio.run(go())
    finally:
        redis_server.resume()


async def _is_back(process: Process, task: str) -> bool:
    await poll(process, task)
    return not process.redis.is_away and await _is_far(process, task)  # type: ignore[union-attr]  # it has one


def test_sqlite_is_asked_again_after_a_commit_only(begin: Callable[..., Process]) -> None:
    """Without Redis: on SQLite polls ask only when something was committed since; every change is seen at once."""
    web, other = begin(), begin()
    task = register(other.database)
    is_sqlite = web.database.engine.dialect.name == "sqlite"

    async def go() -> None:
        for _ in range(20):
            assert await poll(web, task) == "uploaded"
        assert web.asked == (1 if is_sqlite else 20)
        with other.database.write() as session:
            queue.cancel(session, task, None, now=NOW)
        assert await poll(web, task) == "cancelled"

    asyncio.run(go())
