"""Numbers of webhooks and hooks: from the rows the same on every server, and what this process has tried."""

import re
from datetime import timedelta

from server.events import counts
from server.events.deliveries import GIVEN_UP_AFTER
from server.observability import Metrics
from tests.events.conftest import Post
from tests.harness.backend import answers
from tests.harness.receiver import Receiver


def shown(post: Post) -> dict[str, object]:
    """The gauges by name."""
    found = counts.gauges(post.installation.services.database, post.clock.now)
    return {gauge.name.removeprefix("videodock_"): gauge.value for gauge in found}


def test_gauges_tell_what_waits_and_which_webhooks_fail(post: Post, receiver: Receiver) -> None:
    """Healthy, failing, paused, disabled; of one that is disabled nothing waits. The command has the same words."""
    none = {"healthy": 0, "failing": 0, "paused": 0, "disabled": 0}
    assert shown(post) == {
        "webhooks": none,
        "webhook_circuits_open": 0,
        "webhook_pending": 0,
        "oldest_webhook_message_seconds": 0.0,
    }
    receiver.behaviour = answers(500)
    endpoint, _ = post.webhooks.add(receiver.url, ["upload.created"], None)
    post.webhooks.add("http://127.0.0.1:9/", ["task.failed"], None)
    post.installation.open()
    deliverer = post.deliverer()
    post.run(deliverer)
    assert shown(post)["webhooks"] == {**none, "healthy": 1, "failing": 1}
    for _ in range(2):
        post.clock.pass_by(minutes=1)
        post.run(deliverer)
    found = shown(post)
    assert found["webhooks"] == {**none, "healthy": 1, "paused": 1}
    assert (found["webhook_circuits_open"], found["webhook_pending"]) == (1, 1)
    assert 120 <= float(str(found["oldest_webhook_message_seconds"])) < 150
    states = [counts.state(row, post.clock.now) for row in post.webhooks.list(None)]
    assert sorted(states) == ["healthy", "paused"]
    post.webhooks.change(endpoint.id, None, enabled=False)
    found = shown(post)
    assert found["webhooks"] == {**none, "healthy": 1, "disabled": 1}
    assert (found["webhook_circuits_open"], found["webhook_pending"]) == (0, 0)


def test_each_message_is_counted_by_its_outcome(post: Post, receiver: Receiver) -> None:
    """Also those that are given up together because their receiver has failed for three days."""
    counted: dict[str, int] = {}

    def count(outcome: str, number: int) -> None:
        counted[outcome] = counted.get(outcome, 0) + number

    post.webhooks.add(receiver.url, ["upload.created"], None)
    deliverer = post.deliverer(count=count)
    post.installation.open()
    post.run(deliverer)
    assert counted == {"delivered": 1}
    receiver.behaviour = answers(500)
    for _ in range(4):
        post.installation.open()
    post.run(deliverer)
    assert counted == {"delivered": 1, "failed": 4}
    post.clock.pass_by(seconds=(GIVEN_UP_AFTER + timedelta(hours=1)).total_seconds())
    post.run(deliverer)
    assert counted == {"delivered": 1, "failed": 4, "dead": 4}


def test_the_metrics_have_these_counters_from_the_start() -> None:
    """A rate of what has not happened yet is 0, and not nothing."""
    metrics = Metrics()
    metrics.count_deliveries("dead", 3)
    metrics.count_hook_call("pre_create", "refused")
    text = metrics.render().decode()
    found = dict(re.findall(r"^videodock_(?:webhook|hook)_(\w+_total\{.*?\}) (\S+)$", text, re.MULTILINE))
    assert found['deliveries_total{outcome="dead"}'] == "3.0"
    assert found['deliveries_total{outcome="delivered"}'] == "0.0"
    assert found['calls_total{hook="post_task",outcome="timeout"}'] == "0.0"
    assert found['calls_total{hook="pre_create",outcome="refused"}'] == "1.0"
