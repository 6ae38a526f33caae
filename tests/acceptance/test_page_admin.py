"""The operator's view in Chromium: a key, a webhook, an upload in flight, limits, failures; each room for everybody."""

from base64 import b64encode
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from server.bootstrap import utc_now
from tests.bad_videos import FTYP
from tests.conftest import StartServer
from tests.harness.chromium import look
from tests.harness.receiver import Receiver
from tests.harness.rows import execute, query
from tests.harness.server_process import ServerProcess
from tests.harness.videos_page import Step, check_accessible, use
from tests.harness.waiting import until
from tests.security.callers import PATCH, Callers, id_of

pytestmark = [pytest.mark.acceptance, pytest.mark.turns(3)]  # a browser and its rooms

ROOMS = ("", "uploads", "tasks", "owners", "keys", "webhooks", "audit", "settings", "doctor")


@pytest.fixture
def kept(start_server: StartServer, tmp_path: Path) -> Callers:
    """A server with authentication, and the keys of its callers; `root` is its administrator."""
    server = start_server(auth="on", transcode="none", storyboard="off", webhook_allow_private="on")
    callers = Callers(server, tmp_path)
    for kind, owner, scopes in (
        ("owner", "alice", ("upload", "read", "manage")),
        ("admin", "root", ("admin",)),
    ):
        callers.keys[kind] = callers.key(owner, *scopes)
    return callers


def sign_in(callers: Callers, kind: str = "admin") -> list[Step]:
    return [
        ["visible", "#credential"],
        ["fill", "#credential", callers.keys[kind]],
        ["key", "Enter"],
        ["gone", "#credential"],
    ]


def named(name: str) -> dict[str, str]:
    """The header that names a new upload."""
    return {"Upload-Metadata": f"filename {b64encode(name.encode()).decode()}"}


def room(name: str) -> list[Step]:
    """Go to a room as a person does."""
    return [["click", f'.rooms a[href$="{f"/admin/{name}" if name else "/admin"}"]'], ["visible", ".room h1"]]


def audited(server: ServerProcess, *actions: str) -> list[dict[str, Any]]:
    """What the audit log has of these actions, in order."""
    rows = query(server.database_url, "SELECT action, actor, owner, object_id, object_owner FROM audit_log ORDER BY id")
    return [row for row in rows if row["action"] in actions]


def status_with(secret: str) -> str:
    """An expression: the status of a request with a key, and without the cookie."""
    headers = f"{{headers: {{'Authorization': 'Bearer {secret}' }}, credentials: 'omit' }}"
    return f"fetch('api/tasks', {headers}).then((answer) => String(answer.status))"


def test_a_key_is_made_used_revoked_and_then_refused(kept: Callers, tmp_path: Path) -> None:
    """By keyboard: its text is shown once and can be copied; the audit log says who did it."""
    events = use(
        tmp_path,
        kept.server.url,
        "admin/keys",
        *sign_in(kept),
        ["visible", "#keys tbody tr:nth-child(2)"],
        ["allowClipboard"],
        ["press", "#new-key", "Enter"],
        ["visible", "#key-owner"],
        ["key", "Escape"],
        ["gone", "#key-owner"],
        ["is", "document.activeElement.id === 'new-key'"],
        ["key", "Enter"],
        ["click", "#create-key"],
        ["visible", '#key-owner[aria-invalid="true"]'],
        ["axe", "form"],
        ["fill", "#key-owner", "dan"],
        ["click", "#scope-manage"],
        ["key", "Enter"],
        ["visible", "#secret"],
        ["axe", "secret"],
        ["keep", "secret", "document.querySelector('#secret').value"],
        ["click", "#secret-copy"],
        ["text", "Copied."],
        ["clipboard"],
        ["click", "#secret-done"],
        ["gone", "#secret"],
        ["visible", '#keys tr:has-text("dan")'],
        ["look", "made"],
        ["keep", "valid", status_with("{secret}")],
        ["press", '#keys tr:has-text("dan") .revoke', "Enter"],
        ["visible", "#sure"],
        ["axe", "question"],
        ["click", "#sure"],
        ["visible", '#keys tr[data-state="revoked"]:has-text("dan")'],
        ["keep", "revoked", status_with("{secret}")],
        *room("audit"),
        ["visible", '#audit tr:has-text("Created a key")'],
        ["visible", '#audit tr:has-text("Revoked a key")'],
        ["select", "#action-filter", "key_created"],
        ["gone", '#audit tr:has-text("Revoked a key")'],
        ["look", "audit"],
        troubled=True,
    )
    check_accessible(events)
    kept_values = look(events, "audit")["values"]
    secret = kept_values["secret"]
    assert secret.startswith("vdk_")
    assert (kept_values["valid"], kept_values["revoked"]) == ("200", "401")
    assert [event["text"] for event in events if event["event"] == "clipboard"] == [secret]
    assert secret not in look(events, "made")["text"]
    made, gone = audited(kept.server, "key_created", "key_revoked")
    key_id = secret.split("_")[1]
    assert made["object_id"] == gone["object_id"] == key_id
    assert {made["owner"], gone["owner"]} == {"root"}
    assert made["object_owner"] == "dan"


