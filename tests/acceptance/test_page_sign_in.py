"""The upload page on a server with authentication: signing in, uploading with the session, signing out.

A stub knows the keys and asks for a session at creation (`tests/harness/sign_in.py`); all else is real.
"""

import json
from pathlib import Path

import pytest

from server.messages import sentence
from tests.conftest import StartServer
from tests.harness.chromium import check_continued, look, requests, responses
from tests.harness.node import Event
from tests.harness.rows import execute, query, sha256
from tests.harness.sign_in import KEY, OTHER_KEY, TOKEN, signing_in
from tests.harness.upload_page import browser, check_quiet
from tests.samples import big, make

pytestmark = [pytest.mark.acceptance, pytest.mark.turns(3)]  # a browser and its troubles

MIB = 1 << 20
WRONG = "vdk_0123456789ab_wrong"
OWNER = "robert.with-a-long-name@videos.example.org"
REFUSED = {
    language: sentence("credential_invalid", {"reason": "credential_unknown"}, language) for language in ("en", "zh")
}


def used(folder: Path, url: str, *steps: list[object], locale: str = "en-GB") -> list[Event]:
    """All events of these steps; nothing but requests that the server refuses may fail."""
    with browser(folder, url, *steps, locale=locale) as client:
        events = client.finish(seconds=150)
    check_quiet(events, url, troubled=True)
    return events


def sign_in(key: str) -> list[list[object]]:
    return [["visible", "#credential"], ["type", key], ["key", "Enter"], ["visible", "#zone"]]


@pytest.mark.parametrize("locale", ["en-GB", "zh-CN"])
@pytest.mark.turns(1)
def test_sign_in_upload_and_sign_out_by_keyboard(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, locale: str) -> None:
    """A wrong key is refused in the reader's language; the right one shows the uploader, until the owner signs out."""
    video = make(tmp_path, "clip.mp4")
    own, other = ("zh", "en") if locale.startswith("zh") else ("en", "zh")
    with signing_in(monkeypatch, tmp_path / "data") as live:
        events = used(
            tmp_path,
            live.url,
            ["visible", "#credential"],
            ["look", "form"],
            ["type", WRONG],
            ["key", "Enter"],
            ["text", REFUSED[own]],
            ["present", "#credential[aria-invalid='true']"],
            ["look", "refused"],
            ["click", "#language"],
            ["text", REFUSED[other]],
            ["click", "#language"],
            ["press", "#credential", "ControlOrMeta+A"],
            ["type", KEY],
            ["key", "Enter"],
            ["visible", "#zone"],
            ["look", "in"],
            ["choose", str(video)],
            ["until", "queued"],
            ["look", "uploaded"],
            ["press", "#sign-out", "Enter"],
            ["visible", "#credential"],
            ["look", "out"],
            ["reload"],
            ["visible", "#credential"],
            ["look", "again"],
            locale=locale,
        )
        rows = live.query("SELECT action, actor, owner, details FROM audit_log ORDER BY id")
        assert live.query("SELECT id_hash FROM browser_sessions") == []
        (upload,) = live.query("SELECT id FROM uploads")
        assert live.stored(upload["id"]) == video.read_bytes()
    assert [(row["action"], row["actor"]) for row in rows] == [
        ("sign_in_failed", "none"),
        ("sign_in", "test:ann"),
        ("sign_out", "test:ann"),
    ]
    assert WRONG not in str(rows)
    for label in ("form", "refused", "out", "again"):
        seen = look(events, label)
        assert seen["focus"] == "credential", label
        for hidden in ("clip.mp4", "ann", "MP4"):
            assert hidden not in seen["text"], (label, hidden)
        assert seen["stored"] == [], label
    assert look(events, "in")["focus"] == "choose"
    assert "ann" in look(events, "in")["text"].splitlines()
    assert [answer["status"] for answer in responses(events, "POST")] == [401, 200, 201]


