"""`/api/session`: who is signed in, signing in and out; the cookie, the refusals, and what the audit log gets."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from server.auth import cookies
from server.auth.sessions import Sessions
from tests.harness import sign_in as harness
from tests.harness.http import Answer, LiveServer
from tests.harness.sign_in import KEY, OTHER_KEY, TOKEN, cookie_of, signing_in

PATH = "/api/session"
OWN = {"Sec-Fetch-Site": "same-origin", "Content-Type": "application/json"}
OUT = {"success": True, "auth": "on", "signed_in": False, "owner": None, "scopes": []}
ANN = {"success": True, "auth": "on", "signed_in": True, "owner": "ann", "scopes": ["manage", "read", "upload"]}
WRONG = "vdk_0123456789ab_" + "w" * 43


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with pytest.MonkeyPatch.context() as patched:
        folder = tmp_path_factory.mktemp("live")
        with signing_in(patched, folder, trusted_proxies=("127.0.0.1",)) as made:
            yield made


def sign_in(live: LiveServer, body: object, headers: dict[str, str] | None = None) -> Answer:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return live.ask("POST", PATH, OWN if headers is None else headers, data)


def whose(live: LiveServer, cookie: str | None) -> dict[str, Any]:
    answer = live.ask("GET", PATH, {} if cookie is None else {"Cookie": cookie})
    assert (answer.status, answer.headers["cache-control"]) == (200, "no-store")
    found: dict[str, Any] = json.loads(answer.body)
    return found


def audit(live: LiveServer) -> list[dict[str, Any]]:
    return live.query("SELECT * FROM audit_log ORDER BY id")


@pytest.mark.parametrize(
    ("body", "owner"),
    [
        ({"key": KEY}, "ann"),
        ({"key": f" {KEY}\n"}, "ann"),
        ({"token": TOKEN}, "tom"),
    ],
    ids=["key", "key with blanks", "token"],
)
def test_a_sign_in_gives_a_cookie_that_tells_who(live: LiveServer, body: object, owner: str) -> None:
    """The answer is that of GET, the cookie is for this host and no script, and the log has the sign-in."""
    answer = sign_in(live, body)
    assert (answer.status, answer.headers["cache-control"]) == (200, "no-store")
    cookie, *attributes = answer.headers["set-cookie"].split("; ")
    assert attributes == ["Path=/", "Max-Age=604800", "HttpOnly", "SameSite=Strict"]
    assert json.loads(answer.body) == whose(live, cookie)
    assert whose(live, f"a=b; {cookie}; c=d")["owner"] == owner
    entry = audit(live)[-1]
    assert (entry["action"], entry["owner"], entry["address"]) == ("sign_in", owner, "127.0.0.1")
    assert entry["request_id"]
    assert KEY not in str(entry)


def test_signing_out_ends_the_session_and_drops_the_cookie(live: LiveServer) -> None:
    """At once; a second time, and without a session, it is a success, too."""
    cookie = cookie_of(sign_in(live, {"key": KEY}).headers)
    before = len(audit(live))
    for number in range(2):
        answer = live.ask("DELETE", PATH, {**OWN, "Cookie": cookie})
        assert (answer.status, json.loads(answer.body)) == (200, OUT), number
        assert answer.headers["set-cookie"] == ("videodock_session=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict")
        assert whose(live, cookie) == OUT
    assert live.ask("DELETE", PATH, OWN).status == 200
    assert [entry["action"] for entry in audit(live)[before:]] == ["sign_out"]


def test_a_new_sign_in_ends_the_one_before(live: LiveServer) -> None:
    """The browser has one session, and a cookie that was planted before gets nothing."""
    first = cookie_of(sign_in(live, {"key": KEY}).headers)
    answer = sign_in(live, {"key": OTHER_KEY}, {**OWN, "Cookie": first})
    assert whose(live, first) == OUT
    assert whose(live, cookie_of(answer.headers))["owner"] != "ann"
    planted = "videodock_session=" + "A" * 43
    assert cookie_of(sign_in(live, {"key": KEY}, {**OWN, "Cookie": planted}).headers) != planted
    assert whose(live, planted) == OUT


@pytest.mark.parametrize(
    ("headers", "root", "expected"),
    [
        ({}, "", "videodock_session=v; Path=/; HttpOnly; SameSite=Strict"),
        ({"X-Forwarded-Proto": "https"}, "", "__Host-videodock_session=v; Path=/; HttpOnly; SameSite=Strict; Secure"),
        (
            {"X-Forwarded-Proto": "https", "X-Forwarded-Prefix": "/video"},
            "/video",
            "__Secure-videodock_session_video=v; Path=/video; HttpOnly; SameSite=Strict; Secure",
        ),
        (
            {"X-Forwarded-Prefix": "/video"},
            "/video",
            "videodock_session_video=v; Path=/video; HttpOnly; SameSite=Strict",
        ),
    ],
    ids=["http", "https", "https and prefix", "prefix"],
)
def test_the_cookie_fits_the_public_address(
    live: LiveServer, headers: dict[str, str], root: str, expected: str
) -> None:
    """Secure over https, for the prefix alone; and only the cookie of that address counts."""
    answer = live.ask("POST", PATH, {**OWN, **headers}, json.dumps({"key": KEY}).encode())
    assert answer.status == 200, root
    cookie = answer.headers["set-cookie"]
    name, value = cookie_of(answer.headers).split("=")
    assert cookie.replace(value, "v").replace(" Max-Age=604800;", "") == expected
    for sent, signed_in in ((f"{name}={value}", True), (f"x{name}={value}", False), (f"{name}={value}x", False)):
        found = live.ask("GET", PATH, {**headers, "Cookie": sent})
        assert json.loads(found.body)["signed_in"] is signed_in, sent
    if name != cookies.NAME:
        found = live.ask("GET", PATH, {**headers, "Cookie": f"{cookies.NAME}={value}"})
        assert json.loads(found.body) == OUT, "another host may have planted it"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"key": WRONG}, 401, "credential_invalid"),
        ({"token": "abc"}, 401, "credential_invalid"),
        ({"token": KEY}, 401, "credential_invalid"),
        ({"key": TOKEN}, 401, "credential_invalid"),
        ({"key": "vdg_0123456789ab_" + "g" * 43}, 401, "credential_invalid"),
        ({"key": KEY + "\u0000"}, 401, "credential_invalid"),
        (b"", 400, "sign_in_invalid"),
        (b"{", 400, "sign_in_invalid"),
        (b"[]", 400, "sign_in_invalid"),
        (b"null", 400, "sign_in_invalid"),
        (b'{"key": "\xff"}', 400, "sign_in_invalid"),
        (b"[" * 16000, 400, "sign_in_invalid"),
        (b"1" * 16000, 400, "sign_in_invalid"),
        ({}, 400, "sign_in_invalid"),
        ({"key": ""}, 400, "sign_in_invalid"),
        ({"key": " "}, 400, "sign_in_invalid"),
        ({"key": 1}, 400, "sign_in_invalid"),
        ({"key": [KEY]}, 400, "sign_in_invalid"),
        ({"key": KEY, "token": TOKEN}, 400, "sign_in_invalid"),
        ({"key": KEY, "more": 1}, 400, "sign_in_invalid"),
        ({"password": KEY}, 400, "sign_in_invalid"),
        ({"token": "x" * 20000}, 413, "sign_in_invalid"),
        (b" " * 2_000_000, 413, "sign_in_invalid"),
    ],
    ids=range(23),
)
def test_a_bad_sign_in_is_refused_without_a_cookie(live: LiveServer, body: object, status: int, code: str) -> None:
    """With a sentence in both languages; the credential is in no answer."""
    answer = sign_in(live, body)
    found = json.loads(answer.body)
    assert (answer.status, found["code"], found["success"]) == (status, code, False)
    assert found["messages"].keys() == {"en", "zh"}
    assert found["message"] == found["messages"]["zh"]
    assert "set-cookie" not in answer.headers
    assert answer.headers["cache-control"] == "no-store"
    assert KEY not in answer.text


def test_a_failed_sign_in_is_in_the_audit_log_without_the_credential(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """From where and why; a flood of them is ten rows."""
    with signing_in(monkeypatch, tmp_path_factory.mktemp("flood")) as live:
        with live.connect() as connection:
            for _ in range(30):
                assert connection.ask("POST", PATH, OWN, json.dumps({"key": WRONG}).encode()).status == 401
        rows = audit(live)
    assert len(rows) == 10
    assert {(row["action"], row["actor"], row["owner"], row["address"]) for row in rows} == {
        ("sign_in_failed", "none", None, "127.0.0.1")
    }
    assert json.loads(rows[0]["details"]) == {"kind": "key", "reason": "credential_unknown"}
    assert "wwww" not in str(rows)


@pytest.mark.parametrize(
    "content_type",
    [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonp"],
)
def test_a_form_cannot_sign_in(live: LiveServer, content_type: str | None) -> None:
    """Only JSON, which a form of another site cannot send without being asked first."""
    headers = {"Sec-Fetch-Site": "same-origin"} | ({} if content_type is None else {"Content-Type": content_type})
    answer = sign_in(live, {"key": KEY}, headers)
    assert (answer.status, json.loads(answer.body)["code"]) == (415, "content_type_unsupported")
    assert "set-cookie" not in answer.headers
    assert sign_in(live, {"key": KEY}, {**OWN, "Content-Type": "Application/JSON; charset=utf-8"}).status == 200


@pytest.mark.parametrize("method", ["PUT", "PATCH", "OPTIONS", "TRACE"])
def test_other_methods_are_refused_and_no_other_origin_may_ask(live: LiveServer, method: str) -> None:
    """A preflight gets no permission, whatever `cors_origins` says."""
    answer = live.ask(method, PATH, {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"})
    assert answer.status == 405
    assert answer.headers["allow"] == "GET, HEAD, POST, DELETE"
    assert not [name for name in answer.headers if name.startswith("access-control-")]


@pytest.mark.parametrize("cookie", ["", "videodock_session", "videodock_session=", "videodock_session=" + "x" * 5000])
def test_an_odd_cookie_is_no_session(live: LiveServer, cookie: str) -> None:
    """No error, and nobody is signed in."""
    assert whose(live, cookie) == OUT


def test_two_cookies_are_no_session(live: LiveServer) -> None:
    """One of them may have been planted: nobody is signed in, with whichever of them comes first."""
    cookie = cookie_of(sign_in(live, {"key": KEY}).headers)
    planted = "videodock_session=" + "A" * 43
    for both in (f"{cookie}; {planted}", f"{planted}; {cookie}", f"{cookie}; {cookie}", f"{cookie}; videodock_session"):
        assert whose(live, both) == OUT, both
    assert whose(live, cookie) == ANN


def test_with_authentication_off_nobody_signs_in(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """GET says so; a sign-in is 404; a cookie of before means nothing."""
    with signing_in(monkeypatch, tmp_path_factory.mktemp("off"), auth="off") as live:
        assert whose(live, "videodock_session=" + "A" * 43) == {**OUT, "auth": "off"}
        assert sign_in(live, {"key": KEY}).status == 404


def test_a_head_is_a_get_without_a_body(live: LiveServer) -> None:
    """RFC 9110 section 9.3.2."""
    answer = live.ask("HEAD", PATH)
    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize("away", ["verify", "create", "find", "end"])
def test_a_database_that_is_away_is_503_and_never_open(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory, away: str
) -> None:
    """Whatever cannot be checked or stored: no cookie, nobody signed in, and no word about the database."""

    async def fail(*_: object, **__: object) -> None:
        raise OperationalError("SELECT secret", {}, Exception("db.internal is away"))

    with signing_in(monkeypatch, tmp_path_factory.mktemp("away")) as live:
        cookie = cookie_of(sign_in(live, {"key": KEY}).headers)
        if away == "verify":
            monkeypatch.setattr(harness, "found", fail)
        else:
            monkeypatch.setattr(Sessions, away, fail)
        method = {"find": "GET", "end": "DELETE"}.get(away, "POST")
        body = json.dumps({"key": KEY}).encode() if method == "POST" else None
        answer = live.ask(method, PATH, {**OWN, "Cookie": cookie}, body)
        assert (answer.status, json.loads(answer.body)["code"]) == (503, "unavailable")
        assert "set-cookie" not in answer.headers
        assert answer.headers["retry-after"]
        assert "internal is" not in answer.text