def test_a_webhook_is_added_tested_seen_and_replayed(kept: Callers, tmp_path: Path) -> None:
    """Its secret verifies what a real receiver gets; deliveries have status and answer; it is disabled and removed."""
    one = ".table tbody tr:nth-child(1)"
    with Receiver() as receiver:
        events = use(
            tmp_path,
            kept.server.url,
            "admin/webhooks",
            *sign_in(kept),
            ["visible", ".empty"],
            ["click", "#new-webhook"],
            ["fill", "#webhook-address", "backend.example"],
            ["click", "#add-webhook"],
            ["visible", '#webhook-address[aria-invalid="true"]'],
            ["fill", "#webhook-address", receiver.url],
            ["axe", "form"],
            ["click", "#add-webhook"],
            ["visible", "#secret"],
            ["keep", "secret", "document.querySelector('#secret').value"],
            ["click", "#secret-done"],
            ["click", ".webhook-link"],
            ["visible", "#webhook-test"],
            ["click", "#webhook-test"],
            ["visible", '#deliveries tr[data-state="delivered"]'],
            ["look", "delivered"],
            ["axe", "webhook"],
            ["click", f"#deliveries {one} .answers"],
            ["visible", ".attempts pre"],
            ["look", "answers"],
            ["axe", "answers"],
            ["key", "Escape"],
            ["click", f"#deliveries {one} .replay"],
            ["visible", "#deliveries .table-value p:text('2 attempts')"],
            ["click", "#webhook-more"],
            ["click", "#webhook-range"],
            ["fill", "#replay-from", "2026-01-01T00:00"],
            ["click", "#replay-range"],
            ["gone", "#replay-range"],
            ["click", "#webhook-enable"],
            ["text", "The webhook is disabled."],
            ["click", "#webhook-more"],
            ["click", "#webhook-rotate"],
            ["click", "#sure"],
            ["visible", "#secret"],
            ["keep", "second", "document.querySelector('#secret').value"],
            ["click", "#secret-done"],
            ["click", "#webhook-more"],
            ["click", "#webhook-remove"],
            ["click", "#sure"],
            ["visible", ".empty"],
            ["look", "removed"],
            troubled=True,
        )
        values = look(events, "removed")["values"]
        assert len(receiver.asked) >= 2
        assert {body["type"] for body in receiver.verified(values["secret"])} == {"webhook.test"}
        assert set(receiver.ids[:2]) == {receiver.ids[0]}
    check_accessible(events)
    assert values["second"].startswith("whsec_")
    assert values["second"] != values["secret"]
    assert "Delivered" in look(events, "delivered")["text"]
    assert "HTTP 200" in look(events, "answers")["text"]
    assert "thanks" in look(events, "answers")["text"]
    assert look(events, "removed")["path"].endswith("/admin/webhooks")
    words = ("added", "tested", "replayed", "replayed", "changed", "rotated", "removed")
    actions = [f"webhook_{word}" for word in words]
    assert [row["action"] for row in audited(kept.server, *actions)] == actions


