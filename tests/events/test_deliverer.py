"""Webhooks from the event to the receiver: once for each event, in order, and again until they arrive."""

import socket
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.exc import OperationalError
from standardwebhooks import WebhookVerificationError

from server.events import deliveries
from server.events.sender import Sender
from server.events.types import WEBHOOKS
from tests.events.conftest import Post
from tests.harness.backend import Asked, Backend, answers
from tests.harness.receiver import TAKES, Receiver, takes_but
from tests.harness.waiting import PATIENCE, until, within


def hangs(backend: Backend, _connection: object, _asked: Asked) -> None:
    """Never answers."""
    backend.closed.wait(60)


UPLOADED = ["upload.created", "upload.finished"]


def test_a_message_is_signed_and_has_the_status_of_its_task(post: Post, receiver: Receiver) -> None:
    """From the event in the transaction of the upload to a body that needs no request back."""
    _, secret = post.webhooks.add(receiver.url, WEBHOOKS, None)
    task = post.installation.complete()
    deliverer = post.deliverer()
    post.run(deliverer)
    created, finished = receiver.verified(secret)
    assert (created["type"], finished["type"]) == ("upload.created", "upload.finished")
    assert finished["owner"] == "default"
    assert finished["timestamp"].endswith("Z")
    data = finished["data"]
    assert (data["task_id"], data["status"]) == (task, "uploaded")
    assert data["upload"]["id"] == task
    assert data["upload"]["status"] == "complete"
    with pytest.raises(WebhookVerificationError):
        receiver.verified("whsec_" + "A" * 32)
    assert post.statuses() == ["delivered"] * 2
    assert [row["answer"] for row in post.rows("webhook_attempts")] == ["thanks"] * 2
    assert receiver.asked[0].headers["content-type"] == "application/json"


def test_an_endpoint_gets_what_it_chose_of_its_owner_from_then_on(post: Post, receiver: Receiver) -> None:
    """Other types, other owners and the past are not sent."""
    post.installation.complete()
    post.webhooks.add(receiver.url, ["upload.finished"], "default")
    post.webhooks.add(receiver.url, WEBHOOKS, "ann")
    task = post.installation.complete()
    post.run(post.deliverer())
    assert [(body["type"], body["data"]["task_id"]) for body in receiver.bodies] == [("upload.finished", task)]


def test_before_the_task_exists_the_upload_is_told(post: Post, receiver: Receiver) -> None:
    """An upload that has begun has no status of a task yet."""
    post.webhooks.add(receiver.url, WEBHOOKS, None)
    upload = post.installation.open()
    post.installation.execute("UPDATE uploads SET passthrough = 'order 7' WHERE id = :id", id=upload)
    post.run(post.deliverer())
    (body,) = receiver.bodies
    assert body["data"]["task_id"] == upload
    assert body["data"]["passthrough"] == "order 7"
    assert body["data"]["upload"]["name"] == "clip.mp4"
    assert body["data"]["upload"]["status"] == "open"


def test_what_retention_deleted_meanwhile_is_told_by_its_id(post: Post, receiver: Receiver) -> None:
    """The delivery itself knows enough."""
    post.webhooks.add(receiver.url, ["task.cancelled"], None)
    task = post.installation.complete()
    post.installation.services.deletion.cancel(task, None)
    deliverer = post.deliverer()
    deliverer._senders.shutdown()  # nothing is sent yet
    with pytest.raises(RuntimeError):
        deliverer.look()
    for table in ("task_events", "task_files", "tasks"):
        post.installation.execute(f"DELETE FROM {table}")
    post.installation.execute("UPDATE webhook_endpoints SET worker = NULL, lease_expires_at = NULL")
    post.run(post.deliverer("node/2"))
    (body,) = receiver.bodies
    assert (body["type"], body["data"]) == ("task.cancelled", {"task_id": task, "deleted": True})


