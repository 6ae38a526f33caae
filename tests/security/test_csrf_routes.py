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
Ask = Callable[..., httpx.Response]


@pytest.fixture(params=["videodock", "tuspyserver"])
def callers(request: pytest.FixtureRequest, start_server: StartServer, tmp_path: Path) -> Callers:
    """A server on which alice has videos."""
    made = Callers(start_server(auth="on", downloads="on", tus_engine=request.param), tmp_path)
    made.make_keys()
    return made


def signed_in(callers: Callers) -> Ask:
    """Requests of a browser in which alice has signed in; `Sec-Fetch-Site` and `Origin` are the caller's."""
    own = {"Sec-Fetch-Site": "same-origin"}
    answer = callers.server.http.post(
        f"{callers.server.url}/api/session", json={"key": callers.keys["owner"]}, headers=own
    )
    assert answer.status_code == 200
    cookie = answer.headers["Set-Cookie"].partition(";")[0]
    callers.server.http.cookies.clear()  # each request says what it has

    def ask(method: str, path: str, headers: dict[str, str], **more: object) -> httpx.Response:
        url = callers.server.url + path
        return callers.server.http.request(method, url, headers={"Cookie": cookie, **headers}, **more)  # type: ignore[arg-type]

    return ask


def test_another_site_changes_nothing_with_a_session(callers: Callers) -> None:
    """Creation, form, chunk, deletion, cancel, grants, straight and by an override: 403; our own page may."""
    ask = signed_in(callers)
    done, opened = id_of(callers.done), id_of(callers.open_upload())
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
        ("DELETE", f"/api/task/{done}", {}, {}),
        ("POST", "/api/grants", {}, {"json": {}}),
    ]
    for cross in CROSS:
        for method, path, headers, more in requests:
            answer = ask(method, path, {**headers, **cross}, **more)
            assert (answer.status_code, "cross_site" in answer.text) == (403, True), (method, path, cross)
    assert callers.server.http.head(callers.done, headers=TUS).status_code == 200
    own = {"Sec-Fetch-Site": "same-origin"}
    statuses = [ask(method, path, {**headers, **own}, **more).status_code for method, path, headers, more in requests]
    assert statuses == [201, 200, 204, 409, 204, 410, 409, 200, 201]


def test_a_session_reads_and_a_key_needs_no_origin(callers: Callers) -> None:
    """What changes nothing passes; a credential that a browser does not add by itself is no matter of sites."""
    ask = signed_in(callers)
    done = id_of(callers.done)
    for cross in CROSS:
        assert ask("GET", f"/api/task/status/{done}", cross).status_code == 200
        assert ask("HEAD", f"/files/{done}", {**TUS, **cross}).status_code in (200, 403)
        created = callers.ask("POST", "/files", "owner", {**TUS, "Upload-Length": "10", **cross})
        assert created.status_code == 201
