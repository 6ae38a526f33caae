"""Webhooks on bad days: two leaders at once, and a database that is stopped and started under the deliverer."""

import socket
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.events.conftest import Post
from tests.harness.backend import Asked, Backend
from tests.harness.installation import Installation
from tests.harness.postgres import PostgresServer
from tests.harness.receiver import TAKES, Receiver
from tests.harness.waiting import PATIENCE, until


@pytest.fixture
def cluster() -> Iterator[PostgresServer]:
    """A PostgreSQL of its own, for a test that restarts it."""
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.stop()


def has_come(receiver: Receiver, number: int) -> bool:
    return len(receiver.asked) == number


def are_delivered(post: Post, number: int) -> bool:
    return post.statuses() == ["delivered"] * number


def check_once_each(post: Post, receiver: Receiver, number: int) -> None:
    """One delivery for each event, all delivered, each sent once under its own id, in the order of the events."""
    assert post.statuses() == ["delivered"] * number
    events = [row["id"] for row in post.rows("task_events") if row["type"] == "upload_created"]
    assert [row["event_id"] for row in post.rows()] == events
    assert sorted(receiver.ids) == sorted(str(row["message_id"]) for row in post.rows())
    assert len(post.rows("webhook_attempts")) == number


def test_of_two_leaders_one_delivers_and_the_other_goes_on(
    post: Post, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both run at the same time, as two servers on one database; the one that delivers stops in the middle."""
    monkeypatch.setattr("server.events.deliverer._STOP_SECONDS", PATIENCE)  # all that it sent is recorded
    post.webhooks.add(receiver.url, ["upload.created"], None)
    leaders = {worker: post.deliverer(worker) for worker in ("node/1", "other/1")}
    for leader in leaders.values():
        leader.start()

    def owner() -> str | None:
        worker = post.rows("webhook_endpoints")[0]["worker"]
        return None if worker is None else str(worker)

    first = until(owner, what="one has the endpoint")
    for _ in range(15):
        post.installation.open()
    until(lambda: len(receiver.asked) >= 5, what="it delivers")
    leaders.pop(str(first)).stop()
    for _ in range(10):
        post.installation.open()
    until(partial(are_delivered, post, 25), what="the other one delivers the rest")
    assert owner() in leaders
    for leader in leaders.values():
        leader.stop()
    check_once_each(post, receiver, 25)


@pytest.mark.parametrize("times", [1, pytest.param(10, marks=pytest.mark.soak)])
def test_a_database_that_is_stopped_and_started_loses_no_message(
    cluster: PostgresServer, tmp_path: Path, times: int
) -> None:
    """PostgreSQL stops while a message is on its way: its result is written once there is a database again, and nothing
    is sent twice."""
    arrives = threading.Event()

    def behave(backend: Backend, connection: socket.socket, asked: Asked) -> None:
        arrives.wait(PATIENCE)
        TAKES(backend, connection, asked)

    post = Post(Installation(tmp_path / "data", cluster.create_database(), public_url="https://videos.example"))
    try:
        with Receiver(behave) as receiver, capture_logs() as logs:
            post.webhooks.add(receiver.url, ["upload.created"], None)
            deliverer = post.deliverer()
            deliverer.start()
            for number in range(times):
                arrives.clear()
                logs.clear()
                post.installation.open()
                until(partial(has_come, receiver, 2 * number + 1), what="a message is on its way")
                cluster.halt()
                arrives.set()
                until(lambda: [one for one in logs if one["event"] == "database_away"], what="the deliverer notices")
                cluster.resume()
                post.installation.open()
                until(partial(are_delivered, post, 2 * number + 2), what="both messages are delivered")
            deliverer.stop()
            check_once_each(post, receiver, 2 * times)
    finally:
        for made in post.made:
            made.close()
        post.installation.services.close()