def test_messages_of_a_task_keep_their_order_and_others_go_on(post: Post, receiver: Receiver) -> None:
    """The first message of one task fails: its next one waits, those of another task do not."""
    post.webhooks.add(receiver.url, UPLOADED, None)
    first, second = post.installation.complete(), post.installation.complete()
    fails = answers(500)

    def behave(backend: object, connection: object, asked: object) -> None:
        is_first = asked.json["data"]["task_id"] == first  # type: ignore[attr-defined]
        (fails if is_first else TAKES)(backend, connection, asked)  # type: ignore[arg-type]

    receiver.behaviour = behave
    deliverer = post.deliverer()
    post.run(deliverer)
    told = [(body["data"]["task_id"], body["type"]) for body in receiver.bodies]
    assert [kind for task, kind in told if task == second] == UPLOADED
    assert [kind for task, kind in told if task == first] == ["upload.created"]
    receiver.behaviour = TAKES
    post.clock.pass_by(seconds=10)
    post.run(deliverer)
    told = [(body["data"]["task_id"], body["type"]) for body in receiver.bodies]
    assert [kind for task, kind in told if task == first] == ["upload.created", *UPLOADED]
    assert post.statuses() == ["delivered"] * 4


def test_a_failed_message_is_tried_again_under_its_id(post: Post, receiver: Receiver) -> None:
    """Growing pauses, one id, and a log of each attempt."""
    receiver.behaviour = takes_but(answers(503, b"later"), 2)
    post.webhooks.add(receiver.url, ["upload.created"], None)
    post.installation.open()
    deliverer = post.deliverer()
    for seconds in (0, 3, 7, 20, 40):  # at 0, about 5, about 35
        post.clock.pass_by(seconds=seconds)
        post.run(deliverer)
    assert len(set(receiver.ids)) == 1
    assert [row["answer_status"] for row in post.rows("webhook_attempts")] == [503, 503, 200]
    (row,) = post.rows()
    assert (row["status"], row["attempts"], row["next_attempt_at"]) == ("delivered", 3, None)


def test_a_receiver_that_asks_for_time_gets_it(post: Post, receiver: Receiver) -> None:
    """429 with Retry-After: neither this message nor another one comes before, and all come afterwards."""
    receiver.behaviour = takes_but(answers(429, Retry_After="600"), 1)
    post.webhooks.add(receiver.url, ["upload.created"], None)
    post.installation.open()
    deliverer = post.deliverer()
    post.run(deliverer)
    for seconds in (1, 60, 500):
        post.installation.open()
        post.clock.pass_by(seconds=seconds)
        post.run(deliverer)
    assert len(receiver.asked) == 1
    post.clock.pass_by(seconds=40)
    post.run(deliverer)
    assert post.statuses() == ["delivered"] * 4


def test_a_receiver_that_asks_for_a_year_is_tried_by_the_schedule(post: Post, receiver: Receiver) -> None:
    """A message waits eight hours at most, and others half an hour: a mistake of the receiver loses nothing."""
    receiver.behaviour = takes_but(answers(503, Retry_After="31536000"), 1)
    post.webhooks.add(receiver.url, ["upload.created"], None)
    post.installation.open()
    deliverer = post.deliverer()
    post.run(deliverer)
    post.installation.open()
    post.clock.pass_by(minutes=31)
    post.run(deliverer)
    assert post.statuses() == ["pending", "delivered"]
    post.clock.pass_by(hours=8)
    post.run(deliverer)
    assert post.statuses() == ["delivered"] * 2


def test_an_answer_on_its_way_ends_no_pause(post: Post, receiver: Receiver) -> None:
    """One message is refused for a time and another one, sent before, arrives: the receiver gets its time."""
    arrives = threading.Event()

    def behave(backend: Backend, connection: socket.socket, asked: Asked) -> None:
        if asked.json["type"] == "upload.created":
            answers(429, Retry_After="600")(backend, connection, asked)
        else:
            arrives.wait(PATIENCE)
            TAKES(backend, connection, asked)

    receiver.behaviour = behave
    endpoint, _ = post.webhooks.add(receiver.url, ["upload.created"], None)
    post.webhooks.test(endpoint.id, None)
    post.installation.open()
    post.sender = Sender(allow_private=True, seconds=PATIENCE)
    deliverer = post.deliverer()
    deliverer.look()

    def is_refused() -> bool:
        deliverer._record()
        return len(post.rows("webhook_attempts")) == 1

    until(is_refused, what="one is refused")
    arrives.set()
    assert deliverer.settle(PATIENCE)
    assert sorted(map(str, post.statuses())) == ["delivered", "pending"]
    post.installation.open()
    post.run(deliverer)
    assert len(receiver.asked) == 2


