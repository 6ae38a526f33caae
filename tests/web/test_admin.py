"""`/api/admin`: an operator's look at everything, keys and limits; nobody else's, and no secret in any answer."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from server.auth import access_lists, owners
from server.auth.audit import AuditLog, Entry
from server.bootstrap import utc_now
from server.database.session import Database
from server.messages.settings import CHINESE
from server.settings import Settings
from tests.harness.http import serving
from tests.web.owned import Owned

SECRET = "a secret of thirty-two characters, at least"
PLACES = ("overview", "owners", "keys", "grants", "audit", "settings", "doctor")


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def owned(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Owned]:
    folder = tmp_path_factory.mktemp("admin")
    with serving(request, folder, auth="on", jwt_secret=SECRET, owner_stored_bytes=5000) as live:
        yield Owned(live)


def ask(owned: Owned, path: str) -> dict[str, Any]:
    return owned.get(f"/api/admin/{path}", "root:admin")


def pages(owned: Owned, path: str, name: str, limit: int = 2) -> list[dict[str, Any]]:
    """Every row of a list, page by page."""
    found: list[dict[str, Any]] = []
    following: str | None = ""
    while following is not None:
        sign = "&" if "?" in path else "?"
        page = ask(owned, f"{path}{sign}limit={limit}" + (f"&cursor={following}" if following else ""))
        assert len(page[name]) <= limit
        found += page[name]
        following = page["next"]
    return found


def test_only_an_administrator_may(owned: Owned) -> None:
    """Each address: 401 without a credential, 403 without the scope; no page of another origin reads an answer."""
    for name in PLACES:
        path = f"/api/admin/{name}"
        assert owned.refused("GET", path, "") == (401, "authentication_required")
        assert owned.refused("GET", path, "ann") == (403, "scope_missing")
        assert owned.refused("PUT", path, "root:admin") == (405, "method_not_allowed")
        answer = owned.ask("OPTIONS", path, "", {"Origin": "https://evil.example"})
        assert answer.status == 405
    for method, path, body in (
        ("PATCH", "owners", {"owner": "ann"}),
        ("POST", "keys", {"owner": "ann", "scopes": ["read"]}),
        ("DELETE", "keys/000000000000", None),
        ("DELETE", "grants/000000000000", None),
    ):
        assert owned.refused(method, f"/api/admin/{path}", "ann", body) == (403, "scope_missing")
    answer = owned.ask("GET", "/api/admin/keys", "root:admin", {"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in answer.headers


def test_an_overview_has_what_runs_and_what_waits(owned: Owned) -> None:
    """Queue, workers, uploads with their bytes, disk and readiness; a second look has rates."""
    owned.task("ann")
    half = owned.open("ann", have=400).partition("~")[0]
    owned.live.wait_until_received(half, 400)
    running = owned.task("ann")
    sql = (
        "UPDATE tasks SET worker = 'node/host/4711', status = 'processing', attempt = 1, step = 'hls', progress = 53, "
    )
    sql += "started_at = created_at, lease_expires_at = :until WHERE id = :id"
    soon = utc_now() + timedelta(minutes=1)
    is_sqlite = owned.live.database_url.startswith("sqlite")
    owned.live.execute(sql, id=running, until=soon.strftime("%Y-%m-%d %H:%M:%S.%f") if is_sqlite else soon)
    found = ask(owned, "overview")
    assert found["authentication"] is True
    assert {check["name"] for check in found["readiness"]["checks"]} >= {"database", "store", "space"}
    assert found["queue"]["waiting"] >= 1
    assert found["queue"]["oldest_waiting_seconds"] >= 0
    (worker,) = found["workers"]
    assert (worker["worker"], worker["task_id"], worker["step"]) == ("host/4711", running, "hls")
    assert (worker["owner"], worker["title"], worker["progress"]) == ("ann", "a.mp4", 53)
    (item,) = [item for item in found["uploads"]["items"] if item["id"] == half]
    assert (item["received"], item["length"], item["owner"], item["filename"]) == (400, 1000, "ann", "a.mp4")
    assert (item["why"], item["client"]) == ("no_more_bytes", "unknown")
    assert item["created_at"].endswith("Z")
    assert found["uploads"]["open"] >= 1
    assert found["disk"]["left"] == found["disk"]["free"] - found["disk"]["reserve"] - found["disk"]["reserved"]


def test_owners_have_usage_and_limits(owned: Owned) -> None:
    """By name and page by page; limits are set, cleared and left as they are."""
    for who in ("ann", "bob", "cy"):
        owned.task(who)
    found = pages(owned, "owners", "owners")
    assert [row["owner"] for row in found] == sorted(row["owner"] for row in found)
    assert {"ann", "bob", "cy"} <= {row["owner"] for row in found}
    cy = next(row for row in found if row["owner"] == "cy")
    assert (cy["usage"]["stored_bytes"], cy["limits"]["stored_bytes"], cy["own_limits"]["stored_bytes"]) == (
        1000,
        5000,
        None,
    )
    path = "/api/admin/owners"
    for body, own, limit in (
        ({"stored_bytes": 9000, "open_uploads": 3}, 9000, 9000),
        ({"open_uploads": None}, 9000, 9000),
        ({"stored_bytes": 0}, 0, 0),
        ({"stored_bytes": None}, None, 5000),
    ):
        status, answer = owned.json("PATCH", path, "root:admin", {"owner": "cy", **body})
        assert status == 200, answer
        shown = answer["owner"]
        assert (shown["own_limits"]["stored_bytes"], shown["limits"]["stored_bytes"]) == (own, limit)
    assert owned.actions().count("owner_limits_set") == 4
    refused: tuple[dict[str, object], ...] = (
        {},
        {"owner": ""},
        {"owner": "cy", "stored_bytes": -1},
        {"owner": "cy", "more": 1},
        {"owner": 7},
        {"owner": "cy", "stored_bytes": True},
    )
    for wrong in refused:
        assert owned.refused("PATCH", path, "root:admin", wrong) == (400, "field_invalid"), wrong
    assert owned.refused("GET", path + "?cursor=%C3%A9", "root:admin") == (400, "cursor_invalid")


def test_pages_of_owners_have_every_name_once(owned: Owned) -> None:
    """Whatever table has a name, and wherever a page ends; a limit keeps it, and without anything it is gone."""
    for number, who in enumerate(("aa", "Zoë", "李雷", "z" * 60, "o'neil", "50%_x")):
        if number % 2:
            owned.key(f"{who}:read")
        else:
            body = {"owner": who, "open_uploads": 3}
            assert owned.json("PATCH", "/api/admin/owners", "root:admin", body)[0] == 200
    database = Database(owned.live.database_url, 1)
    try:
        with database.read() as session:
            every = owners.names(session)
            assert sorted(owners.page(session, None, len(every) + 1)) == every
            assert owners.page(session, owners.page(session, None, 3)[-1], 1) == owners.page(session, None, 4)[3:]
            assert owners.page(session, None, 0) == []
    finally:
        database.close()
    for limit in (1, 3):
        found = [row["owner"] for row in pages(owned, "owners", "owners", limit)]
        assert (sorted(found), len(found)) == (every, len(every))
    assert owned.json("PATCH", "/api/admin/owners", "root:admin", {"owner": "aa", "open_uploads": None})[0] == 200
    assert "aa" not in [row["owner"] for row in pages(owned, "owners", "owners", 200)]


def test_failures_of_a_day_are_in_the_overview(owned: Owned) -> None:
    """The newest first, with the reason of the file; not those of yesterday, nor what did not fail."""
    now = utc_now()
    is_sqlite = owned.live.database_url.startswith("sqlite")
    ids = [owned.task("gil") for _ in range(4)]

    def moment(hours: float) -> Any:
        at = now - timedelta(hours=hours)
        return at.strftime("%Y-%m-%d %H:%M:%S.%f") if is_sqlite else at

    for task_id, status, hours in zip(ids, ("error", "error", "error", "completed"), (3, 1, 25, 1), strict=True):
        owned.live.execute(
            "UPDATE tasks SET status = :status, finished_at = :at, error_code = 'infected' WHERE id = :id",
            status=status,
            at=moment(hours),
            id=task_id,
        )
    owned.live.execute(
        "UPDATE task_files SET error_code = 'not_playable' WHERE task_id = :id",
        id=ids[0],
    )
    found = ask(owned, "overview")["failures"]
    assert found["last_day"] == 2
    assert [row["task_id"] for row in found["items"]] == [ids[1], ids[0]]
    assert {(row["owner"], row["title"]) for row in found["items"]} == {("gil", "a.mp4")}
    assert [row["error"]["code"] for row in found["items"]] == ["infected", "not_playable"]
    assert all(row["error"]["message"] and row["failed_at"].endswith("Z") for row in found["items"])


def test_a_key_is_made_shown_once_used_and_revoked(owned: Owned) -> None:
    """The text of a key is in one answer; the list has everything else, by owner and page by page."""
    path = "/api/admin/keys"
    status, made = owned.json("POST", path, "root:admin", {"owner": "dan", "scopes": ["read"], "expires_in": 3600})
    assert status == 201
    assert made["key"]["scopes"] == ["read"]
    bearer = {"Authorization": f"Bearer {made['text']}"}
    assert owned.ask("GET", "/api/tasks", "", bearer).status == 200
    (listed,) = pages(owned, "keys?owner=dan", "keys")
    assert (listed["id"], listed["state"]) == (made["key"]["id"], "valid")
    assert listed["last_used_at"] is not None
    every = pages(owned, "keys", "keys")
    assert (
        len({row["id"] for row in every})
        == len(every)
        == owned.live.query("SELECT count(*) AS n FROM api_keys")[0]["n"]
    )
    assert made["text"].rpartition("_")[2] not in json.dumps(every)
    for _ in range(2):
        assert owned.json("DELETE", f"{path}/{made['key']['id']}", "root:admin")[0] == 200
    assert owned.ask("GET", "/api/tasks", "", bearer).status == 401
    assert pages(owned, "keys?owner=dan", "keys")[0]["state"] == "revoked"
    assert owned.refused("DELETE", f"{path}/{'0' * 12}", "root:admin") == (404, "key_not_found")
    assert owned.refused("DELETE", f"{path}/x", "root:admin") == (404, "key_not_found")
    good: dict[str, object] = {"owner": "dan", "scopes": ["read"]}
    refused: tuple[dict[str, object], ...] = (
        {"scopes": []},
        {"scopes": ["root"]},
        {"scopes": "read"},
        {"owner": " "},
        {"expires_in": 1},
        {"x": 1},
    )
    for wrong in refused:
        assert owned.refused("POST", path, "root:admin", good | wrong) == (400, "field_invalid"), wrong
    assert owned.refused("GET", path + "?cursor=x", "root:admin") == (400, "cursor_invalid")
    assert {"key_created", "key_revoked"} <= set(owned.actions())


def test_grants_are_listed_and_revoked(owned: Owned) -> None:
    """With how many places are taken; a revoked one creates nothing."""
    made = [owned.json("POST", "/api/grants", "eve", {"uploads": 2})[1] for _ in range(3)]
    found = pages(owned, "grants?owner=eve", "grants")
    assert [row["id"] for row in found] == [one["grant_id"] for one in reversed(made)]
    assert {(row["uploads"], row["used"], row["state"]) for row in found} == {(2, 0, "valid")}
    grant_id = made[0]["grant_id"]
    assert owned.json("DELETE", f"/api/admin/grants/{grant_id}", "root:admin")[0] == 200
    assert pages(owned, "grants?owner=eve", "grants")[-1]["state"] == "revoked"
    assert owned.refused("DELETE", f"/api/admin/grants/{'f' * 12}", "root:admin") == (404, "grant_not_found")
    assert "secret" not in json.dumps(found)


def test_the_audit_log_is_read_by_pages(owned: Owned, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest first, each entry once, also where a page may look at few entries only."""
    database = Database(owned.live.database_url, 1)
    log = AuditLog(database=database, clock=utc_now)
    for number in range(12):
        action = "rare" if number % 5 == 0 else "frequent"
        log.record_now(Entry(action=action, actor="test", owner="fay", details={"number": number}))
    database.close()
    monkeypatch.setattr(access_lists, "MOST_EXAMINED", 4)
    mine = pages(owned, "audit?owner=fay", "entries")
    assert [row["details"]["number"] for row in mine] == list(range(11, -1, -1))
    assert [row["details"]["number"] for row in pages(owned, "audit?action=rare", "entries")] == [10, 5, 0]
    assert pages(owned, "audit?action=rare&to=2020-01-01", "entries") == []
    assert pages(owned, "audit?action=rare&from=2999-01-01", "entries") == []
    assert len(pages(owned, "audit?action=rare&from=2020-01-01&to=2999-01-01", "entries", limit=1)) == 3
    assert owned.refused("GET", "/api/admin/audit?cursor=-1", "root:admin") == (400, "cursor_invalid")


