"""Pages of other sites: they can use nobody's sign-in, and sign nobody in."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from server.auth.csrf import check_same_site
from server.errors import CrossSiteError
from tests.harness.http import LiveServer
from tests.harness.sign_in import KEY, OTHER_KEY, cookie_of, signing_in

PATH = "/api/session"
Headers = list[tuple[str, str]]


def is_refused(method: str, headers: Headers, **more: Any) -> bool:
    given = {name.lower() for name, _ in headers}
    whole = headers if "host" in given else [("Host", "videos.example.org"), *headers]
    scope = {
        "type": "http",
        "method": method,
        "scheme": "https",
        "root_path": "",
        "server": ("10.0.0.9", 8000),
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in whole],
        **more,
    }
    try:
        check_same_site(scope)
    except CrossSiteError:
        return True
    return False


OWN = "https://videos.example.org"


@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        ([("Sec-Fetch-Site", "same-origin")], False),
        ([("Sec-Fetch-Site", "none")], False),
        ([("Sec-Fetch-Site", "same-site")], True),
        ([("Sec-Fetch-Site", "cross-site")], True),
        ([("Sec-Fetch-Site", "SAME-ORIGIN")], True),
        ([("Sec-Fetch-Site", "")], True),
        ([("Sec-Fetch-Site", "same-origin, cross-site")], True),
        ([("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Site", "cross-site")], True),
        ([("Sec-Fetch-Site", "cross-site"), ("Origin", OWN)], True),
        ([("Sec-Fetch-Site", "same-origin"), ("Origin", "null")], False),
        ([], True),
        ([("Origin", OWN)], False),
        ([("Origin", "HTTPS://Videos.Example.org")], False),
        ([("Origin", "http://videos.example.org")], True),
        ([("Origin", f"{OWN}:8443")], True),
        ([("Origin", f"{OWN}.evil.example")], True),
        ([("Origin", "https://evil.example")], True),
        ([("Origin", f"{OWN}/")], True),
        ([("Origin", "null")], True),
        ([("Origin", "")], True),
        ([("Origin", OWN), ("Origin", "https://evil.example")], True),
        ([("Origin", f"{OWN}, https://evil.example")], True),
        ([("Referer", f"{OWN}/")], True),
        ([("X-Requested-With", "XMLHttpRequest")], True),
        ([("Host", "videos.example.org:8443"), ("Origin", f"{OWN}:8443")], False),
        ([("Host", "videos.example.org:443"), ("Origin", OWN)], False),
        ([("Host", "VIDEOS.example.org"), ("Origin", OWN)], False),
        ([("Host", "videos.example.org@evil.example"), ("Origin", "https://evil.example")], True),
    ],
    ids=range(28),
)
@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE", "PUT", "BREW"])
def test_a_request_that_changes_something_must_be_of_our_page(method: str, headers: Headers, refused: bool) -> None:
    """By `Sec-Fetch-Site`, and without it by `Origin`: scheme, name and port. Neither is a refusal."""
    assert is_refused(method, headers) is refused


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        ([], False),
        ([("Sec-Fetch-Site", "cross-site"), ("Origin", "https://evil.example")], False),
        ([("X-HTTP-Method-Override", "HEAD"), ("Sec-Fetch-Site", "cross-site")], False),
        ([("X-HTTP-Method-Override", "DELETE"), ("Sec-Fetch-Site", "cross-site")], True),
        ([("X-HTTP-Method-Override", "delete")], True),
        ([("X-HTTP-Method-Override", "GET"), ("X-HTTP-Method-Override", "PATCH")], True),
        ([("X-HTTP-Method-Override", ""), ("Sec-Fetch-Site", "cross-site")], True),
        ([("X-HTTP-Method-Override", "DELETE"), ("Sec-Fetch-Site", "same-origin")], False),
    ],
    ids=range(8),
)
def test_a_safe_request_passes_unless_its_method_is_overridden(method: str, headers: Headers, refused: bool) -> None:
    """GET and HEAD change nothing, from wherever they come; an override counts as the method that it names."""
    assert is_refused(method, headers) is refused


def test_an_overridden_post_is_no_safe_request() -> None:
    """A POST that says it is a HEAD is still refused: a browser sends it with the cookie and a body."""
    assert is_refused("POST", [("X-HTTP-Method-Override", "HEAD"), ("Sec-Fetch-Site", "cross-site")])


def test_a_prefix_is_no_part_of_the_origin() -> None:
    """Behind a proxy that publishes the server below `/video`."""
    assert not is_refused("POST", [("Origin", OWN)], root_path="/video")
    assert is_refused("POST", [("Origin", f"{OWN}/video")], root_path="/video")


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with pytest.MonkeyPatch.context() as patched, signing_in(patched, tmp_path_factory.mktemp("live")) as made:
        yield made


ATTACKS: list[dict[str, str]] = [
    {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
    {"Sec-Fetch-Site": "same-site", "Origin": "http://other.videodock.test"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "https://videodock.test"},
    {},
]


@pytest.mark.parametrize("headers", ATTACKS, ids=range(len(ATTACKS)))
def test_another_site_cannot_sign_somebody_in_or_out(live: LiveServer, headers: dict[str, str]) -> None:
    """Login CSRF: a victim that uploads into the attacker's account. Its own sign-in stays as it was."""
    own = {"Origin": "http://videodock.test", "Content-Type": "application/json"}
    signed = live.ask("POST", PATH, own, json.dumps({"key": KEY}).encode())
    assert signed.status == 200
    cookie = cookie_of(signed.headers)
    body = json.dumps({"key": OTHER_KEY}).encode()
    cases = [
        ("POST", {"Content-Type": "application/json"}, body),
        ("POST", {"Content-Type": "text/plain"}, body),
        ("DELETE", {}, None),
        ("POST", {"X-HTTP-Method-Override": "DELETE"}, None),
        ("GET", {"X-HTTP-Method-Override": "DELETE"}, None),
    ]
    for method, more, data in cases:
        answer = live.ask(method, PATH, {**headers, **more, "Cookie": cookie}, data)
        assert (answer.status, json.loads(answer.body)["code"]) == (403, "cross_site"), (method, more)
        assert "set-cookie" not in answer.headers
        assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert json.loads(live.ask("GET", PATH, {"Cookie": cookie}).body)["owner"] == "ann"


def test_another_site_cannot_read_who_is_signed_in(live: LiveServer) -> None:
    """No answer allows another origin to read it, with credentials least of all."""
    answer = live.ask("GET", PATH, {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"})
    assert answer.status == 200
    assert not [name for name in answer.headers if name.startswith("access-control-")]