def test_after_three_days_a_message_is_dead_and_can_be_replayed(post: Post, receiver: Receiver) -> None:
    """An endpoint that answers 500 for days costs few requests; afterwards an operator sends all again."""
    receiver.behaviour = answers(500)
    endpoint, _ = post.webhooks.add(receiver.url, ["upload.created"], None)
    for _ in range(3):
        post.installation.open()
    deliverer = post.deliverer()
    post.run(deliverer)
    for _ in range(24 * 4):
        post.clock.pass_by(hours=1)
        post.run(deliverer)
    assert post.statuses() == ["dead"] * 3
    assert 20 < len(receiver.asked) < 120
    receiver.behaviour = TAKES
    seen = len(receiver.asked)
    now = datetime.now(UTC)
    assert post.webhooks.replay_range(endpoint.id, None, now - timedelta(hours=1), now + timedelta(hours=1)) == 3
    post.run(deliverer)
    assert post.statuses() == ["delivered"] * 3
    assert set(receiver.ids[seen:]) == set(receiver.ids[:seen])


def test_a_dead_endpoint_is_tried_one_message_at_a_time_and_comes_back_at_once(post: Post, receiver: Receiver) -> None:
    """The circuit opens after three failures; with the first success everything that waited is sent."""
    receiver.behaviour = answers(500)
    post.webhooks.add(receiver.url, ["upload.created"], None)
    for _ in range(30):
        post.installation.open()
    deliverer = post.deliverer()
    post.run(deliverer)
    first = len(receiver.asked)
    assert first <= 8
    post.run(deliverer)
    assert len(receiver.asked) == first
    for _ in range(3):
        post.clock.pass_by(minutes=40)
        post.run(deliverer)
    assert len(receiver.asked) == first + 3
    receiver.behaviour = TAKES
    post.clock.pass_by(minutes=40)
    post.run_until(deliverer, lambda: post.statuses() == ["delivered"] * 30, "all are delivered")


def test_one_process_at_a_time_delivers_to_an_endpoint(post: Post, receiver: Receiver) -> None:
    """A second process waits for the lease; each event is sent once."""
    post.webhooks.add(receiver.url, UPLOADED, None)
    first, second = post.deliverer("node/1"), post.deliverer("other/1")
    post.run(first)
    for _ in range(5):
        post.installation.complete()
        post.run(second)
        post.run(first)
    assert len(receiver.ids) == len(set(receiver.ids)) == 10
    assert {row["worker"] for row in post.rows("webhook_endpoints")} == {"node/1"}
    post.installation.execute("UPDATE webhook_endpoints SET lease_expires_at = created_at")
    post.installation.complete()
    post.run(second)
    post.run(first)
    assert {row["worker"] for row in post.rows("webhook_endpoints")} == {"other/1"}
    assert len(receiver.ids) == len(set(receiver.ids)) == 12


def test_an_endpoint_that_is_removed_or_disabled_gets_nothing(post: Post, receiver: Receiver) -> None:
    """Also when a message to it is on its way."""
    endpoint, _ = post.webhooks.add(receiver.url, ["upload.created"], None)
    post.installation.open()
    deliverer = post.deliverer()
    deliverer.look()
    post.webhooks.remove(endpoint.id, None)
    assert deliverer.settle(30)
    assert post.rows() == post.rows("webhook_attempts") == post.rows("webhook_secrets") == []
    endpoint, _ = post.webhooks.add(receiver.url, ["upload.created"], None)
    post.webhooks.change(endpoint.id, None, enabled=False)
    seen = len(receiver.asked)
    post.installation.open()
    post.run(deliverer)
    post.webhooks.change(endpoint.id, None, enabled=True)
    post.run(deliverer)
    assert len(receiver.asked) == seen
    upload = post.installation.open()
    post.run(deliverer)
    assert [body["data"]["task_id"] for body in receiver.bodies[seen:]] == [upload]


