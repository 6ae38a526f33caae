"""Celery as an installation sees it: a server, workers beside it, and a broker that comes and goes."""

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartServer
from tests.harness.brokers import PASSWORD, Broker
from tests.harness.gate import Gate
from tests.harness.multipart import curl
from tests.harness.receiver import Receiver
from tests.harness.rows import query
from tests.harness.server_process import ServerProcess
from tests.harness.tasks import finish, follow, poster
from tests.harness.waiting import until, within
from tests.harness.worker_process import WorkerProcess
from tests.samples import make

pytestmark = [pytest.mark.acceptance, pytest.mark.turns(3)]  # a broker and its troubles

StartWorker = Callable[..., WorkerProcess]


@pytest.fixture
def celery_server(start_server: StartServer, postgres_url: str, broker: Broker) -> ServerProcess:
    """A server of two processes that leaves the work to Celery, on PostgreSQL."""
    settings = {"broker_url": broker.url, "scheduler": "celery", "task_lease": 3, "workers": 2}
    return start_server(database_url=postgres_url, **settings)


@pytest.fixture
def start_worker(celery_server: ServerProcess, broker: Broker, tmp_path: Path) -> Iterator[StartWorker]:
    """Start workers for that server: `start_worker(encode_limit=2)`."""
    workers: list[WorkerProcess] = []

    def start(**settings: object) -> WorkerProcess:
        given = {"data_dir": celery_server.data_dir, "database_url": celery_server.database_url, **settings}
        given |= {"broker_url": broker.url, "scheduler": "celery", "task_lease": 3}
        worker = WorkerProcess(tmp_path / f"worker-{len(workers)}", **given)  # type: ignore[arg-type]
        workers.append(worker)
        worker.start()
        return worker

    yield start
    for worker in workers:
        worker.close()


def upload(server: ServerProcess, *videos: Path) -> str:
    status, answer = curl(server.url, videos)
    assert status == 200, answer
    return str(answer["task_id"])


def check_no_secret(server: ServerProcess, *workers: WorkerProcess) -> None:
    """Nobody has printed the broker's password."""
    for log in (server.log(), *(worker.log() for worker in workers)):
        assert PASSWORD not in log


@pytest.mark.sampled(1)
@pytest.mark.turns(1)
def test_an_upload_is_processed_by_a_celery_worker(
    celery_server: ServerProcess, start_worker: StartWorker, tmp_path: Path
) -> None:
    """It waits while there is no worker, ends when there is one, and its poster is served; the log holds no secret."""
    task = upload(celery_server, make(tmp_path, "a.mp4"))
    assert celery_server.status(task)["status"] == "uploaded"
    worker = start_worker()
    answer = finish(celery_server, task)
    assert poster(celery_server, answer["files"][0]) == (320, 240)
    rows = query(celery_server.database_url, "SELECT data FROM task_events WHERE type = 'processing'")
    assert [row["data"]["worker"].startswith("celery@") for row in rows] == [True]
    worker.stop()
    celery_server.stop()
    check_no_secret(celery_server, worker)


@pytest.mark.parametrize("broker", ["redis"], indirect=True)
@pytest.mark.turns(1)
def test_webhooks_are_delivered_by_one_process_beside_celery(
    start_server: StartServer, postgres_url: str, broker: Broker, tmp_path: Path
) -> None:
    """Two serving processes and a worker: the one that leads sends each message once, also what the worker did."""
    settings: dict[str, Any] = {"database_url": postgres_url, "broker_url": broker.url, "scheduler": "celery"}
    server = start_server(**settings, workers=2, webhook_allow_private="on")
    worker = WorkerProcess(tmp_path / "worker", data_dir=server.data_dir, **settings)
    with Receiver() as receiver:
        made = server.run("webhooks", "add", receiver.url, "--event", "all", "--webhook-allow-private", "on")
        assert made.returncode == 0, made.stderr
        try:
            worker.start()
            finish(server, upload(server, make(tmp_path, "a.mp4")))
        finally:
            worker.close()
        ended = "SELECT status FROM webhook_deliveries"
        until(
            lambda: (
                "task.completed" in receiver.types
                and {row["status"] for row in query(server.database_url, ended)} == {"delivered"}
            ),
            what="all is delivered",
        )
        assert receiver.types == ["upload.created", "upload.finished", "task.processing", "task.completed"]
        assert len(set(receiver.ids)) == 4
        (owner,) = query(server.database_url, "SELECT worker FROM webhook_endpoints")
        (task,) = query(server.database_url, "SELECT data FROM task_events WHERE type = 'processing'")
        assert task["data"]["worker"].startswith("celery@")
        node = (server.data_dir / "node").read_text().strip()
        assert str(owner["worker"]).startswith(f"{node}/")


