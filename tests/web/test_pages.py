"""The page's files as they are served: types, headers, revalidation, and that there is nothing else to be had."""

import asyncio
import json
import re
from collections.abc import Iterator
from datetime import timedelta
from email.utils import format_datetime, parsedate_to_datetime
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Route
from starlette.types import Message, Scope

import server.web.pages
from tests.harness.http import LiveServer

FOLDER = Path(server.web.pages.__file__).parent / "page"
NAMES = sorted(path.name for path in FOLDER.iterdir())
SCRIPTS = [name for name in NAMES if name.endswith(".js")]
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with LiveServer(tmp_path_factory.mktemp("live")) as made:
        yield made


def address(name: str) -> str:
    return "/" if name == "index.html" else f"/page/{name}"


def check_headers(headers: dict[str, str]) -> None:
    """The page may load its own files only, is framed by nobody, and is asked for again each time."""
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "media-src": "'self'",
        "connect-src": "'self'",
        "form-action": "'self'",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
    }
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-cache"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert {"camera=()", "microphone=()", "geolocation=()"} <= set(headers["permissions-policy"].split(", "))


def imports(name: str) -> set[str]:
    """What a script imports, as it is written there."""
    return set(re.findall(r"^(?:import\b|export .*\bfrom )[^']*'([^']+)'$", (FOLDER / name).read_text(), re.MULTILINE))


@pytest.mark.parametrize("name", NAMES)
def test_each_file_is_served(live: LiveServer, name: str) -> None:
    """GET answers with the file's bytes, its type and all headers; HEAD with the same and no body."""
    content = (FOLDER / name).read_bytes()
    for method, body in (("GET", content), ("HEAD", b"")):
        answer = live.ask(method, address(name))
        assert (answer.status, answer.body) == (200, body)
        assert answer.headers["content-type"] == TYPES[Path(name).suffix]
        assert answer.headers["content-length"] == str(len(content))
        check_headers(dict(answer.headers))


@pytest.mark.parametrize("path", ["/", "/page/page.js"])
def test_an_unchanged_file_is_304(live: LiveServer, path: str) -> None:
    """RFC 9110 section 13: 304 without a body while tag or date still hold, 200 when they do not; a tag goes first."""
    first = live.ask("GET", path)
    tag, date = first.headers["etag"], first.headers["last-modified"]
    before = format_datetime(parsedate_to_datetime(date) - timedelta(seconds=1), usegmt=True)
    cases = [
        ({"If-None-Match": tag}, 304),
        ({"If-None-Match": f"W/{tag}"}, 304),
        ({"If-None-Match": f'"other", {tag}'}, 304),
        ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": '"other"'}, 200),
        ({"If-Modified-Since": date}, 304),
        ({"If-Modified-Since": before}, 200),
        ({"If-Modified-Since": "yesterday"}, 200),
        ({"If-None-Match": '"other"', "If-Modified-Since": date}, 200),
    ]
    for method in ("GET", "HEAD"):
        for headers, status in cases:
            # One connection for both: a body that a 304 must not have would be read as the next answer.
            with live.connect() as connection:
                answer = connection.ask(method, path, headers)
                assert (answer.status, answer.headers["etag"]) == (status, tag), (method, headers)
                check_headers(dict(answer.headers))
                assert ("content-type" in answer.headers) == (status == 200)
                assert connection.ask("GET", path).body == first.body


@pytest.mark.parametrize(
    "path",
    [
        "/page",
        "/page/",
        "/page/.",
        "/page/..",
        "/page/missing.js",
        "/page/index.html",
        "/page/PAGE.JS",
        "/page/page.js%00",
        "/page/page.js%00.css",
        "/page/sub/page.js",
        "/page/../pages.py",
        "/page/%2e%2e/pages.py",
        "/page/..%2fpages.py",
        "/page/..%5cpages.py",
        "/page/../page/page.js",
        "/page//etc/passwd",
        "/page/%2fetc%2fpasswd",
        "/page/" + "x" * 5000,
        "/page.js",
    ],
)
def test_any_other_address_of_the_page_is_404(live: LiveServer, path: str) -> None:
    """No listing, no way out of the folder, one address for each file: all else is the API's 404."""
    answer = live.ask("GET", path)
    assert (answer.status, answer.headers["content-type"]) == (404, "application/json")
    assert json.loads(answer.body)["message"]