def test_410_disables_an_endpoint(post: Post, receiver: Receiver) -> None:
    """The receiver says that it wants no more."""
    receiver.behaviour = answers(410)
    endpoint, _ = post.webhooks.add(receiver.url, ["upload.created"], None)
    for _ in range(2):
        post.installation.open()
        post.run(post.made[0] if post.made else post.deliverer())
    assert len(receiver.asked) == 1
    found = post.webhooks.find(endpoint.id, None)
    assert found.disabled_at is not None
    assert found.disabled_code == "webhook_gone"


def test_during_a_rotation_both_secrets_verify(post: Post, receiver: Receiver) -> None:
    """A receiver changes its secret when it likes; a day later only the new one signs."""
    endpoint, old = post.webhooks.add(receiver.url, ["upload.created"], None)
    new, _ = post.webhooks.rotate(endpoint.id, None)
    deliverer = post.deliverer()
    post.installation.open()
    post.run(deliverer)
    assert receiver.verified(old) == receiver.verified(new)
    receiver.asked.clear()
    post.clock.pass_by(hours=25)
    post.installation.open()
    post.run(deliverer)
    library_clock = post.clock.now.timestamp()
    assert abs(int(receiver.asked[0].headers["webhook-timestamp"]) - library_clock) < 5
    assert len(receiver.asked[0].headers["webhook-signature"].split()) == 1


def test_a_test_message_and_a_replay_are_sent_soon(post: Post, receiver: Receiver) -> None:
    """Both go past the pause of an endpoint that failed."""
    receiver.behaviour = answers(500)
    endpoint, secret = post.webhooks.add(receiver.url, ["upload.created"], None)
    for _ in range(4):
        post.installation.open()
    deliverer = post.deliverer()
    post.run(deliverer)
    receiver.behaviour = TAKES
    receiver.asked.clear()
    message = post.webhooks.test(endpoint.id, None)
    post.run_until(deliverer, lambda: message in receiver.ids, "the test message came")
    post.run_until(deliverer, lambda: post.statuses() == ["delivered"] * 5, "all came")
    assert {"type": "webhook.test", "data": {"webhook_id": endpoint.id}}.items() <= next(
        body for body in receiver.verified(secret) if body["type"] == "webhook.test"
    ).items()
    first = receiver.ids[0]
    post.webhooks.replay(endpoint.id, None, first)
    post.run(deliverer)
    assert receiver.ids.count(first) == 2


def test_what_was_missed_while_disabled_can_be_replayed(post: Post, receiver: Receiver) -> None:
    """The events are there, though no delivery was made of them."""
    endpoint, _ = post.webhooks.add(receiver.url, ["upload.created"], None)
    post.webhooks.change(endpoint.id, None, enabled=False)
    upload = post.installation.open()
    post.webhooks.change(endpoint.id, None, enabled=True)
    now = datetime.now(UTC)
    hour = timedelta(hours=1)
    assert post.webhooks.replay_range(endpoint.id, None, now - hour, now + hour) == 1
    post.run(post.deliverer())
    assert [body["data"]["task_id"] for body in receiver.bodies] == [upload]


