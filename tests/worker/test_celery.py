"""Celery's workers, real ones over real brokers: what happens to messages, workers and cables, and that no task cares.

Nothing here asserts what a broker guarantees. The table does: each task ends once.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest

from server.bootstrap import Services
from server.database.models import DEFAULT_OWNER
from server.errors import StartError
from server.lifecycle import TaskStatus
from server.settings import Settings
from server.tasks import outbox, queue
from server.worker import check_celery
from server.worker.dispatcher import OUTSTANDING, Dispatcher, dispatcher_of
from server.worker.scheduler import scheduler_of
from tests.harness.brokers import Broker
from tests.harness.gate import Gate
from tests.harness.migrated import migrate
from tests.harness.namespace import Namespace
from tests.harness.rows import execute, query
from tests.harness.waiting import until, within
from tests.harness.worker_process import WorkerProcess
from tests.samples import make
from tests.worker.test_scheduler import upload

pytestmark = pytest.mark.turns(3)  # brokers and their troubles

# Where the broker's kind can make no difference, one is enough.
RABBITMQ = pytest.mark.parametrize("broker", ["rabbitmq"], indirect=True)
REDIS = pytest.mark.parametrize("broker", ["redis"], indirect=True)


@dataclass
class Deployment:
    """A data folder, a database, a broker, the dispatcher and its workers."""

    folder: Path
    broker: Broker
    url: str
    services: Services
    dispatcher: Dispatcher
    workers: list[WorkerProcess] = field(default_factory=list)

    def worker(self, ready: str = "videodock-", **settings: object) -> WorkerProcess:
        """Start a worker; it has one slot unless `settings` say otherwise."""
        given = {**dict_of(self.services.settings), "encode_limit": 1, **settings}
        worker = WorkerProcess(self.folder / f"worker-{len(self.workers)}", **given)  # type: ignore[arg-type]
        self.workers.append(worker)
        worker.start(ready)
        return worker

    def upload(self, path: Path, media_type: str | None = "mp4") -> str:
        """A complete upload; its task waits."""
        return upload(self.services, path, media_type)

    def row(self, task_id: str) -> dict[str, Any]:
        """The task as it stands."""
        return query(self.url, "SELECT * FROM tasks WHERE id = :id", id=task_id)[0]

    def ended(self, task_id: str, expected: TaskStatus = TaskStatus.COMPLETED, seconds: float = 30) -> None:
        """Wait until the task has ended, and check that it ended once."""
        until(lambda: self.row(task_id)["status"] == expected, seconds=seconds, what=f"the task is {expected}")
        assert self.events(task_id).count(expected.value) == 1

    def events(self, task_id: str) -> list[str]:
        """The types of its events, in order."""
        rows = query(
            self.url, "SELECT type FROM task_events WHERE task_id = :id AND upload_id IS NULL ORDER BY id", id=task_id
        )
        return [row["type"] for row in rows]


def dict_of(settings: Settings) -> dict[str, object]:
    names = ("data_dir", "database_url", "broker_url", "scheduler", "task_lease", "accept")
    return {name: getattr(settings, name) for name in names}


@pytest.fixture
def deployment(tmp_path: Path, postgres_url: str, broker: Broker) -> Iterator[Deployment]:
    migrate(postgres_url)
    settings = Settings(
        data_dir=tmp_path / "data",
        database_url=postgres_url,
        broker_url=broker.url,
        scheduler="celery",
        task_lease=3,
        sweep_interval=1,
        accept="any",
    )
    with Services.open(settings) as services:
        services.claim_store()
        made = Deployment(tmp_path, broker, postgres_url, services, dispatcher_of(services))
        made.dispatcher.start()
        try:
            yield made
        finally:
            for worker in made.workers:
                worker.close()
            made.dispatcher.stop()


def tiny(folder: Path) -> Path:
    """A file that no step applies to."""
    path = folder / "note.txt"
    path.write_text("nothing to process")
    return path


@RABBITMQ
def test_a_worker_that_is_killed_is_replaced(deployment: Deployment, gate: Gate, tmp_path: Path) -> None:
    """kill -9 in the middle of a step: after the lease another worker ends the task, once."""
    first = deployment.worker(ffmpeg=gate.path)
    task_id = deployment.upload(make(tmp_path, "a.mp4"))
    until(gate.waiting, seconds=20, what="the step waits at the gate")
    assert deployment.row(task_id)["worker"].startswith("celery@")
    second = deployment.worker()
    first.kill()
    deployment.ended(task_id)
    row = deployment.row(task_id)
    assert (row["attempt"], row["failures"]) == (2, 1)
    until(lambda: not deployment.services.results.attempts(), seconds=5, what="what the dead worker left is removed")
    second.stop()


@pytest.mark.sampled(1)
def test_a_repeated_message_is_processed_once(deployment: Deployment, gate: Gate, tmp_path: Path) -> None:
    """The same id twenty times, before and after: one attempt. What names no task at all is passed over."""
    deployment.dispatcher.stop()
    task_id = deployment.upload(make(tmp_path, "a.mp4"))
    deployment.broker.send([task_id] * 20 + ["no such task", None, {"a": 1}])
    workers = [deployment.worker(), deployment.worker()]
    deployment.ended(task_id)
    deployment.broker.send([task_id] * 5)
    until(lambda: deployment.broker.held() == 0, seconds=20, what="every message was taken")
    for worker in workers:
        worker.stop()
    assert deployment.row(task_id)["attempt"] == 1
    assert deployment.events(task_id) == ["uploaded", "processing", "file_completed", "completed"]


@pytest.mark.sampled(1)
def test_a_lost_message_is_sent_again(deployment: Deployment, tmp_path: Path) -> None:
    """The queue is purged while tasks wait: they run all the same, in a matter of seconds."""
    tasks = [deployment.upload(tiny(tmp_path), None) for _ in range(3)]
    until(lambda: deployment.broker.held() == 3, seconds=10, what="all were sent")
    deployment.broker.purge()
    deployment.worker()
    for task_id in tasks:
        deployment.ended(task_id)
        assert deployment.row(task_id)["attempt"] == 1


@pytest.mark.sampled(1)
def test_a_busy_worker_prefetches_no_message(deployment: Deployment, gate: Gate, tmp_path: Path) -> None:
    """A worker is busy for long: what comes stays in the broker for others; once it is free it takes messages again."""
    deployment.worker(ffmpeg=gate.path)
    long = deployment.upload(make(tmp_path, "a.mp4"))
    until(gate.waiting, seconds=20, what="the step waits at the gate")
    small = tiny(tmp_path)
    tasks = [deployment.upload(small, None) for _ in range(3)]
    until(lambda: deployment.broker.held() == 3, seconds=10, what="all were sent")
    assert {deployment.broker.held() for _ in range(50)} == {3}, "nobody takes one, not even to give it back"
    other = deployment.worker()
    for task_id in tasks:
        deployment.ended(task_id)
    other.stop()
    late = deployment.upload(small, None)
    until(lambda: deployment.broker.held() == 1, seconds=10, what="it was sent")
    gate.open()
    for task_id in (long, late):
        deployment.ended(task_id)
        assert deployment.row(task_id)["attempt"] == 1


@RABBITMQ
def test_a_cancel_reaches_a_worker(deployment: Deployment, gate: Gate, tmp_path: Path) -> None:
    """Cancelled while FFmpeg runs: its processes are gone in about two seconds, and so is what it made."""
    worker = deployment.worker(ffmpeg=gate.path)
    task_id = deployment.upload(make(tmp_path, "a.mp4"))
    until(gate.waiting, seconds=20, what="the step waits at the gate")
    with deployment.services.database.write() as session:
        queue.cancel(session, task_id, DEFAULT_OWNER, now=deployment.services.clock())
    within(lambda: not gate.waiting(), seconds=2.5, what="the step's processes are gone")
    within(lambda: not deployment.services.results.attempts(), seconds=2.5, what="the partial output is gone")
    worker.stop()
    assert deployment.events(task_id) == ["uploaded", "processing", "cancelled"]


@pytest.mark.sampled(1)
@pytest.mark.turns(1)
def test_three_workers_complete_thirty_tasks_once(deployment: Deployment, tmp_path: Path) -> None:
    """More tasks than workers, and every one of them is claimed once and ends once; all the workers had some."""
    workers = [deployment.worker() for _ in range(3)]
    small = tiny(tmp_path)
    tasks = [deployment.upload(small, None) for _ in range(30)]
    for task_id in tasks:
        deployment.ended(task_id)
    rows = query(deployment.url, "SELECT attempt, failures FROM tasks")
    assert {(row["attempt"], row["failures"]) for row in rows} == {(1, 0)}
    counts = query(
        deployment.url, "SELECT type, count(*) AS number FROM task_events WHERE upload_id IS NULL GROUP BY type"
    )
    assert {row["type"]: row["number"] for row in counts} == dict.fromkeys(
        ("uploaded", "processing", "file_completed", "completed"), 30
    )
    for worker in workers:
        worker.stop()


@REDIS
def test_a_stopped_worker_gives_its_task_back(deployment: Deployment, gate: Gate, tmp_path: Path) -> None:
    """SIGTERM in the middle of a step: it ends by itself, the task is another's at once, and nothing failed."""
    first = deployment.worker(ffmpeg=gate.path, task_lease=200)
    task_id = deployment.upload(make(tmp_path, "a.mp4"))
    until(gate.waiting, seconds=20, what="the step waits at the gate")
    first.stop()
    assert not gate.waiting()
    deployment.worker()
    deployment.ended(task_id)
    row = deployment.row(task_id)
    assert (row["attempt"], row["failures"]) == (2, 0)


