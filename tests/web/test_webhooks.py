"""`/api/webhooks`: an owner has their own, an administrator all; what is foreign does not exist."""

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartServer
from tests.harness.receiver import Receiver
from tests.harness.rows import query
from tests.harness.waiting import until
from tests.security.callers import Callers

PATH = "/api/webhooks"


@pytest.fixture
def callers(start_server: StartServer, database_url: str, tmp_path: Path) -> Callers:
    server = start_server(database_url=database_url, auth="on", webhook_allow_private="on", rate_failures="")
    made = Callers(server, tmp_path)
    made.make_keys()
    return made


def test_an_owner_works_with_webhooks_by_the_api(callers: Callers) -> None:
    """Add, list, change, rotate, test, replay, deliveries, remove; others see nothing of it."""
    with Receiver() as receiver:
        added = callers.ask("POST", PATH, "owner", json={"url": receiver.url, "events": ["upload.created"]})
        assert added.status_code == 201, added.text
        content = added.json()
        one = f"{PATH}/{content['webhook']['id']}"
        assert content["secret"].startswith("whsec_")
        assert [warning["code"] for warning in content["warnings"]] == ["webhook_paths"]
        assert (content["webhook"]["owner"], content["webhook"]["enabled"]) == ("alice", True)
        assert [hook["id"] for hook in _list(callers, "owner")] == [hook["id"] for hook in _list(callers, "admin")]
        assert _list(callers, "other") == []
        assert "secret" not in callers.ask("GET", one, "owner").json()["webhook"]

        tested = callers.ask("POST", one + "/test", "owner").json()
        until(lambda: receiver.ids == [tested["message_id"]], what="the test message came")
        location = callers.open_upload()
        until(lambda: len(receiver.ids) == 2, what="the message came")
        receiver.verified(content["secret"])
        page = callers.ask("GET", one + "/deliveries?limit=1", "owner").json()
        until(lambda: _deliveries(callers, one, "?limit=1")[0]["status"] == "delivered", what="it is recorded")
        page = callers.ask("GET", one + "/deliveries?limit=1", "owner").json()
        assert page["deliveries"][0]["task_id"] == location.rpartition("/")[2].partition("~")[0]
        assert page["deliveries"][0]["attempts"][0]["answer"] == "thanks"
        (older,) = _deliveries(callers, one, f"?limit=1&cursor={page['next']}")
        assert older["type"] == "webhook.test"
        assert callers.ask("GET", one + "/deliveries?status=dead", "owner").json()["deliveries"] == []

        message = page["deliveries"][0]["message_id"]
        assert callers.ask("POST", one + "/replay", "owner", json={"message_id": message}).json()["count"] == 1
        until(lambda: receiver.ids.count(message) == 2, what="it came again")
        until(lambda: _deliveries(callers, one, "?limit=1")[0]["status"] == "delivered", what="that is recorded")
        again = callers.ask("POST", one + "/replay", "owner", json={"since": "2020-01-01"})
        assert (again.status_code, again.json()["count"]) == (202, 1)
        rotated = callers.ask("POST", one + "/rotate", "owner").json()
        assert rotated["secret"] != content["secret"]
        changed = callers.ask("PATCH", one, "owner", json={"enabled": False, "events": ["task.failed"]}).json()
        assert (changed["webhook"]["enabled"], changed["webhook"]["events"]) == (False, ["task.failed"])
        assert callers.ask("DELETE", one, "owner").json()["success"]
        assert callers.ask("GET", one, "owner").status_code == 404
        log = callers.server.log()
        assert content["secret"][6:] not in log
        assert rotated["secret"][6:] not in log
    actions = [row["action"] for row in query(callers.server.database_url, "SELECT action FROM audit_log ORDER BY id")]
    wanted = [
        "webhook_added",
        "webhook_tested",
        "webhook_replayed",
        "webhook_replayed",
        "webhook_rotated",
        "webhook_changed",
    ]
    assert [name for name in actions if name.startswith("webhook")] == [*wanted, "webhook_removed"]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_what_is_refused(callers: Callers) -> None:
    """Wrong fields, foreign owners, ids that are none; with the sentence in the reader's language."""
    good: dict[str, Any] = {"url": "https://backend.example/", "events": ["task.completed"]}
    cases: list[tuple[dict[str, Any], str]] = [
        ({**good, "url": "ftp://x"}, "url"),
        ({**good, "url": "https://user:pass@backend.example/"}, "url"),
        ({**good, "url": 7}, "url"),
        ({**good, "events": []}, "events"),
        ({**good, "events": ["task.nothing"]}, "events"),
        ({**good, "events": "task.completed"}, "events"),
        ({**good, "owner": "bob"}, "owner"),
        ({**good, "owner": None}, "owner"),
        ({**good, "more": 1}, "more"),
        ({}, "url"),
    ]
    for body, field in cases:
        answer = callers.ask("POST", PATH, "owner", {"Accept-Language": "en"}, json=body)
        assert (answer.status_code, answer.json()["code"]) == (400, "field_invalid"), body
        assert f"The field {field} " in answer.json()["message"]
    assert callers.ask("POST", PATH, "admin", json={**good, "owner": None}).json()["webhook"]["owner"] is None
    made = callers.ask("POST", PATH, "admin", json={**good, "owner": "alice"}).json()["webhook"]
    one = f"{PATH}/{made['id']}"
    assert [hook["id"] for hook in _list(callers, "owner")] == [made["id"]]
    for path in ("/%00", "/nope", "/" + "a" * 300):
        assert callers.ask("GET", PATH + path, "owner").status_code == 404
    for body in ({}, {"since": "soon"}, {"since": "0001-01-01T00:00:00+14:00"}, {"message_id": 1}, {"since": 1}):
        assert callers.ask("POST", one + "/replay", "owner", json=body).status_code == 400, body
    empty = callers.ask("POST", one + "/replay", "owner", {"Accept-Language": "en"}, json={}).json()
    assert "give either message_id, or since" in empty["message"]
    unknown = callers.ask("POST", one + "/replay", "owner", json={"message_id": "msg_\0"})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "delivery_not_found")
    for asked in ("limit=0", "limit=201", "limit=x", "cursor=-1", "cursor=99999999999999999999", "status=good"):
        assert callers.ask("GET", f"{one}/deliveries?{asked}", "owner").status_code == 400, asked
    assert callers.ask("PUT", one, "owner").status_code == 405
    for _ in range(19):
        assert callers.ask("POST", PATH, "owner", json=good).status_code == 201
    assert callers.ask("POST", PATH, "owner", json=good).json()["code"] == "too_many_webhooks"


def _list(callers: Callers, kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = callers.ask("GET", PATH, kind).json()["webhooks"]
    return found


def _deliveries(callers: Callers, one: str, asked: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = callers.ask("GET", f"{one}/deliveries{asked}", "owner").json()["deliveries"]
    return found