def test_results_outlast_a_database_that_is_away(
    post: Post, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message that arrived while the database was away is recorded later, and is not sent again."""
    post.webhooks.add(receiver.url, ["upload.created"], None)
    post.installation.open()
    deliverer = post.deliverer()
    deliverer.look()
    database = post.installation.services.database
    away = OperationalError("UPDATE", {}, Exception("away"))

    def fail(**_: object) -> object:
        raise away

    with monkeypatch.context() as patched:
        patched.setattr(database, "change", fail)
        with pytest.raises(OperationalError):
            deliverer.settle(30)
        with pytest.raises(OperationalError):
            deliverer.look()
    assert post.statuses() == ["pending"]
    post.run(deliverer)
    assert post.statuses() == ["delivered"]
    assert len(receiver.asked) == 1


def test_an_endpoint_that_hangs_delays_no_other(post: Post, receiver: Receiver) -> None:
    """Its messages wait for their time limit; meanwhile the other endpoint has all of its own."""
    with Receiver(hangs) as hanging:
        post.webhooks.add(hanging.url, ["upload.created"], None)
        post.webhooks.add(receiver.url, ["upload.created"], None)
        for _ in range(20):
            post.installation.open()
        post.sender = Sender(allow_private=True, seconds=20)
        deliverer = post.deliverer()

        def look() -> bool:
            deliverer.refresh_soon()
            deliverer.look()
            return len(receiver.asked) == 20

        until(look, what="the other endpoint has all messages")
        assert hanging.connections <= 8
        hanging.closed.set()
        assert deliverer.settle(60)


def test_endpoints_that_take_long_leave_threads_for_others(
    post: Post, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two that answer after long use all threads once; then they get a message at a time, and another one gets its."""
    monkeypatch.setattr("server.events.deliverer._LONG_SECONDS", 0.2)

    def answers_late(backend: Backend, connection: socket.socket, asked: Asked) -> None:
        backend.closed.wait(0.3 if len(backend.asked) <= 8 else 20)
        TAKES(backend, connection, asked)

    post.sender = Sender(allow_private=True, seconds=25)
    with Receiver(answers_late) as first, Receiver(answers_late) as second:
        for late in (first, second):
            post.webhooks.add(late.url, ["upload.created"], None)
        for _ in range(30):
            post.installation.open()
        deliverer = post.deliverer()

        def look(check: Callable[[], bool]) -> Callable[[], bool]:
            def looks() -> bool:
                deliverer.refresh_soon()
                deliverer.look()
                return check()

            return looks

        until(look(lambda: min(len(first.asked), len(second.asked)) > 8), what="both hold a message")
        post.webhooks.add(receiver.url, ["upload.created"], None)
        post.installation.open()
        until(look(lambda: bool(receiver.asked)), what="the other endpoint has its message")
        assert max(len(first.asked), len(second.asked)) == 9
        first.closed.set()
        second.closed.set()
        assert deliverer.settle(60)


def test_the_thread_delivers_and_gives_its_endpoints_back(post: Post, receiver: Receiver) -> None:
    """As it runs beside a leader: soon after the commit, and another process may go on at once when it stops."""
    post.webhooks.add(receiver.url, ["upload.created"], None)
    deliverer = post.deliverer()
    deliverer.start(dead="node/")
    until(lambda: post.rows("webhook_endpoints")[0]["worker"] == "node/1", what="it has the endpoint")
    post.installation.open()
    within(lambda: receiver.asked, seconds=2, what="the message came")
    until(lambda: post.statuses() == ["delivered"], what="it is recorded")
    deliverer.stop()
    assert post.rows("webhook_endpoints")[0]["worker"] is None


def test_old_deliveries_are_purged(post: Post, receiver: Receiver) -> None:
    """Those that have ended; what is pending stays."""
    post.webhooks.add(receiver.url, ["upload.created"], None)
    post.installation.open()
    deliverer = post.deliverer()
    post.run(deliverer)
    receiver.behaviour = answers(500)
    post.installation.open()
    post.run(deliverer)
    assert post.statuses() == ["delivered", "pending"]
    until = post.clock.now + timedelta(days=1)
    database = post.installation.services.database
    assert deliveries.purge(database, until, dry_run=True) == deliveries.purge(database, until) == 1
    assert post.statuses() == ["pending"]
    assert [row["answer_status"] for row in post.rows("webhook_attempts")] == [500]