@RABBITMQ
def test_owners_take_turns(deployment: Deployment, tmp_path: Path) -> None:
    """One owner has many tasks, another comes with one: it is the next that is sent. Who is at his limit is passed."""
    deployment.dispatcher.stop()
    small = tiny(tmp_path)
    many = [deployment.upload(small, None) for _ in range(5)]
    late = deployment.upload(small, None)
    execute(deployment.url, "UPDATE tasks SET owner = 'late' WHERE id = :id", id=late)

    def due(owner_limit: int, limit: int = 10) -> list[str]:
        settings = {"node": deployment.services.node, "lease": 3.0, "owner_limit": owner_limit, "limit": limit}
        with deployment.services.database.read() as session:
            return [task_id for task_id, _ in outbox.due(session, **settings)]  # type: ignore[arg-type]

    assert due(0) == [many[0], late, *many[1:]]
    assert due(0, limit=3) == [many[0], late, many[1]]
    assert due(2) == [many[0], late, many[1]]
    with deployment.services.database.write() as session:
        now, node = deployment.services.clock(), deployment.services.node
        assert queue.claim(session, "celery@x", node=node, lease=60.0, now=now, task_id=many[0])
    assert due(1) == [late]
    assert due(2) == [late, many[1]]


@pytest.mark.sampled(1)
def test_the_number_of_messages_in_the_broker_is_bounded(deployment: Deployment, tmp_path: Path) -> None:
    """More tasks than that, and nobody works: the broker holds so many messages, also when they are due again."""
    small = tiny(tmp_path)
    for _ in range(OUTSTANDING + 20):
        deployment.upload(small, None)
    until(lambda: deployment.broker.held() == OUTSTANDING, seconds=30, what="the broker is as full as it may be")
    deployment.dispatcher.stop()
    again = dispatcher_of(deployment.services)  # it does not know what was sent
    again.start()
    try:
        began = time.monotonic()
        until(lambda: again._looked > began, seconds=10, what="it has looked")
        assert again.status() == "running"
        assert deployment.broker.held() == OUTSTANDING
    finally:
        again.stop()