def test_an_upload_in_flight_is_ended(kept: Callers, tmp_path: Path) -> None:
    """The operator sees its owner, offset and client, is asked, and ends it; its client is refused from then on."""
    url = kept.open_upload(1000, **named("holiday.mp4"))
    begun = FTYP + b"\0" * (250 - len(FTYP))
    answer = kept.ask("PATCH", url, "owner", {**PATCH, "Upload-Offset": "0"}, content=begun)
    assert answer.status_code == 204, answer.text
    until(
        lambda: query(kept.server.database_url, "SELECT received FROM uploads")[0]["received"] == 250,
        what="the progress is in the database",
    )
    events = use(
        tmp_path,
        kept.server.url,
        "admin/uploads",
        *sign_in(kept),
        ["visible", "#uploads .end"],
        ["look", "open"],
        ["axe", "uploads"],
        ["click", "#uploads .end"],
        ["visible", "#sure"],
        ["key", "Escape"],
        ["gone", "#sure"],
        ["fill", "#owner-filter", "bob"],
        ["visible", ".room .empty"],
        ["fill", "#owner-filter", "alice"],
        ["visible", "#uploads .end"],
        ["look", "listed"],
        ["click", "#uploads .end"],
        ["click", "#sure"],
        ["gone", "#uploads"],
        ["visible", ".empty"],
        *room("audit"),
        ["visible", '#audit tr:has-text("Ended an upload")'],
        ["look", "audit"],
    )
    check_accessible(events)
    text = look(events, "open")["text"]
    for words in ("holiday.mp4", "alice", "250 B of 1000 B · 25%", "Python"):
        assert words in text, words
    assert "250 B of 1000 B · 25%" in look(events, "listed")["text"]
    assert kept.ask("HEAD", url, "owner", {"Tus-Resumable": "1.0.0"}).status_code in (404, 410)
    (entry,) = audited(kept.server, "upload_terminated")
    assert (entry["owner"], entry["object_owner"], entry["object_id"]) == ("root", "alice", id_of(url))
    assert "root" in look(events, "audit")["text"]


def test_the_first_screen_says_what_is_wrong_and_lets_it_be_tried_again(kept: Callers, tmp_path: Path) -> None:
    """A video that failed and a webhook that takes nothing are told with what to do; the retry is recorded."""
    url = kept.open_upload(1000, **named("broken.mp4"))
    content = FTYP + b"\0" * (1000 - len(FTYP))
    assert kept.ask("PATCH", url, "owner", {**PATCH, "Upload-Offset": "0"}, content=content).is_success
    until(
        lambda: [row["status"] for row in query(kept.server.database_url, "SELECT status FROM tasks")] == ["error"],
        what="the task has failed",
    )
    asked = {"url": "http://127.0.0.1:9/", "events": ["task.completed"]}
    made = kept.ask("POST", "/api/webhooks", "owner", json=asked).json()["webhook"]["id"]
    soon = (utc_now() + timedelta(hours=1)).strftime("%Y-%m-%d %H:%M:%S.%f")
    broken = "UPDATE webhook_endpoints SET failures = 9, retry_at = :soon WHERE id = :id"
    execute(kept.server.database_url, broken, soon=soon, id=made)
    events = use(
        tmp_path,
        kept.server.url,
        "admin",
        *sign_in(kept),
        ["visible", f'.finding a[href$="webhook={made}"]'],
        ["visible", "#failures .retry"],
        ["look", "wrong"],
        ["axe", "overview"],
        ["click", "#failures .retry"],
        ["visible", ".toast"],
        ["is", "document.querySelector('#tile-doctor .tile-value').textContent !== '–'"],
        ["click", f'.finding a[href$="webhook={made}"]'],
        ["visible", "#deliveries"],
        *room("owners"),
        ["press", '#owners tr:has-text("alice") .set-limits', "Enter"],
        ["fill", "#limit-open_uploads", "many"],
        ["click", "#save-limits"],
        ["visible", '#limit-open_uploads[aria-invalid="true"]'],
        ["axe", "limits"],
        ["fill", "#limit-open_uploads", "3"],
        ["fill", "#limit-stored_bytes", "20 GiB"],
        ["click", "#save-limits"],
        ["gone", "#save-limits"],
        ["visible", '#owners tr:has-text("of 20 GiB")'],
        *room("tasks"),
        ["press", '[data-sort="name"]', "Enter"],
        ["visible", 'th[aria-sort="ascending"] [data-sort="name"]'],
        ["press", '[data-sort="name"]', "Enter"],
        ["visible", 'th[aria-sort="descending"] [data-sort="name"]'],
        ["is", "location.search === '?sort=name'"],
        ["visible", '#tasks tbody tr:has-text("broken.mp4")'],
        *room("settings"),
        ["fill", "#settings-search", "webhook allow"],
        ["is", "document.querySelectorAll('#settings tbody tr').length === 1"],
        ["look", "setting"],
        troubled=True,
    )
    check_accessible(events)
    text = look(events, "wrong")["text"]
    assert "One video failed in the last 24 hours" in text
    assert "broken.mp4" in text
    assert "http://127.0.0.1:9/" in text
    assert look(events, "setting")["text"].count("VIDEODOCK_WEBHOOK_ALLOW_PRIVATE") == 1
    retried, limited = audited(kept.server, "task_retried", "owner_limits_set")
    assert (retried["owner"], retried["object_owner"]) == ("root", "alice")
    assert (limited["owner"], limited["object_owner"]) == ("root", "alice")
    rows = query(kept.server.database_url, "SELECT stored_bytes, open_uploads FROM owners WHERE owner = 'alice'")
    assert [(row["stored_bytes"], row["open_uploads"]) for row in rows] == [(20 << 30, 3)]


