"""A page of another site that uses somebody's session on each kind of route: it changes nothing."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.conftest import StartServer
from tests.security.callers import PATCH, TUS, Callers, id_of

CROSS = [
    {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
    {"Sec-Fetch-Site": "same-site", "Origin": "https://other.example"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {},
]
WEBHOOK = {"url": "https://backend.example/", "events": ["task.completed"]}
Ask = Callable[..., httpx.Response]


@pytest.fixture(params=["videodock", "tuspyserver"])
def callers(request: pytest.FixtureRequest, start_server: StartServer, tmp_path: Path) -> Callers:
    """A server on which alice has videos."""
    made = Callers(start_server(auth="on", downloads="on", tus_engine=request.param), tmp_path)
    made.make_keys()
    return made


def made(callers: Callers, path: str, kind: str, asked: object) -> str:
    """The id of a new share or webhook of alice."""
    answer = callers.ask("POST", path, "owner", json=asked)
    assert answer.status_code == 201, answer.text
    return str(answer.json()[kind]["id"])


def keys_of(callers: Callers) -> object:
    """What an administrator sees of all keys."""
    return [(key["id"], key["revoked_at"]) for key in callers.ask("GET", "/api/admin/keys", "admin").json()["keys"]]


def signed_in(callers: Callers, kind: str = "owner") -> Ask:
    """Requests of a browser in which alice, or who else is named, has signed in; `Sec-Fetch-Site` and `Origin` are said
    in each request."""
    own = {"Sec-Fetch-Site": "same-origin"}
    answer = callers.server.http.post(
        f"{callers.server.url}/api/session", json={"key": callers.keys[kind]}, headers=own
    )
    assert answer.status_code == 200
    cookie = answer.headers["Set-Cookie"].partition(";")[0]
    callers.server.http.cookies.clear()  # each request says what it has

    def ask(method: str, path: str, headers: dict[str, str], **more: object) -> httpx.Response:
        url = callers.server.url + path
        return callers.server.http.request(method, url, headers={"Cookie": cookie, **headers}, **more)  # type: ignore[arg-type]

    return ask


def test_another_site_changes_nothing_with_a_session(callers: Callers) -> None:
    """Uploads, tasks, grants, shares, posters and webhooks, straight and by an override: 403; our own page may."""
    ask = signed_in(callers)
    done, opened = id_of(callers.done), id_of(callers.open_upload())
    shares, poster = f"/api/task/{done}/shares", f"/api/task/{done}/poster"
    share, hook = made(callers, shares, "share", {}), made(callers, "/api/webhooks", "webhook", WEBHOOK)
    chunk = {**PATCH, "Upload-Offset": "0"}
    form = {"videos": ("video.mp4", callers.video.read_bytes(), "video/mp4")}
    requests: list[tuple[str, str, dict[str, str], dict[str, object]]] = [
        ("POST", "/files", {**TUS, "Upload-Length": "10"}, {}),
        ("POST", "/api/upload/videos", {}, {"files": form}),
        ("PATCH", f"/files/{opened}", chunk, {"content": b"x"}),
        ("POST", f"/files/{opened}", {**chunk, "X-HTTP-Method-Override": "PATCH"}, {"content": b"x"}),
        ("DELETE", f"/files/{opened}", TUS, {}),
        ("GET", f"/files/{opened}", {**TUS, "X-HTTP-Method-Override": "DELETE"}, {}),
        ("POST", f"/api/task/cancel/{done}", {}, {}),
        ("POST", "/api/grants", {}, {"json": {}}),
        ("POST", shares, {}, {"json": {}}),
        ("DELETE", f"{shares}/{share}", {}, {}),
        ("PUT", poster, {}, {"json": {"seconds": 0}}),
        ("DELETE", poster, {}, {}),
        ("POST", "/api/webhooks", {}, {"json": WEBHOOK}),
        ("PATCH", f"/api/webhooks/{hook}", {}, {"json": {"enabled": False}}),
        ("POST", f"/api/webhooks/{hook}/rotate", {}, {}),
        ("DELETE", f"/api/webhooks/{hook}", {}, {}),
        ("DELETE", f"/api/task/{done}", {}, {}),
    ]
    for cross in CROSS:
        for method, path, headers, more in requests:
            answer = ask(method, path, {**headers, **cross}, **more)
            assert (answer.status_code, "cross_site" in answer.text) == (403, True), (method, path, cross)
    assert callers.server.http.head(callers.done, headers=TUS).status_code == 200
    own = {"Sec-Fetch-Site": "same-origin"}
    statuses = [ask(method, path, {**headers, **own}, **more).status_code for method, path, headers, more in requests]
    assert statuses == [201, 200, 204, 409, 204, 410, 409, 201, 201, 200, 200, 200, 201, 200, 200, 200, 200]


def test_another_site_makes_no_key_with_a_session(callers: Callers) -> None:
    """Nor does it revoke one or change an owner's limits, though an administrator has signed in."""
    ask = signed_in(callers, "admin")
    mine = callers.keys["owner"].split("_")[1]
    requests: list[tuple[str, str, dict[str, object]]] = [
        ("POST", "/api/admin/keys", {"json": {"owner": "mallory", "scopes": ["admin"]}}),
        ("DELETE", f"/api/admin/keys/{mine}", {}),
    ]
    before = keys_of(callers)
    for cross in CROSS:
        for method, path, more in requests:
            answer = ask(method, path, cross, **more)
            assert (answer.status_code, "cross_site" in answer.text) == (403, True), (method, path, cross)
    assert keys_of(callers) == before
    own = {"Sec-Fetch-Site": "same-origin"}
    assert [ask(method, path, own, **more).status_code for method, path, more in requests] == [201, 200]


def test_a_session_reads_and_a_key_needs_no_origin(callers: Callers) -> None:
    """What changes nothing passes; a credential that a browser does not add by itself is no matter of sites."""
    ask = signed_in(callers)
    done = id_of(callers.done)
    for cross in CROSS:
        assert ask("GET", f"/api/task/status/{done}", cross).status_code == 200
        assert ask("HEAD", f"/files/{done}", {**TUS, **cross}).status_code in (200, 403)
        created = callers.ask("POST", "/files", "owner", {**TUS, "Upload-Length": "10", **cross})
        assert created.status_code == 201