def test_the_page_allows_get_and_head_only(live: LiveServer) -> None:
    """Other methods are refused with 405 and told which there are."""
    answer = live.ask("POST", "/page/page.js", body=b"")
    assert answer.status == 405
    assert {name.strip() for name in answer.headers["allow"].split(",")} == {"GET", "HEAD"}


def test_metrics_of_the_page_have_bounded_labels(live: LiveServer) -> None:
    """Metrics name the files that there are; what a client made up counts as `other`."""
    for path in ("/", "/page/texts.js", "/page/made-up.js"):
        live.ask("GET", path)
    labels = set(re.findall(r'route="([^"]*)"', live.ask("GET", "/metrics").text))
    assert {"/", "/page/texts.js", "other"} <= labels
    assert labels <= {*map(address, NAMES), "other", "/metrics"}


def test_every_address_in_the_page_exists_and_is_relative() -> None:
    """Addresses in the page and imports in the scripts are relative, so that a prefix may go before them."""
    html = (FOLDER / "index.html").read_text()
    asked = set(re.findall(r'(?:href|src)="([^"#]+)"', html))
    assert {path for path in asked if not path.startswith("data:")} == {"page/page.css", "page/page.js"}
    for name in SCRIPTS:
        assert imports(name) <= {f"./{script}" for script in SCRIPTS}, name
    assert set().union(*map(imports, SCRIPTS)) == {f"./{name}" for name in SCRIPTS if name != "page.js"}


def test_imports_of_the_scripts_run_one_way() -> None:
    """There is an order in which each script imports only those before it; the entry is its end."""
    graph = {name: {path.removeprefix("./") for path in imports(name)} for name in SCRIPTS}
    assert list(TopologicalSorter(graph).static_order())[-1] == "page.js"


@pytest.mark.parametrize("name", SCRIPTS)
def test_each_script_opens_with_its_rule(name: str) -> None:
    """The first comment of a script says what it is for and states its rule."""
    lines = (FOLDER / name).read_text().splitlines()
    opening = lines[: next(place for place, line in enumerate(lines) if not line.startswith("//"))]
    assert opening[1] == "//"
    assert opening[2].startswith("// Rule: ")


def test_only_https_is_told_to_stay_https() -> None:
    """RFC 6797 section 7.2: Strict-Transport-Security over https, for 200 and 304 alike, and never over http."""
    for scheme in ("http", "https"):
        tag = sent(scheme)["etag"]
        for headers in ({}, {"if-none-match": tag}):
            assert ("strict-transport-security" in sent(scheme, headers)) == (scheme == "https"), (scheme, headers)


def test_the_page_tells_whether_it_needs_a_sign_in() -> None:
    """With `auth` on, the page alone differs, and so does its tag: a browser must not keep the other one."""
    off, on = ({route.path: route for route in server.web.pages.routes(auth)} for auth in ("off", "on"))
    assert off.keys() == on.keys()
    differ = {path for path in off if sent(route=off[path])["etag"] != sent(route=on[path])["etag"]}
    assert differ == {"/"}
    page = sent(route=on["/"])
    assert b'<html data-auth="on" lang="en">' in page["body"]
    assert int(page["content-length"]) == len(page["body"])
    assert b"data-auth" not in sent(route=off["/"])["body"]


def sent(scheme: str = "http", headers: dict[str, str] | None = None, route: Route | None = None) -> dict[str, Any]:
    """The headers of an answer of the page, and its `body`."""
    made: dict[str, Any] = {"body": b""}

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        made["body"] += message.get("body", b"")
        made.update((name.decode(), value.decode()) for name, value in message.get("headers", ()))

    raw = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    scope: Scope = {"type": "http", "method": "GET", "scheme": scheme, "path": "/", "headers": raw}
    asked = route or next(route for route in server.web.pages.routes() if route.path == "/")
    asyncio.run(asked.handle(scope, receive, send))
    return made
