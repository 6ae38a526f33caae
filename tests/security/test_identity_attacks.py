"""Identities that a browser adds by itself, and sign-ins that outlive what they were made with."""

import time
from pathlib import Path

import httpx
import pytest

from tests.conftest import StartServer
from tests.harness import signed_tokens
from tests.harness.rows import query
from tests.harness.waiting import PATIENCE
from tests.security.callers import TUS, Callers, id_of

CROSS = (
    {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
    {"Sec-Fetch-Site": "same-site", "Origin": "https://other.example"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
)
ALICE = {"X-Forwarded-User": "alice"}


def test_another_site_changes_nothing_with_the_identity_of_a_proxy(start_server: StartServer, tmp_path: Path) -> None:
    """The proxy adds the user to whatever the browser sends: a form of another site is refused, a program is not."""
    server = start_server(auth="on", auth_proxy_header="X-Forwarded-User", trusted_proxies="127.0.0.1")
    data = Callers(server, tmp_path).video.read_bytes()

    def form(headers: dict[str, str]) -> int:
        files = {"videos": ("video.mp4", data, "video/mp4")}
        return server.http.post(
            server.url + "/api/upload/videos", headers={**ALICE, **headers}, files=files
        ).status_code

    for cross in CROSS:
        assert form(cross) == 403, cross
        assert server.http.post(server.url + "/api/grants", headers={**ALICE, **cross}).status_code == 403
        created = server.http.post(server.url + "/files", headers={**ALICE, **TUS, "Upload-Length": "1", **cross})
        assert created.status_code == 403
        assert server.http.get(server.url + "/api/task/status/x", headers={**ALICE, **cross}).status_code == 404
    assert form({}) == 200
    assert form({"Sec-Fetch-Site": "same-origin"}) == 200
    assert form({"Origin": server.url}) == 200


def test_pages_that_are_trusted_by_name_use_a_proxy(start_server: StartServer) -> None:
    """An origin in `cors_origins` may, another one may not."""
    server = start_server(
        auth="on",
        auth_proxy_header="X-Forwarded-User",
        trusted_proxies="127.0.0.1",
        cors_origins="https://app.example",
    )

    def created(origin: str) -> int:
        headers = {**ALICE, **TUS, "Upload-Length": "1", "Origin": origin, "Sec-Fetch-Site": "cross-site"}
        return server.http.post(server.url + "/files", headers=headers).status_code

    assert (created("https://app.example"), created("https://evil.example")) == (201, 403)


@pytest.mark.parametrize("peer", ["untrusted", "trusted"])
def test_only_a_trusted_proxy_names_a_user(start_server: StartServer, peer: str) -> None:
    """The header alone is nothing; neither is one that comes twice, is empty, or comes after the body."""
    trusted = "127.0.0.1" if peer == "trusted" else "10.0.0.0/8"
    server = start_server(auth="on", auth_proxy_header="X-Forwarded-User", trusted_proxies=trusted)
    well = 201 if peer == "trusted" else 401
    create = {**TUS, "Upload-Length": "1"}
    assert server.http.post(server.url + "/files", headers={**create, **ALICE}).status_code == well
    twice = [*create.items(), ("X-Forwarded-User", "alice"), ("x-forwarded-user", "bob")]
    assert server.http.post(server.url + "/files", headers=twice).status_code == 401
    assert server.http.post(server.url + "/files", headers={**create, "X-Forwarded-User": ""}).status_code == 401
    assert server.http.post(server.url + "/files", headers={**create, "X_Forwarded_User": "alice"}).status_code == 401


def test_a_sign_in_ends_with_its_token(start_server: StartServer) -> None:
    """A token of five minutes makes no session of a week."""
    server = start_server(auth="on", jwt_secret=signed_tokens.SECRET)
    token = signed_tokens.by_secret(exp=int(time.time()) + 300)
    headers = {"Sec-Fetch-Site": "same-origin"}
    answer = httpx.post(
        f"{server.url}/api/session", json={"token": token}, headers=headers, trust_env=False, timeout=PATIENCE
    )
    assert answer.status_code == 200, answer.text
    (row,) = query(
        server.database_url, "SELECT strftime('%s', expires_at) - strftime('%s', created_at) AS s FROM browser_sessions"
    )
    assert row["s"] <= 300 + 600


def test_an_admin_who_reads_what_is_not_theirs_is_recorded(start_server: StartServer, tmp_path: Path) -> None:
    """The status and the original of another owner, each with whose it is; the owner's own reads are not."""
    callers = Callers(start_server(auth="on", downloads="on"), tmp_path)
    callers.make_keys()
    done = id_of(callers.done)
    for kind in ("owner", "admin"):
        assert callers.ask("GET", f"/files/{done}", kind).status_code == 200
        assert callers.ask("GET", f"/api/task/status/{done}", kind).status_code == 200
    rows = query(
        callers.server.database_url, "SELECT action, owner, object_owner FROM audit_log WHERE object_id = :id", id=done
    )
    assert sorted(tuple(row.values()) for row in rows) == [
        ("foreign_original_read", "root", "alice"),
        ("foreign_task_read", "root", "alice"),
    ]