@REDIS
def test_an_embedded_scheduler_leaves_tasks_of_celery_workers(
    deployment: Deployment, gate: Gate, tmp_path: Path
) -> None:
    """One that takes the lead of the folder frees no task of a live Celery worker, nor removes what it makes."""
    deployment.worker(ffmpeg=gate.path, task_lease=200)
    task_id = deployment.upload(make(tmp_path, "a.mp4"))
    until(gate.waiting, seconds=20, what="the step waits at the gate")
    deployment.dispatcher.stop()
    made = deployment.services.results.attempts()
    assert made == [(task_id, 1)]
    embedded = scheduler_of(deployment.services)
    embedded.start()
    try:
        assert embedded.status() == "running"
        assert deployment.services.results.attempts() == made
        gate.open()
        deployment.ended(task_id)
        assert deployment.row(task_id)["attempt"] == 1
    finally:
        embedded.stop()


@RABBITMQ
def test_a_worker_without_network_is_replaced_and_repeats_nothing(deployment: Deployment, tmp_path: Path) -> None:
    """Its cable is pulled in the middle of a step: it stops by itself, another ends the task, once; and when the
    cable is back it works on, and does nothing twice."""
    gate = Gate(tmp_path)
    with Namespace() as away:
        settings = deployment.services.settings
        there = {name: moved(getattr(settings, name), away) for name in ("database_url", "broker_url")}
        cut = WorkerProcess(tmp_path / "cut", before=away.before, **dict_of(settings) | there | {"ffmpeg": gate.path})
        deployment.workers.append(cut)
        cut.start("videodock-")
        task_id = deployment.upload(make(tmp_path, "a.mp4"))
        until(gate.waiting, seconds=20, what="the step waits at the gate")
        other = deployment.worker()
        away.cut()
        deployment.ended(task_id)
        result = query(deployment.url, "SELECT id FROM task_files WHERE task_id = :id", id=task_id)[0]["id"]
        poster = deployment.services.results.local_path(task_id, result, "poster.jpg")
        assert poster is not None
        before = poster.stat().st_mtime_ns, deployment.row(task_id), deployment.events(task_id)
        until(lambda: not gate.waiting(), seconds=40, what="it stops by itself, though nobody can tell it to")
        gate.open()
        away.mend()
        other.stop()
        next_id = deployment.upload(make(tmp_path, "b.mp4"))
        deployment.ended(next_id, seconds=60)
        assert deployment.row(next_id)["attempt"] == 1
        assert (poster.stat().st_mtime_ns, deployment.row(task_id), deployment.events(task_id)) == before
        cut.close()
    assert before[1]["attempt"] == 2