def test_only_an_administrator_finds_the_rooms(kept: Callers, tmp_path: Path) -> None:
    """Others have no link, and are told which key it takes; after a sign-out nothing of a room is on the screen."""
    events = use(
        tmp_path,
        kept.server.url,
        "admin/keys",
        ["visible", "#credential"],
        ["look", "out"],
        *sign_in(kept, "owner"),
        ["visible", ".empty"],
        ["look", "forbidden"],
        ["axe", "forbidden"],
        ["click", "#sign-out"],
        *sign_in(kept),
        ["visible", "#keys"],
        ["look", "in"],
        ["goto", "admin/nothing"],
        ["visible", ".empty"],
        ["goto", "admin/uploads"],
        ["visible", ".room .empty"],
        ["ask", "DELETE", "api/session"],  # as another window does it
        ["visible", "#credential"],
        ["look", "over"],
        *sign_in(kept),
        ["visible", ".room .empty"],
        ["goto", "admin/audit"],
        ["visible", "#audit"],
        ["click", "#sign-out"],
        ["visible", "#credential"],
        ["look", "again"],
        troubled=True,
    )
    check_accessible(events)
    assert "Admin" not in look(events, "forbidden")["text"].splitlines()
    assert "scope “admin”" in look(events, "forbidden")["text"]
    assert "Admin" in look(events, "in")["text"].splitlines()
    assert "Your sign-in has ended." in look(events, "over")["text"]
    for label in ("out", "over", "again"):
        assert "alice" not in look(events, label)["text"]
        assert "127.0.0.1" not in look(events, label)["text"]
    asked = [event["url"] for event in events if event["event"] == "request" and "/api/admin/" in event["url"]]
    first = [event for event in events if event["event"] == "look" and event["label"] == "forbidden"]
    before = events[: events.index(first[0])]
    assert asked
    assert not [event for event in before if event["event"] == "request" and "/api/admin/" in event["url"]]


@pytest.mark.sampled(1)
@pytest.mark.parametrize("locale", ["en-GB", "zh-CN"])
def test_every_room_fits_a_small_phone(start_server: StartServer, tmp_path: Path, locale: str) -> None:
    """Without authentication, at 320 CSS pixels and as a table: nothing scrolls sideways, and axe finds nothing."""
    server = start_server(transcode="none", storyboard="off")
    callers = Callers(server, tmp_path)
    callers.keys["admin"] = "none"
    callers.open_upload(1000, "none", **named("a-name-without-any-place-to-break-it-" * 4 + "视频.mp4"))
    asked = {"url": "https://backend.example/" + "a-long-path-" * 8, "events": ["task.completed", "task.failed"]}
    assert callers.ask("POST", "/api/webhooks", "none", json=asked).is_success
    assert callers.ask("PATCH", "/api/admin/owners", "none", json={"owner": "a" * 60, "open_uploads": 1}).is_success
    key = {"owner": "robert.with-a-long-name@videos.example.org", "scopes": ["upload", "read", "manage"]}
    assert callers.ask("POST", "/api/admin/keys", "none", json=key).is_success
    steps: list[Step] = [["size", 320, 568]]
    for name in ROOMS:
        ready = {"doctor": "#doctor-checks", "": ".tiles", "audit": "#audit, .empty"}.get(
            name, ".table tbody tr, .empty"
        )
        steps += [*room(name), ["visible", ready], ["look", f"small {name}"], ["axe", f"small {name}"]]
        steps += [["size", 1280, 800], ["look", f"wide {name}"], ["axe", f"wide {name}"], ["size", 320, 568]]
    events = use(tmp_path, server.url, "admin", *steps, locale=locale)
    check_accessible(events)
    found = {event["label"]: event["wide"] for event in events if event["event"] == "look"}
    assert {label: wide for label, wide in found.items() if wide > 0} == {}
    assert len(found) == 2 * len(ROOMS)
    words = "身份验证" if locale.startswith("zh") else "Authentication is off"
    assert all(words in look(events, label)["text"] for label in found)