def test_settings_are_shown_without_secrets(owned: Owned) -> None:
    """Every setting; a secret is three asterisks, whether it is the value or in a URL."""
    found = {row["name"]: row for row in ask(owned, "settings")["settings"]}
    assert (found["jwt_secret"]["value"], found["jwt_secret"]["is_secret"]) == ("***", True)
    assert (found["owner_stored_bytes"]["value"], found["owner_stored_bytes"]["is_default"]) == ("5000", False)
    assert found["owner_stored_bytes"]["source"] == "environment"  # as what a command line gives
    assert found["owner_daily_bytes"]["source"] == "default"
    assert found["database_url"]["is_secret"]
    assert SECRET not in json.dumps(found)


def test_settings_are_described_in_the_language_of_the_reader(owned: Owned) -> None:
    """Chinese, as everywhere in the API, unless the reader asks for English."""
    described = {}
    for language in ("zh-CN", "en"):
        answer = owned.ask("GET", "/api/admin/settings", "root:admin", {"Accept-Language": language})
        described[language] = {row["name"]: row["description"] for row in json.loads(answer.body)["settings"]}
    assert described["zh-CN"]["port"] == CHINESE["port"]
    assert described["en"]["port"] == Settings.model_fields["port"].description


def test_the_doctor_is_asked_once_a_minute(owned: Owned) -> None:
    """Its checks by name, without the folders of the machine; the same answer for a while, in the reader's language."""
    found = ask(owned, "doctor")
    states = {check["name"]: check["state"] for check in found["checks"]}
    assert states["database"] == "ok"
    assert states["store"] == "ok"
    assert str(owned.live.data_dir) not in json.dumps(found)
    assert ask(owned, "doctor") == found
    answer = owned.ask("GET", "/api/admin/doctor", "root:admin", {"Accept-Language": "en"})
    english = json.loads(answer.body)
    assert (english["at"], english["seconds"]) == (found["at"], found["seconds"])
    queues = [check for made in (found, english) for check in made["checks"] if check["name"] == "queue"]
    assert [queue["title"] for queue in queues] == ["队列", "queue"]
    assert "个等待" in queues[0]["note"]
    assert "waiting" in queues[1]["note"]
