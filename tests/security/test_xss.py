"""Stored XSS: names and metadata that are written to attack a page do nothing in the upload page, in Chromium."""

import base64
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartServer
from tests.harness.chromium import look
from tests.harness.node import Event
from tests.harness.rows import query
from tests.harness.tasks import ENDS
from tests.harness.upload_page import use
from tests.harness.waiting import until
from tests.samples import make
from tests.security.callers import PATCH, TUS, Callers, id_of

pytestmark = pytest.mark.turns(2)  # ways of a name into the page

# No slash: none of these could be a file's name on a disk with one. alert() would be the event `dialog`.
ATTACKS = {
    "image": "<img src=x onerror=alert(1)>.mp4",
    "quotes": '"onmouseover="alert(1)" x=\'.mp4',
    "apostrophe": "' autofocus onfocus='alert(1).mp4",
    "svg": "<svg onload=alert(1)>.mp4",
    "script": "<script>alert(1)<\\script>.mp4",
    "entities": "&lt;img src=x onerror=alert(1)&gt;&#x22;.mp4",
    "template": "${alert(1)}{{alert(1)}}.mp4",
    "url": "javascript:alert(1).mp4",
    "override": "invoice\u202e4pm.exe.mp4",
    "isolates": "a\u2066b\u2069\u200b\u2028c.mp4",
    "long": "a" * 240 + ".mp4",
}


@pytest.fixture
def attacks(tmp_path: Path) -> list[Path]:
    """A video under each of the names."""
    folder = tmp_path / "attacks"
    folder.mkdir()
    data = make(tmp_path, "video.mp4", seconds=1).read_bytes()
    made = [folder / name for name in ATTACKS.values()]
    for path in made:
        path.write_bytes(data)
    return made


def check_harmless(events: list[Event]) -> list[dict[str, Any]]:
    """Nothing was run, and nothing but text came out of the names; the rows."""
    assert not [event for event in events if event["event"] == "dialog"]
    seen = look(events, "end")
    assert seen["tooWide"]["by"] <= 0
    rows: list[dict[str, Any]] = seen["rows"]
    return rows


def test_no_name_runs_in_the_page(start_server: StartServer, tmp_path: Path, attacks: list[Path]) -> None:
    """Chosen, uploaded, processed, hovered, reloaded: names are text, and the policy is not even asked."""
    server = start_server()
    steps: list[list[object]] = [
        ["choose", *map(str, attacks)],
        ["until", "done", len(attacks)],
        ["hover", ".row .name"],
        ["look", "end"],
    ]
    # `use` fails at the first word on the console, and the page writes every violation of the policy there.
    rows = check_harmless(use(tmp_path, server.url, *steps))
    assert len(rows) == len(attacks)
    assert {row["name"] for row in rows} == set(ATTACKS.values()), "a name is shown as it is, as text"
    assert all(row["poster"] for row in rows)


def test_a_refusal_shows_a_name_as_text(start_server: StartServer, tmp_path: Path) -> None:
    """The sentence of a refusal, and the row of a file that is no video, have the name in them."""
    server = start_server()
    fake = tmp_path / ATTACKS["image"]
    fake.write_bytes(b"<html><script>alert(1)</script>" * 40)
    other = tmp_path / "<img src=x onerror=alert(2)>.exe"
    other.write_bytes(b"MZ" * 100)
    steps: list[list[object]] = [
        ["choose", str(fake), str(other)],
        ["until", "failed", 2],
        ["look", "end"],
    ]
    check_harmless(use(tmp_path, server.url, *steps, troubled=True))


def test_metadata_that_attack_come_back_as_data_alone(start_server: StartServer, tmp_path: Path) -> None:
    """Every answer that has a name or metadata in it is of a type that no browser runs, and says not to guess."""
    server = start_server(auth="on", rate_failures="", downloads="on")
    callers = Callers(server, tmp_path)
    callers.keys["owner"] = callers.key("alice", "upload", "read", "manage")
    data = callers.video.read_bytes()
    attack = "</script><img src=x onerror=alert(1)>\r\nSet-Cookie: a=b\u202e.mp4"
    pairs = {"filename": attack, "filetype": "text/html", "title": "<svg onload=alert(1)>"}
    metadata = ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in pairs.items())
    location = callers.open_upload(len(data), **{"Upload-Metadata": metadata})
    answer = server.http.patch(location, headers={**PATCH, "Upload-Offset": "0"}, content=data)
    assert answer.status_code == 204, answer.text
    status = location.replace("/files/", "/api/task/status/")
    until(lambda: server.http.get(status).json()["status"] in ENDS, seconds=60, what="the task has ended")
    (row,) = query(server.database_url, "SELECT filename FROM uploads WHERE id = :id", id=id_of(location))
    assert not set(row["filename"]) & set("\r\n")
    answers = [
        server.http.get(status),
        server.http.get(location),
        server.http.head(location, headers=TUS),
        server.http.get(f"{server.url}/api/task/status/<img src=x>"),
        server.http.get(f"{server.url}/files/<img src=x>"),
        server.http.get(f"{server.url}/<img src=x onerror=alert(1)>"),
        server.http.get(f"{server.url}/media/<script>/b/c"),
    ]
    for answer in answers:
        kind = answer.headers.get("Content-Type", "").partition(";")[0]
        assert kind in ("application/json", "text/plain", "video/mp4", ""), (answer.url, kind)
        if kind != "application/json":
            assert answer.headers["X-Content-Type-Options"] == "nosniff", answer.url
        assert "Set-Cookie" not in answer.headers
        if kind == "text/plain":
            assert "<img" not in answer.text, answer.url
    assert answers[1].headers["Content-Disposition"].startswith("attachment")
