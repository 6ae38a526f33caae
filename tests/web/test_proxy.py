"""The public address of the server: what proxies may say about it, and who is believed."""

import asyncio
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from server.settings import load
from server.web.middleware.proxy import Proxy, base_url, valid_host

Headers = list[tuple[str, str]]


def passed(
    headers: Headers,
    trusted: tuple[str, ...] = ("10.0.0.0/8", "::1"),
    root_path: str = "",
    scope: dict[str, Any] | None = None,
) -> Scope:
    """The scope that the app sees for a request from 10.0.0.1."""
    seen: list[Scope] = []

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        seen.append(scope)

    async def receive() -> Any:
        raise AssertionError

    async def send(_message: Any) -> None:
        raise AssertionError

    whole: Scope = {
        "type": "http",
        "scheme": "http",
        "path": "/files/1",
        "raw_path": b"/files/1",
        "root_path": "",
        "client": ("10.0.0.1", 5000),
        "server": ("10.0.0.9", 8000),
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers],
        **(scope or {}),
    }
    asyncio.run(Proxy(app, trusted, root_path)(whole, receive, send))
    return seen[0]


HOST = ("Host", "inside:8000")


@pytest.mark.parametrize(
    ("headers", "url", "client"),
    [
        ([], "http://inside:8000", "10.0.0.1"),
        ([("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "v.example")], "https://v.example", "10.0.0.1"),
        ([("X-Forwarded-Proto", "HTTPS")], "https://inside:8000", "10.0.0.1"),
        ([("X-Forwarded-Host", "v.example:8443")], "http://v.example:8443", "10.0.0.1"),
        ([("X-Forwarded-Host", "[2001:db8::1]:8443")], "http://[2001:db8::1]:8443", "10.0.0.1"),
        ([("X-Forwarded-For", "203.0.113.7")], "http://inside:8000", "203.0.113.7"),
        ([("X-Forwarded-For", "203.0.113.7:4711")], "http://inside:8000", "203.0.113.7"),
        ([("X-Forwarded-For", "[2001:db8::7]:4711")], "http://inside:8000", "2001:db8::7"),
        ([("X-Forwarded-For", "2001:db8::7")], "http://inside:8000", "2001:db8::7"),
        # The client invented the left-most address; the right-most one that is no proxy of ours is true.
        ([("X-Forwarded-For", "1.1.1.1, 203.0.113.7, 10.0.0.2")], "http://inside:8000", "203.0.113.7"),
        ([("X-Forwarded-For", "1.1.1.1"), ("X-Forwarded-For", "203.0.113.7")], "http://inside:8000", "203.0.113.7"),
        # ... and neither are its scheme and host, which stand beside it.
        (
            [
                ("X-Forwarded-For", "1.1.1.1, 203.0.113.7, 10.0.0.2"),
                ("X-Forwarded-Proto", "gopher, https, http"),
                ("X-Forwarded-Host", "evil.example, v.example, inner"),
            ],
            "https://v.example",
            "203.0.113.7",
        ),
        # Two proxies, of which only the outer one says how it was reached.
        (
            [("X-Forwarded-For", "203.0.113.7, 10.0.0.2"), ("X-Forwarded-Proto", "https")],
            "https://inside:8000",
            "203.0.113.7",
        ),
        # Not understood is not there.
        ([("X-Forwarded-For", "unknown")], "http://inside:8000", "10.0.0.1"),
        ([("X-Forwarded-For", "1.1.1.1, rubbish")], "http://inside:8000", "10.0.0.1"),
        ([("X-Forwarded-Proto", "javascript")], "http://inside:8000", "10.0.0.1"),
        ([("X-Forwarded-Host", "user@v.example")], "http://inside:8000", "10.0.0.1"),
        ([("X-Forwarded-Host", "")], "http://inside:8000", "10.0.0.1"),
        # The port counts for a host that has none, and the scheme's own is left out.
        (
            [("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "v.example"), ("X-Forwarded-Port", "8443")],
            "https://v.example:8443",
            "10.0.0.1",
        ),
        ([("X-Forwarded-Host", "v.example"), ("X-Forwarded-Port", "8080")], "http://v.example:8080", "10.0.0.1"),
        ([("X-Forwarded-Host", "[2001:db8::1]"), ("X-Forwarded-Port", "81")], "http://[2001:db8::1]:81", "10.0.0.1"),
        ([("X-Forwarded-Host", "v.example:81"), ("X-Forwarded-Port", "8080")], "http://v.example:81", "10.0.0.1"),
        ([("X-Forwarded-Port", "8443")], "http://inside:8000", "10.0.0.1"),
        (
            [("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "v.example"), ("X-Forwarded-Port", "443")],
            "https://v.example",
            "10.0.0.1",
        ),
        (
            [("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "v.example:443")],
            "https://v.example",
            "10.0.0.1",
        ),
        # The port of the proxy in the middle: https is not there.
        (
            [("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "v.example"), ("X-Forwarded-Port", "80")],
            "https://v.example",
            "10.0.0.1",
        ),
        # The one of the outermost proxy, as its host is.
        (
            [
                ("X-Forwarded-For", "1.1.1.1, 203.0.113.7, 10.0.0.2"),
                ("X-Forwarded-Host", "evil.example, v.example, inner"),
                ("X-Forwarded-Port", "1, 8443, 8000"),
            ],
            "http://v.example:8443",
            "203.0.113.7",
        ),
        *(
            ([("X-Forwarded-Host", "v.example"), ("X-Forwarded-Port", nonsense)], "http://v.example", "10.0.0.1")
            for nonsense in ("", "0", "65536", "-1", "8080a", "\u0661")
        ),
        # Said through a proxy that says everything by `Forwarded`.
        ([("Forwarded", "host=v.example"), ("X-Forwarded-Port", "81")], "http://v.example", "10.0.0.1"),
        # RFC 7239
        (
            [("Forwarded", "for=203.0.113.7;proto=https;host=v.example")],
            "https://v.example",
            "203.0.113.7",
        ),
        (
            [("Forwarded", 'For="[2001:db8::7]:4711" ; Proto=https ; Host="v.example:8443"')],
            "https://v.example:8443",
            "2001:db8::7",
        ),
        (
            [
                ("Forwarded", 'for=1.1.1.1;host=evil.example, for="203.0.113.7";proto=https;host=v.example'),
                ("Forwarded", "for=10.0.0.2;proto=http"),
            ],
            "https://v.example",
            "203.0.113.7",
        ),
        ([("Forwarded", "for=_hidden;proto=https")], "https://inside:8000", "10.0.0.1"),
        ([("Forwarded", 'for="203.0.113.7;proto=https')], "http://inside:8000", "10.0.0.1"),
        ([("Forwarded", "for=203.0.113.7 proto=https")], "http://inside:8000", "10.0.0.1"),
        ([("Forwarded", r'host="v.exam\ple";;proto=https,')], "https://v.example", "10.0.0.1"),
        # A proxy that sets the old headers hands on a client's `Forwarded` unread.
        (
            [("Forwarded", "proto=http;host=evil.example"), ("X-Forwarded-Proto", "https")],
            "https://inside:8000",
            "10.0.0.1",
        ),
    ],
)
def test_a_trusted_proxy_sets_the_public_address(headers: Headers, url: str, client: str) -> None:
    """Scheme, host and client come from the outermost trusted proxy; nonsense changes nothing."""
    scope = passed([HOST, *headers])
    assert (base_url(scope), scope["client"][0]) == (url, client)


SPOOFED: Headers = [
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "evil.example"),
    ("X-Forwarded-For", "1.1.1.1"),
    ("X-Forwarded-Prefix", "/evil"),
    ("Forwarded", "proto=https;host=evil.example"),
]


@pytest.mark.parametrize(
    ("trusted", "client", "believed"),
    [
        ((), ("10.0.0.1", 1), False),
        (("10.0.0.2",), ("10.0.0.1", 1), False),
        (("10.0.0.1",), ("10.0.0.1", 1), True),
        (("10.0.0.0/8",), ("::ffff:10.0.0.1", 1), True),
        (("2001:db8::/32",), ("2001:db8::5", 1), True),
        (("*",), ("192.0.2.1", 1), True),
        (("*",), None, True),
        (("10.0.0.0/8",), None, False),
        (("10.0.0.0/8",), ("not-an-address", 1), False),
    ],
)
def test_only_trusted_proxies_are_believed(
    trusted: tuple[str, ...], client: tuple[str, int] | None, believed: bool
) -> None:
    """Whoever is not trusted changes neither address, prefix nor client."""
    scope = passed([HOST, *SPOOFED], trusted, scope={"client": client})
    url = "https://evil.example/evil" if believed else "http://inside:8000"
    assert base_url(scope) == url
    assert believed or scope["client"] == client


def test_everybody_trusted_means_the_first_address() -> None:
    """With `*` the client is the left-most address."""
    scope = passed([HOST, ("X-Forwarded-For", "1.1.1.1, 2.2.2.2")], ("*",))
    assert scope["client"] == ("1.1.1.1", 0)


@pytest.mark.parametrize(
    ("setting", "header", "root_path"),
    [
        ("", None, ""),
        ("/video", None, "/video"),
        ("", "/video", "/video"),
        ("", "/a/b/", "/a/b"),
        ("/video", "/other", "/other"),
        ("/video", "//evil.example", "/video"),
        ("", "/a b", ""),
        ("", "video", ""),
        ("", "/a/../b", ""),
        ("", "/\n", ""),
        ("", "/", ""),
        # Published under the very name of one of our own folders: routing must not mistake one for the other.
        ("/files", None, "/files"),
    ],
)
def test_a_prefix_comes_from_the_setting_or_a_trusted_proxy(setting: str, header: str | None, root_path: str) -> None:
    """A prefix is the setting or a trusted proxy's well-formed one, and the path begins with it."""
    scope = passed([HOST] + ([("X-Forwarded-Prefix", header)] if header else []), root_path=setting)
    assert scope["root_path"] == root_path
    assert scope["path"] == root_path + "/files/1"
    assert scope["raw_path"] == scope["path"].encode()
    assert base_url(scope) == "http://inside:8000" + root_path


def test_a_prefix_is_not_repeated_after_root_path() -> None:
    """A prefix that uvicorn's own --root-path put there is not there twice."""
    scope = passed(
        [HOST, ("X-Forwarded-Prefix", "/new")],
        scope={"root_path": "/old", "path": "/old/files/1", "raw_path": None},
    )
    assert (scope["root_path"], scope["path"]) == ("/new", "/new/files/1")


def test_websockets_get_wss_and_lifespan_passes() -> None:
    """A web socket gets wss from https; other scopes are left alone."""
    scope = passed([HOST, ("X-Forwarded-Proto", "https")], scope={"type": "websocket", "scheme": "ws"})
    assert scope["scheme"] == "wss"
    assert passed([("X-Forwarded-Proto", "https")], scope={"type": "lifespan"})["scheme"] == "http"


@pytest.mark.parametrize(
    ("host", "server", "url"),
    [
        ("v.example", ("10.0.0.9", 8000), "http://v.example"),
        ("v.example:80", ("10.0.0.9", 8000), "http://v.example"),
        ("v.example:443", ("10.0.0.9", 8000), "http://v.example:443"),
        ("[2001:db8::1]:080", ("10.0.0.9", 8000), "http://[2001:db8::1]"),
        (None, ("10.0.0.9", 8000), "http://10.0.0.9:8000"),
        (None, ("10.0.0.9", 80), "http://10.0.0.9"),
        (None, ("::1", 8000), "http://[::1]:8000"),
        (None, ("/run/videodock.sock", None), "http://localhost"),
        (None, None, "http://localhost"),
        ("a/b", ("::1", 8000), "http://[::1]:8000"),
    ],
)
def test_without_a_valid_host_the_server_address_is_used(host: str | None, server: Any, url: str) -> None:
    """Without a valid Host the address that accepted the connection stands in."""
    headers = [("Host", host)] if host else []
    assert base_url(passed(headers, scope={"server": server})) == url


@pytest.mark.parametrize(
    "host", ["v.example", "v.example:80", "localhost", "192.0.2.1:8000", "[::1]", "[2001:db8::1]:1"]
)
def test_valid_hosts_are_accepted(host: str) -> None:
    """Names, addresses and ports make a host."""
    assert valid_host(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "a b",
        "a/b",
        "a\\b",
        "user@a",
        "a\r\nb",
        "a\x00",
        "a?b",
        "a#b",
        "a:99999",
        "a:",
        "::1",
        "[1]",
        "[a",
        "a:b:1",
        "ä",
    ],
)
def test_invalid_hosts_are_refused(host: str) -> None:
    """What could bend a URL, or break a header, is no host."""
    assert not valid_host(host)


def test_settings_accept_what_the_middleware_takes() -> None:
    """Every form of the setting `trusted_proxies` builds."""
    for trusted in (load().trusted_proxies, ("*",), ("10.0.0.0/8", "2001:db8::/32", "192.0.2.1")):
        passed([HOST], trusted)
