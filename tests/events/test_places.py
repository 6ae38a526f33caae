"""Where readers of the events begin and end: no event is left out because it commits late, or is read early."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from server.errors import UnavailableError
from server.events import feed
from server.events.bodies import Bodies
from server.events.feed import EventFeed
from server.events.hook_process import Hook
from server.events.post_hooks import PostHook
from server.tasks import events
from tests.events.conftest import Post
from tests.harness.receiver import Receiver
from tests.harness.waiting import PATIENCE, until

HOUR = timedelta(hours=1)
POSTGRESQL = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite has one writer


@contextmanager
def late(post: Post) -> Iterator[Callable[[], None]]:
    """An event that has its number and is not committed, while a later one is; commits it when called."""
    numbered, commit = threading.Event(), threading.Event()

    def add(task: str) -> None:
        with post.installation.services.database.write() as session:
            session.execute(text("DELETE FROM outbox_cursors WHERE name = 'nobody'"))
            events.append(session, task, "completed", owner="default", at=datetime.now(UTC))
            if task == "late":
                numbered.set()
                assert commit.wait(PATIENCE)

    thread = threading.Thread(target=add, args=("late",))
    thread.start()

    def end() -> None:
        commit.set()
        thread.join()

    try:
        assert numbered.wait(PATIENCE)
        add("quick")
        yield end
    finally:
        end()


def make_hook(post: Post) -> PostHook:
    services = post.installation.services
    bodies = Bodies(
        settings=post.installation.settings, database=services.database, signatures=services.auth.signatures
    )
    hook = Hook("post_task", "no.such:hook")
    return PostHook(hook, database=services.database, bodies=bodies, worker="node/1", seconds=20, clock=post.clock)


def add_webhook(post: Post) -> None:
    post.webhooks.add("http://127.0.0.1:9/", ["task.completed"], None)


def add_hook(post: Post) -> None:
    make_hook(post).look()


@POSTGRESQL
@pytest.mark.parametrize(("add", "table"), [(add_webhook, "webhook_endpoints"), (add_hook, "outbox_cursors")])
def test_a_reader_begins_after_every_event_that_is_not_committed(
    post: Post, monkeypatch: pytest.MonkeyPatch, add: Callable[[Post], None], table: str
) -> None:
    """One with a lower number than the newest would be passed over, if the place were the newest number at once."""
    waits = threading.Event()
    pause = feed._pause

    def note() -> None:
        waits.set()
        pause()

    monkeypatch.setattr(feed, "_pause", note)
    with late(post) as commit:
        adding = threading.Thread(target=add, args=(post,))
        adding.start()
        until(lambda: waits.is_set() or not adding.is_alive(), what="it waits for the event, or has not waited")
        assert post.rows(table, "event_id") == []
        commit()
        adding.join()
    (row,) = post.rows(table, "event_id")
    found = post.rows("task_events")
    assert [event["task_id"] for event in found if event["id"] <= row["event_id"]] == ["late", "quick"]  # type: ignore[operator]


@POSTGRESQL
def test_a_transaction_that_does_not_end_is_told(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """A place that is not certain is not used: the caller may try again. Other transactions hold nothing up."""
    monkeypatch.setattr(feed, "_SETTLE_SECONDS", 0.05)
    database = post.installation.services.database
    with late(post) as commit:
        with pytest.raises(UnavailableError):
            EventFeed.place_now(database)
        commit()
        with database.write() as session:
            session.execute(text("UPDATE webhook_endpoints SET failures = 0"))
            assert EventFeed.place_now(database) == EventFeed.newest(database)


def test_a_replay_has_what_was_not_wanted_at_first(post: Post, receiver: Receiver) -> None:
    """The deliverer has passed an event and its row does not say so yet; a replay of other types has the event."""
    endpoint, _ = post.webhooks.add(receiver.url, ["task.failed"], None)
    task = post.installation.complete()
    deliverer = post.deliverer()
    deliverer._flushed = float("inf")
    post.run(deliverer)
    post.webhooks.change(endpoint.id, None, types=["upload.finished"])
    post.run(deliverer)
    assert receiver.types == []
    now = datetime.now(UTC)
    assert post.webhooks.replay_range(endpoint.id, None, now - HOUR, now + HOUR) == 1
    post.run(deliverer)
    assert [(body["type"], body["data"]["task_id"]) for body in receiver.bodies] == [("upload.finished", task)]


def test_a_replay_of_now_keeps_the_order_of_a_task(post: Post, receiver: Receiver) -> None:
    """Events that the deliverer has not read are made first, those before the range too; none is sent twice."""
    endpoint, _ = post.webhooks.add(receiver.url, ["upload.created", "upload.finished"], None)
    post.installation.complete()
    post.installation.execute(
        "UPDATE task_events SET at = :at WHERE type = 'upload_created'", at=datetime(2020, 1, 1, tzinfo=UTC)
    )
    now = datetime.now(UTC)
    assert post.webhooks.replay_range(endpoint.id, None, now - HOUR, now + HOUR) == 0  # it is pending
    post.run(post.deliverer())
    assert receiver.types == ["upload.created", "upload.finished"]


@pytest.mark.parametrize("restarts", [False, True])
def test_other_types_are_sent_from_their_choice_on(post: Post, receiver: Receiver, restarts: bool) -> None:
    """Neither a message of what was before, nor a hole after it, whatever the deliverer has in memory."""
    endpoint, _ = post.webhooks.add(receiver.url, ["upload.created"], None)
    deliverer = post.deliverer()
    post.run(deliverer)
    first = post.installation.complete()
    deliverer.look()  # its types are read once a second
    assert deliverer.settle(PATIENCE)
    post.webhooks.change(endpoint.id, None, types=["upload.finished"])
    second = post.installation.complete()
    deliverer.look()
    assert deliverer.settle(PATIENCE)
    if restarts:
        post.installation.execute("UPDATE webhook_endpoints SET worker = NULL, lease_expires_at = NULL")
        deliverer = post.deliverer("node/2")
    post.run(deliverer)
    post.run(deliverer)
    told = [(body["type"], body["data"]["task_id"]) for body in receiver.bodies]
    assert told == [("upload.created", first), ("upload.finished", second)]