def moved(url: str, away: Namespace) -> str:
    """The same server, as it is reached from inside a namespace."""
    parts = urlsplit(url)
    assert parts.port
    user = parts.netloc.rpartition("@")[0]
    return urlunsplit(parts._replace(netloc=f"{user}@{away.address}:{away.relay(parts.port)}"))


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"broker_url": "redis://127.0.0.1/0"}, "PostgreSQL"),
        ({"database_url": "postgresql://u@h/d"}, "broker_url"),
        ({"database_url": "postgresql://u@h/d", "broker_url": "amqp://u:se/cret@h"}, "%2F"),
    ],
)
def test_unusable_celery_settings_are_refused_with_a_sentence(given: dict[str, str], word: str, tmp_path: Path) -> None:
    """SQLite, no broker, a broker's URL that is none: said before anything starts, and without a password."""
    settings = Settings(data_dir=tmp_path, scheduler="celery", **given)  # type: ignore[arg-type]
    with pytest.raises(StartError, match=word) as refused:
        check_celery(settings)
    assert "cret" not in str(refused.value)


def test_a_missing_celery_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Celery installed, the sentence names what to install."""
    settings = Settings(data_dir=tmp_path, database_url="postgresql://u@h/d", broker_url="redis://h")
    monkeypatch.setattr("server.worker.find_spec", lambda name: None)
    with pytest.raises(StartError, match=r"\.\[celery\].*celery\[redis\]"):
        check_celery(settings)
