"""`allowed_hosts`: the hosts that the server answers for, behind a proxy too."""

import json
from collections.abc import Iterator

import pytest

from server.messages import sentence
from tests.harness.http import LiveServer

ALLOWED = ("videos.example.org", "Upload.Example.org", "[2001:db8::1]", "only.example.org:8443")
PATHS = ["/", "/videos", "/files", "/files/x", "/api/upload/videos", "/api/task/status/x", "/metrics", "/nothing"]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("live")
    with LiveServer(folder, allowed_hosts=ALLOWED, trusted_proxies=("127.0.0.1",)) as made:
        yield made


@pytest.mark.parametrize(
    ("host", "is_allowed"),
    [
        ("videos.example.org", True),
        ("VIDEOS.example.ORG", True),
        ("videos.example.org.", True),
        ("videos.example.org:8000", True),
        ("videos.example.org:", True),
        ("upload.example.org", True),
        ("[2001:db8::1]", True),
        ("[2001:DB8::1]:8000", True),
        ("only.example.org:8443", True),
        ("only.example.org", False),
        ("only.example.org:443", False),
        ("videos.example.org..", False),
        ("x.videos.example.org", False),
        ("example.org", False),
        ("videos.example.org.evil.example", False),
        ("evil.example", False),
        ("videos.example.orgx", False),
        ("127.0.0.1", False),
        ("127.0.0.1:8000", False),
        ("localhost", False),
        ("[2001:db8::2]", False),
        ("", False),
    ],
)
def test_only_allowed_hosts_are_answered(live: LiveServer, host: str, is_allowed: bool) -> None:
    """A name counts with any port and in any case, a name with a port with that one alone; all others are 421."""
    assert live.ask("GET", "/", {"Host": host}).status == (200 if is_allowed else 421)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS"])
def test_no_route_answers_for_another_host(live: LiveServer, method: str, path: str) -> None:
    """RFC 9110 section 15.5.20: 421, and nothing of the route."""
    answer = live.ask(method, path, {"Host": "evil.example", "Tus-Resumable": "1.0.0"})
    assert answer.status == 421
    assert "tus-resumable" not in answer.headers
    if method != "HEAD":
        found = json.loads(answer.body)
        assert (found["code"], found["message"]) == ("host_not_allowed", sentence("host_not_allowed", {}, "zh"))
        assert "evil" not in answer.text


@pytest.mark.parametrize(
    ("path", "status"), [("/healthz", 200), ("/readyz", 200), ("/healthz/", 421), ("/readyzx", 421)]
)
def test_a_monitor_may_ask_by_address(live: LiveServer, path: str, status: int) -> None:
    """Health answers for every host, and nothing else that looks like it."""
    assert live.ask("GET", path, {"Host": "10.1.2.3:8000"}).status == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "10.0.0.9:8000", "X-Forwarded-Host": "videos.example.org"}, 200),
        ({"Host": "videos.example.org", "X-Forwarded-Host": "evil.example"}, 421),
        ({"Host": "10.0.0.9:8000", "Forwarded": "host=videos.example.org"}, 200),
        ({"Host": "10.0.0.9:8000", "X-Forwarded-For": "192.0.2.1"}, 421),
    ],
)
def test_the_public_host_counts(live: LiveServer, headers: dict[str, str], status: int) -> None:
    """What a trusted proxy says about the host replaces it, both ways."""
    assert live.ask("GET", "/", headers).status == status


def test_health_answers_below_a_prefix(live: LiveServer) -> None:
    """The prefix is no part of the address."""
    headers = {"Host": "10.1.2.3", "X-Forwarded-Prefix": "/video"}
    assert live.ask("GET", "/healthz", headers).status == 200
    assert live.ask("GET", "/", headers).status == 421


def test_a_refused_body_is_read_for_a_moment_and_the_refusal_arrives(live: LiveServer) -> None:
    """A client that is still sending reads the answer; the connection ends."""
    headers = {"Host": "evil.example", "Upload-Length": "5", "Tus-Resumable": "1.0.0"}
    with live.connect() as connection:
        answer = connection.ask("POST", "/files", headers, b"x" * 100_000)
        assert answer.status == 421
        assert answer.headers["connection"] == "close"
    assert live.query("SELECT id FROM uploads") == []


def test_an_empty_setting_allows_every_host(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The default."""
    with LiveServer(tmp_path_factory.mktemp("all")) as live:
        for host in ("evil.example", "10.0.0.1:8000"):
            assert live.ask("GET", "/", {"Host": host}).status == 200