@pytest.mark.sampled(1)
def test_a_broker_that_is_away_fails_no_upload(
    celery_server: ServerProcess, start_worker: StartWorker, broker: Broker, gate: Gate, tmp_path: Path
) -> None:
    """It dies in the middle of a task, and uploads come in: they are answered as ever, the server stays ready, the
    task goes on; and when the broker is back, server and worker find it and each task ends, once."""
    video = make(tmp_path, "a.mp4")
    worker = start_worker(ffmpeg=gate.path, encode_limit=1)
    tasks = [upload(celery_server, video)]
    until(gate.waiting, seconds=20, what="the step waits at the gate")
    broker.halt(signal.SIGKILL)
    for _ in range(3):
        tasks.append(upload(celery_server, video))
        assert celery_server.http.get(f"{celery_server.url}/readyz").status_code == 200
    until(lambda: "broker_away" in celery_server.log(), seconds=20, what="the log says that the broker is away")
    gate.open()
    finish(celery_server, tasks[0])
    assert [celery_server.status(task)["status"] for task in tasks[1:]] == ["uploaded"] * 3
    broker.resume()
    for task in tasks:
        finish(celery_server, task)
    assert celery_server.log().count("broker_away") == 1, "it is said once, not each second"
    attempts = query(celery_server.database_url, "SELECT attempt FROM tasks")
    assert [row["attempt"] for row in attempts] == [1] * 4
    worker.stop()
    check_no_secret(celery_server, worker)


@pytest.mark.sampled(1)
def test_a_restarted_broker_is_found_again(
    celery_server: ServerProcess, start_worker: StartWorker, broker: Broker, tmp_path: Path
) -> None:
    """The broker is restarted while nothing happens, as for an update: the next upload is processed."""
    video = make(tmp_path, "a.mp4")
    start_worker()
    finish(celery_server, upload(celery_server, video))
    broker.halt()
    broker.resume()
    finish(celery_server, upload(celery_server, video))


@pytest.mark.parametrize("broker", ["redis"], indirect=True)
def test_the_celery_command_starts_a_worker(
    celery_server: ServerProcess, broker: Broker, gate: Gate, tmp_path: Path
) -> None:
    """`celery -A server.worker.celery_app worker` is a worker too. SIGTERM gives its task back; no forks."""
    settings = {"data_dir": celery_server.data_dir, "database_url": celery_server.database_url, "task_lease": 3}
    settings |= {"broker_url": broker.url, "scheduler": "celery", "encode_limit": 1}
    command = [str(Path(sys.executable).with_name("celery")), "-A", "server.worker.celery_app", "worker"]
    held, free, forked = (
        WorkerProcess(tmp_path / name, **settings, **more)  # type: ignore[arg-type]
        for name, more in (("held", {"ffmpeg": gate.path}), ("free", {}), ("forked", {}))
    )
    held.command = free.command = [*command, "--pool", "threads"]
    forked.command = [*command, "--pool", "processes"]
    try:
        held.start("ready.")
        task = upload(celery_server, make(tmp_path, "a.mp4"))
        until(gate.waiting, seconds=20, what="the step waits at the gate")
        held.stop()
        assert not gate.waiting()
        free.start("ready.")
        finish(celery_server, task)
        free.stop()
        rows = query(celery_server.database_url, "SELECT attempt, failures FROM tasks")
        assert [(row["attempt"], row["failures"]) for row in rows] == [(2, 0)]
        forked.launch()
        assert forked.wait() != 0
        assert "--pool threads" in forked.log()
        check_no_secret(celery_server, held, free, forked)
    finally:
        for worker in (held, free, forked):
            worker.close()


@pytest.mark.parametrize("broker", ["redis"], indirect=True)
def test_a_cancel_by_the_api_reaches_the_worker(
    celery_server: ServerProcess, start_worker: StartWorker, gate: Gate, tmp_path: Path
) -> None:
    """The documented request; FFmpeg is gone in about two seconds, and the worker goes on with the next task."""
    video = make(tmp_path, "a.mp4")
    start_worker(ffmpeg=gate.path, encode_limit=1)
    task = upload(celery_server, video)
    until(gate.waiting, seconds=20, what="the step waits at the gate")
    assert celery_server.http.post(f"{celery_server.url}/api/task/cancel/{task}").status_code == 200
    within(lambda: not gate.waiting(), seconds=2.5, what="the step's processes are gone")
    gate.open()
    finish(celery_server, upload(celery_server, video))
    assert follow(celery_server, task)[-1]["status"] == "cancelled"


@pytest.mark.sampled(2)
@pytest.mark.parametrize("command", ["serve", "worker"])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--broker-url", "redis://127.0.0.1/0"], "PostgreSQL"),
        (["--database-url", "postgresql://u:secret@127.0.0.1:1/d"], "set broker_url"),
    ],
)
def test_celery_without_broker_or_postgresql_is_refused_with_a_sentence(
    server: ServerProcess, command: str, options: list[str], words: str
) -> None:
    """Celery on SQLite, and Celery without a broker."""
    done = server.run(command, "--scheduler", "celery", *options)
    assert done.returncode == 1, done
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stderr


def test_a_password_in_a_wrong_broker_url_is_not_shown(server: ServerProcess) -> None:
    """A misspelt scheme ends in a sentence that leaves the rest of the URL out."""
    done = server.run("worker", "--broker-url", "ampq://user:secret@host")
    assert done.returncode == 2, done
    assert "broker_url" in done.stderr
    assert "secret" not in done.stderr
