"""For which host a request is: one that names none, or two, is refused; an absolute target goes before Host."""

from collections.abc import Iterator

import pytest

from server.serving.hosts import HostError, settle
from tests.harness.http import LiveServer
from tests.tus.client import MOUNT

GOOD = {
    "one": (b"/a?b", "1.1", [b"v.example"], b"/a?b", [b"v.example"]),
    "with a port": (b"/", "1.1", [b"v.example:8443"], b"/", [b"v.example:8443"]),
    "an address": (b"/", "1.1", [b"[2001:db8::1]:80"], b"/", [b"[2001:db8::1]:80"]),
    "empty": (b"/", "1.1", [b""], b"/", [b""]),
    "none in HTTP/1.0": (b"/", "1.0", [], b"/", []),
    "a path that looks like a URL": (b"/http://w.example", "1.1", [b"v.example"], b"/http://w.example", [b"v.example"]),
    "absolute": (b"http://w.example/a?b", "1.1", [b"v.example"], b"/a?b", [b"w.example"]),
    "absolute with a port": (b"HTTPS://w.example:81/", "1.1", [b"v.example"], b"/", [b"w.example:81"]),
    "absolute without a path": (b"http://w.example", "1.1", [b"v.example"], b"/", [b"w.example"]),
    "absolute with a query only": (b"http://w.example?a", "1.1", [b"v.example"], b"/?a", [b"w.example"]),
    "absolute in HTTP/1.0": (b"http://w.example/", "1.0", [], b"/", [b"w.example"]),
    "all of them": (b"*", "1.1", [b"v.example"], b"*", [b"v.example"]),
}  # fmt: skip
BAD = {
    "none": (b"/", "1.1", []),
    "none, absolute": (b"http://w.example/", "1.1", []),
    "two": (b"/", "1.1", [b"v.example", b"w.example"]),
    "the same twice": (b"/", "1.1", [b"v.example", b"v.example"]),
    "two in HTTP/1.0": (b"/", "1.0", [b"v.example", b"w.example"]),
    "two, absolute": (b"http://v.example/", "1.1", [b"v.example", b"v.example"]),
    "a list": (b"/", "1.1", [b"v.example, w.example"]),
    "a path": (b"/", "1.1", [b"v.example/a"]),
    "a user": (b"/", "1.1", [b"user@v.example"]),
    "a blank": (b"/", "1.1", [b"v.example w.example"]),
    "no port": (b"/", "1.1", [b"v.example:http"]),
    "beyond ASCII": (b"/", "1.1", [b"v\xe9.example"]),
    "absolute with a user": (b"http://v.example@w.example/", "1.1", [b"v.example"]),
    "absolute without a host": (b"http:///a", "1.1", [b"v.example"]),
    "absolute of another scheme": (b"ftp://w.example/", "1.1", [b"v.example"]),
}


def fields(hosts: list[bytes]) -> list[tuple[bytes, bytes]]:
    return [(b"a", b"1"), *((b"host", host) for host in hosts), (b"b", b"2")]


@pytest.mark.parametrize("name", GOOD)
def test_a_valid_host_is_split_from_the_target(name: str) -> None:
    """The target without its authority, and the headers with the one host."""
    target, version, hosts, path, wanted = GOOD[name]
    headers = fields(hosts)
    assert settle(target, version, headers) == path
    assert sorted(headers) == sorted(fields(wanted))


@pytest.mark.parametrize("name", BAD)
def test_an_invalid_or_ambiguous_host_is_refused(name: str) -> None:
    """What names no host, or may be read as two, is refused."""
    target, version, hosts = BAD[name]
    with pytest.raises(HostError):
        settle(target, version, fields(hosts))


@pytest.fixture(scope="module", params=["videodock", "portable"])
def live(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with LiveServer(tmp_path_factory.mktemp("live"), http=request.param) as made:
        yield made


def raw(live: LiveServer, target: str, version: str, *hosts: str) -> tuple[int, str, str]:
    """Status, Location and body of a creation with these lines."""
    lines = [f"POST {target} HTTP/{version}", *(f"Host: {host}" for host in hosts)]
    lines += ["Tus-Resumable: 1.0.0", "Upload-Length: 5", "Content-Length: 0", "", ""]
    with live.connect() as connection:
        connection.send("\r\n".join(lines).encode())
        answer = connection.answer()
        assert answer.status == 201 or connection.ended()
    return answer.status, answer.headers.get("location", "").rpartition("/")[0], answer.text


@pytest.mark.parametrize("hosts", [[], ["a.example", "b.example"], ["a.example/b"]], ids=["none", "two", "no host"])
def test_a_refused_host_creates_no_upload(live: LiveServer, hosts: list[str]) -> None:
    """400 and the end of the connection, and no upload."""
    status, location, text = raw(live, MOUNT, "1.1", *hosts)
    assert (status, location) == (400, "")
    assert live.settings.http == "portable" or text.startswith("host_invalid: ")
    assert live.query("SELECT id FROM uploads") == []


def test_an_absolute_target_takes_precedence_over_host(live: LiveServer) -> None:
    """Location has the authority of an absolute target; HTTP/1.0 needs no Host."""
    assert raw(live, f"http://w.example:81{MOUNT}", "1.1", "v.example")[:2] == (201, f"http://w.example:81{MOUNT}")
    assert raw(live, MOUNT, "1.1", "v.example")[:2] == (201, f"http://v.example{MOUNT}")
    assert raw(live, MOUNT, "1.0")[:2] == (201, f"{live.url}{MOUNT}")
    live.execute("DELETE FROM uploads")


def test_an_absolute_target_without_a_path_is_the_root(live: LiveServer) -> None:
    """It is the root (RFC 9112 section 3.2.2)."""
    with live.connect() as connection:
        connection.send(b"GET http://w.example HTTP/1.1\r\nHost: w.example\r\n\r\n")
        answer = connection.answer()
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