def test_a_session_lasts_over_a_reload(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """After a reload the page shows the uploader without asking, and the videos of before."""
    with signing_in(monkeypatch, tmp_path / "data") as live:
        events = used(
            tmp_path,
            live.url,
            *sign_in(KEY),
            ["choose", str(make(tmp_path, "clip.mp4"))],
            ["until", "queued"],
            ["reload"],
            ["until", "queued"],
            ["look", "reloaded"],
        )
    assert "clip.mp4" in look(events, "reloaded")["text"]
    assert len([event for event in requests(events, "POST") if event["url"].endswith("/api/session")]) == 1


def test_an_upload_waits_for_the_next_sign_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """When the session ends, the page asks for a sign-in, and what was chosen is uploaded after it."""
    video = make(tmp_path, "clip.mp4")
    with signing_in(monkeypatch, tmp_path / "data") as live:
        events = used(
            tmp_path,
            live.url,
            *sign_in(KEY),
            ["dropCookies"],
            ["choose", str(video)],
            ["text", "Your sign-in has ended."],
            ["look", "over"],
            *sign_in(KEY),
            ["until", "queued"],
        )
        assert len(live.query("SELECT id FROM uploads")) == 1
    assert look(events, "over")["focus"] == "credential"


def test_another_owner_sees_nothing_of_the_one_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Signing out with an unfinished upload asks once more; then it is gone from the browser, and not from the server.

    The next owner's name fits on a telephone, however long.
    """
    video = big(tmp_path, "secret.mp4", 24 * MIB)
    with signing_in(monkeypatch, tmp_path / "data") as live:
        events = used(
            tmp_path,
            live.url,
            ["size", 375, 667],
            *sign_in(KEY),
            ["throttle", MIB],
            ["choose", str(video)],
            ["percent", 10],
            ["click", "#sign-out"],
            ["text", "Videos that are not fully uploaded are removed from this page."],
            ["look", "asked"],
            ["click", "#sign-out-sure"],
            ["visible", "#credential"],
            ["throttle", 0],
            *sign_in(OTHER_KEY),
            ["look", "other"],
        )
        assert len(live.query("SELECT id FROM uploads WHERE status = 'open'")) == 1
    assert look(events, "asked")["rows"][0]["state"] == "sending"
    seen = look(events, "other")
    assert (seen["rows"], OWNER in seen["text"]) == ([], True)
    assert seen["tooWide"] == {"by": 0, "out": []}
    assert seen["stored"] == []


def test_signing_out_in_one_window_signs_out_in_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The other window shows nothing of its videos and asks for a sign-in by itself; after it they are back."""
    with signing_in(monkeypatch, tmp_path / "data") as live:
        events = used(
            tmp_path,
            live.url,
            *sign_in(KEY),
            ["choose", str(make(tmp_path, "clip.mp4"))],
            ["until", "queued"],
            ["signOutElsewhere"],
            ["visible", "#credential"],
            ["look", "out"],
            *sign_in(KEY),
            ["text", "clip.mp4"],
        )
    assert "clip.mp4" not in look(events, "out")["text"]


def test_the_form_fits_a_telephone_and_takes_a_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing sticks out at 320 pixels, with a refusal too; an empty field is refused without asking the server."""
    with signing_in(monkeypatch, tmp_path / "data") as live:
        events = used(
            tmp_path,
            live.url,
            ["size", 320, 568],
            ["visible", "#credential"],
            ["key", "Enter"],
            ["text", "Enter your key or token."],
            ["type", WRONG],
            ["key", "Enter"],
            ["text", REFUSED["en"]],
            ["look", "refused"],
            ["fill", "#credential", TOKEN],
            ["click", "#sign-in-button"],
            ["visible", "#zone"],
            ["look", "in"],
        )
    for label in ("refused", "in"):
        assert look(events, label)["tooWide"] == {"by": 0, "out": []}
    assert [answer["status"] for answer in responses(events, "POST")] == [401, 200]


def test_a_server_that_is_away_is_told_and_asked_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without an answer about the session the form says so; with the network it clears up by itself."""
    with signing_in(monkeypatch, tmp_path / "data") as live:
        events = used(
            tmp_path,
            live.url,
            *sign_in(KEY),
            ["offline", True],
            ["click", "#sign-out"],
            ["text", "you are still signed in"],
            ["offline", False],
            ["fail", "**/api/session", 1],
            ["reload"],
            ["text", "The server does not answer."],
            ["visible", "#zone"],
            ["look", "end"],
        )
    assert "ann" in look(events, "end")["text"].splitlines()


def test_without_authentication_the_page_asks_nothing_of_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With `auth` off there is no form, no password field and no request about sessions."""
    with signing_in(monkeypatch, tmp_path / "data", auth="off") as live:
        events = used(tmp_path, live.url, ["visible", "#zone"], ["text", "are accepted"], ["look", "page"])
    assert not [event for event in events if "api/session" in str(event.get("url"))]
    assert "Sign" not in look(events, "page")["text"]
    assert not [event for event in events if event["event"] == "console"]


@pytest.mark.parametrize("engine", ["videodock", "tuspyserver"])
def test_a_real_key_uploads_and_an_upload_outlasts_its_session(
    start_server: StartServer, tmp_path: Path, engine: str
) -> None:
    """With the real authenticator: an upload goes on when the session has ended in the middle; the next one asks."""
    server = start_server(auth="on", tus_engine=engine)
    scopes = [part for scope in ("upload", "read", "manage") for part in ("--scope", scope)]
    key = json.loads(server.run("keys", "create", "--owner", "ann", *scopes, "--json").stdout)["key"]
    first, long, last = make(tmp_path, "clip.mp4"), big(tmp_path, "long.mp4", 24 * MIB), make(tmp_path, "last.mp4")
    events = used(
        tmp_path,
        server.url,
        *sign_in(key),
        ["choose", str(first)],
        ["until", "done"],
        ["visible", ".row img"],
        ["throttle", 5 * MIB],
        ["choose", str(long)],
        ["percent", 20],
        ["dropCookies"],
        ["throttle", 0],
        ["until", "done", 2],
        ["choose", str(last)],
        ["text", "Your sign-in has ended."],
        *sign_in(key),
        ["until", "done", 3],
        ["reload"],
        ["until", "done", 3],
        ["look", "end"],
        ["click", "#sign-out"],
        ["visible", "#credential"],
    )
    rows = query(server.database_url, "SELECT filename, owner FROM uploads")
    assert sorted((row["filename"], row["owner"]) for row in rows) == [
        ("clip.mp4", "ann"),
        ("last.mp4", "ann"),
        ("long.mp4", "ann"),
    ]
    creations = [answer["status"] for answer in responses(events, "POST") if answer["url"].endswith("/files")]
    assert creations == [201, 201, 401, 201]


def test_an_upload_goes_on_after_the_session_has_expired(start_server: StartServer, tmp_path: Path) -> None:
    """When the session expires in the middle of an upload, and the page is opened anew, the same upload goes on at its
    offset after the next sign-in: nothing is lost, and nothing is sent twice."""
    server = start_server(auth="on")
    key = json.loads(
        server.run("keys", "create", "--owner", "ann", "--scope", "upload", "--scope", "read", "--json").stdout
    )["key"]
    video = big(tmp_path, "long.mp4", 24 * MIB)
    steps: list[list[object]] = [
        *sign_in(key),
        ["throttle", 5 * MIB],
        ["choose", str(video)],
        ["percent", 20],
        ["throttle", MIB // 8],  # so that it is still sent when the session has expired
        ["look", "sending"],
        ["signedOut"],
        ["reload"],
        ["visible", "#credential"],
        ["look", "over"],
        ["throttle", 0],
        *sign_in(key),
        ["until", "done"],
        ["look", "end"],
    ]
    with browser(tmp_path, server.url, *steps) as client:
        client.wait_for("look", where=lambda event: event["label"] == "sending")
        execute(server.database_url, "UPDATE browser_sessions SET expires_at = '2026-01-01 00:00:00.000000'")
        events = client.finish(seconds=150)
    check_quiet(events, server.url, troubled=True)
    (stored,) = look(events, "over")["stored"]
    assert look(events, "end")["stored"] == []
    check_continued([event for event in events if not str(event.get("url")).endswith("/api/session")])
    (row,) = query(server.database_url, "SELECT id, owner FROM uploads")
    assert row == {"id": stored.partition("~")[0], "owner": "ann"}
    assert sha256(server.stored(row["id"])) == sha256(video)
