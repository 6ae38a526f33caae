"""Tokens, the operator's own service, sign-ins and failures, on the routes of a running server."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import StartServer
from tests.harness import backend as backends
from tests.harness.backend import Backend
from tests.harness.postgres import PostgresServer
from tests.harness.rows import query
from tests.harness.server_process import ServerProcess
from tests.harness.signed_tokens import SECRET, by_secret
from tests.harness.waiting import PATIENCE, until
from tests.security.callers import PATCH, TUS, Callers, id_of

CREATE = {**TUS, "Upload-Length": "1000"}


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def post(server: ServerProcess, headers: dict[str, str], **more: str) -> httpx.Response:
    """A creation with these headers."""
    return httpx.post(server.url + "/files", headers={**CREATE, **headers, **more}, trust_env=False, timeout=60)


def test_a_token_creates_and_its_upload_outlives_it(start_server: StartServer) -> None:
    """Owner and scopes come from the claims; an expired token creates nothing, and the upload's URL still works."""
    server = start_server(auth="on", jwt_secret=SECRET, jwt_leeway=0)
    mine = bearer(by_secret(sub="ann"))
    location = post(server, mine).headers["Location"]
    bare = f"{server.url}/files/{id_of(location)}"
    assert query(server.database_url, "SELECT owner FROM uploads") == [{"owner": "ann"}]
    for headers, status in (
        (mine, 200),
        (bearer(by_secret(sub="bob")), 404),
        (bearer(by_secret(sub="ann", scope="read")), 403),
        (bearer(by_secret(sub="ann", exp=1)), 401),
        (bearer(by_secret(sub="ann")[:-2]), 401),
    ):
        assert httpx.head(bare, headers={**TUS, **headers}, trust_env=False, timeout=PATIENCE).status_code == status
    expired = post(server, bearer(by_secret(sub="ann", exp=1)))
    assert expired.text.startswith("credential_invalid: ")
    assert "expired" in expired.text
    patch = httpx.patch(
        location, headers={**PATCH, "Upload-Offset": "0"}, content=bytes(10), trust_env=False, timeout=PATIENCE
    )
    assert patch.status_code == 204


@pytest.fixture
def backend() -> Iterator[Backend]:
    """A service that allows everything to carol."""
    with Backend(backends.answers(200, {"owner": "carol", "max_size": 5000, "metadata": {"order": "7"}})) as made:
        yield made


def test_the_operators_service_is_asked_at_creations_alone(
    start_server: StartServer, backend: Backend, tmp_path: Path
) -> None:
    """It learns what is to be uploaded, by tus and by form, and is never asked for a chunk, a HEAD or a status."""
    server = start_server(auth="on", auth_url=backend.url)
    cookie = {"Cookie": "shop=session-of-the-shop"}
    location = post(server, cookie, **{"Upload-Metadata": "filename YS5tcDQ=,order OA=="}).headers["Location"]
    assert len(backend.asked) == 1
    asked = backend.asked[0].json
    assert (asked["protocol"], asked["name"], asked["size"]) == ("tus", "a.mp4", 1000)
    assert asked["metadata"]["order"] == "8"
    assert asked["remote_address"] == "127.0.0.1"
    assert backend.asked[0].headers["cookie"] == "shop=session-of-the-shop"
    head = httpx.head(location, headers=TUS, trust_env=False, timeout=PATIENCE)
    assert "order Nw==" in head.headers["Upload-Metadata"]  # what the service says counts
    patch = httpx.patch(
        location, headers={**PATCH, "Upload-Offset": "0"}, content=bytes(10), trust_env=False, timeout=PATIENCE
    )
    assert patch.status_code == 204
    status = httpx.get(location.replace("/files/", "/api/task/status/"), trust_env=False, timeout=PATIENCE)
    assert status.status_code == 404  # not complete yet
    assert post(server, cookie, **{"Upload-Length": "5001"}).status_code == 413
    form = httpx.post(
        server.url + "/api/upload/videos", files={"videos": ("a.mp4", bytes(100), "video/mp4")}, headers=cookie,
        trust_env=False, timeout=PATIENCE
    )  # fmt: skip
    assert form.status_code == 400  # no video, and asked
    assert [one.json["protocol"] for one in backend.asked] == ["tus", "tus", "form"]
    assert query(server.database_url, "SELECT DISTINCT owner FROM uploads") == [{"owner": "carol"}]


def test_what_the_service_refuses_is_refused_in_its_words(start_server: StartServer, backend: Backend) -> None:
    """403 with its sentence; and 503 when it is broken, for a creation, while an upload goes on."""
    server = start_server(auth="on", auth_url=backend.url, auth_url_timeout=3)
    location = post(server, {}).headers["Location"]
    backend.behaviour = backends.answers(403, {"message": "Your subscription has ended"})
    refused = post(server, {})
    assert (refused.status_code, refused.text) == (
        403,
        "refused_by_backend: The upload was refused: Your subscription has ended\n",
    )
    for behaviour in (backends.answers(500, {}), backends.hangs, backends.answers(200, {"owner": ""})):
        backend.behaviour = behaviour
        assert post(server, {}).status_code == 503
        assert httpx.head(location, headers=TUS, trust_env=False, timeout=PATIENCE).status_code == 200


def test_whom_a_proxy_has_authenticated_is_signed_in(start_server: StartServer) -> None:
    """The page asks for no key then; from another peer the header is nothing."""
    for trusted, signed_in in (("127.0.0.1", True), ("192.0.2.1", False)):
        server = start_server(auth="on", auth_proxy_header="X-Forwarded-User", trusted_proxies=trusted)
        found = server.http.get(server.url + "/api/session", headers={"X-Forwarded-User": "alice"}).json()
        assert (found["signed_in"], found["owner"]) == (signed_in, "alice" if signed_in else None)


def test_whoever_sent_a_form_follows_its_task(start_server: StartServer, tmp_path: Path) -> None:
    """The answer has a URL for the status, which needs no credential; it is of this task alone."""
    server = start_server(auth="on")
    callers = Callers(server, tmp_path)
    callers.make_keys()
    files = {"videos": ("video.mp4", callers.video.read_bytes(), "video/mp4")}
    answers = [callers.ask("POST", "/api/upload/videos", "owner", files=files).json() for _ in range(2)]
    one, other = (answer["status_url"] for answer in answers)
    assert httpx.get(one, trust_env=False, timeout=PATIENCE).json()["task_id"] == answers[0]["task_id"]
    signature = one.rpartition("~")[2]
    swapped = f"{other.rpartition('~')[0]}~{signature}"
    assert httpx.get(swapped, trust_env=False, timeout=PATIENCE).status_code == 404
    upload = f"{server.url}/files/{answers[0]['task_id']}~{signature}"
    assert httpx.head(upload, headers=TUS, trust_env=False, timeout=PATIENCE).status_code == 404


def test_a_sign_in_is_for_our_own_page(start_server: StartServer, tmp_path: Path) -> None:
    """The cookie creates, reads and cancels from our origin; another site's page gets 403, and signing out ends it."""
    server = start_server(auth="on")
    callers = Callers(server, tmp_path)
    callers.make_keys()
    own = {"Origin": server.url, "Sec-Fetch-Site": "same-origin"}
    foreign = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    with httpx.Client(trust_env=False, base_url=server.url, timeout=60) as browser:
        assert browser.post("/api/session", json={"key": callers.keys["owner"]}, headers=foreign).status_code == 403
        assert browser.post("/api/session", json={"key": callers.keys["revoked"]}, headers=own).status_code == 401
        signed_in = browser.post("/api/session", json={"key": callers.keys["owner"]}, headers=own)
        assert signed_in.status_code == 200
        assert "HttpOnly" in signed_in.headers["Set-Cookie"]
        assert callers.keys["owner"] not in signed_in.headers["Set-Cookie"]
        location = browser.post("/files", headers={**CREATE, **own}).headers["Location"]
        bare = f"/files/{id_of(location)}"
        assert browser.head(bare, headers=TUS).status_code == 200
        for method, path, headers in (
            ("POST", "/files", CREATE),
            ("PATCH", bare, {**PATCH, "Upload-Offset": "0"}),
            ("DELETE", bare, TUS),
            ("POST", bare, {**TUS, "X-HTTP-Method-Override": "DELETE"}),
            ("GET", bare, {**TUS, "X-HTTP-Method-Override": "DELETE"}),
            ("POST", "/api/upload/videos", {}),
            ("POST", f"/api/task/cancel/{id_of(location)}", {}),
            ("DELETE", f"/api/task/{id_of(location)}", {}),
            ("POST", "/api/grants", {}),
            ("DELETE", "/api/session", {}),
        ):
            assert browser.request(method, path, headers={**headers, **foreign}).status_code == 403, (method, path)
            assert browser.request(method, path, headers=headers).status_code == 403, (method, path)
        assert browser.head(bare, headers=TUS).status_code == 200
        assert browser.delete("/api/session", headers=own).status_code == 200
        assert browser.head(bare, headers=TUS).status_code == 401


@pytest.mark.parametrize("tries", [1000, pytest.param(10_000, marks=pytest.mark.soak)])
def test_a_flood_of_wrong_credentials_is_refused_and_harms_nobody(
    start_server: StartServer, tmp_path: Path, tries: int
) -> None:
    """Many tries: 401, then 429 with Retry-After; a valid key of the same address works on, and the log is bounded."""
    server = start_server(auth="on", rate_failures="30/day")  # after a minute some would be judged again
    callers = Callers(server, tmp_path)
    callers.keys["owner"] = callers.key("alice", "upload")
    found = [
        server.http.post(server.url + "/files", headers={**CREATE, **bearer(f"vdk_{n:012x}_" + "A" * 43)})
        for n in range(tries)
    ]
    statuses = [answer.status_code for answer in found]
    assert statuses[:30] == [401] * 30
    assert set(statuses[40:]) == {429}
    assert int(found[-1].headers["Retry-After"]) > 0
    assert post(server, callers.headers("owner")).status_code == 201
    entries = query(server.database_url, "SELECT * FROM audit_log WHERE action = 'credential_refused'")
    assert 0 < len(entries) <= 20


def test_nothing_is_open_while_the_database_is_away(start_server: StartServer, tmp_path: Path) -> None:
    """503 for whoever would have to be looked up, never 2xx; the upload that is going on waits as it always did."""
    cluster = PostgresServer()
    cluster.start()
    try:
        server = start_server(database_url=cluster.create_database(), auth="on")
        callers = Callers(server, tmp_path)
        callers.keys["owner"] = callers.key("alice", "upload", "read")
        location = callers.open_upload()
        unknown = callers.key("bob", "upload")
        cluster.halt()
        for key in (callers.keys["owner"], unknown):
            answers = {
                httpx.get(
                    f"{server.url}/api/task/status/{id_of(location)}", headers=bearer(key), trust_env=False, timeout=60
                ).status_code
            }
            assert answers <= {503}, answers
        cluster.resume()
        until(
            lambda: httpx.head(location, headers=TUS, trust_env=False, timeout=60).status_code == 200,
            seconds=30,
            what="the upload can be continued",
        )
        server.stop()
    finally:
        cluster.stop()
