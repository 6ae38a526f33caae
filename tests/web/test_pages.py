"""The page's files as they are served: types, headers, revalidation, and that there is nothing else to be had."""

import asyncio
import gzip
import json
import re
from collections.abc import Iterator
from datetime import timedelta
from email.utils import format_datetime, parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Route
from starlette.types import Message, Scope

import server.web.pages
from server.errors import StartError
from server.web.openapi import server as views
from tests.harness.http import LiveServer

PAGE = Path(server.web.pages.__file__).parent / "page"
DIST = PAGE / "dist"
NAMES = sorted(path.name for path in DIST.iterdir() if path.suffix in (".js", ".css"))
SOURCES = sorted(path for path in (PAGE / "src").rglob("*") if path.suffix in (".ts", ".tsx"))
VIEWS = ("/", "/videos", "/numbers", "/admin", "/admin/keys")
TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
FOREVER = "public, max-age=31536000, immutable"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with LiveServer(tmp_path_factory.mktemp("live")) as made:
        yield made


def check_headers(headers: dict[str, str], cache: str) -> None:
    """The page may load its own files only, and is framed by nobody."""
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data: blob:",
        "media-src": "'self' blob:",
        "connect-src": "'self'",
        "form-action": "'self'",
        "base-uri": "'self'",
        "frame-ancestors": "'none'",
    }
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == cache
    assert headers["x-frame-options"] == "DENY"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert {"camera=()", "microphone=()", "geolocation=()"} <= set(headers["permissions-policy"].split(", "))


def script() -> str:
    """The address of the first script."""
    return next(f"/page/{name}" for name in NAMES if name.startswith("main-"))


@pytest.mark.parametrize("name", NAMES)
def test_each_file_is_served(live: LiveServer, name: str) -> None:
    """GET answers with the file's bytes, its type and all headers, smaller to clients that take that; HEAD without a
    body. A file is kept for a year: its name has the hash of its content."""
    content = (DIST / name).read_bytes()
    bodies = {"identity": content}
    for encoding, suffix, unpack in (("gzip", ".gz", gzip.decompress), ("br", ".br", None)):
        copy = DIST / f"{name}{suffix}"
        if copy.exists():
            bodies[encoding] = copy.read_bytes()
            assert unpack is None or unpack(bodies[encoding]) == content
    tags = set()
    for encoding, body in bodies.items():
        for method in ("GET", "HEAD"):
            answer = live.ask(method, f"/page/{name}", {"Accept-Encoding": encoding})
            assert (answer.status, answer.body) == (200, body if method == "GET" else b"")
            assert answer.headers["content-type"] == TYPES[Path(name).suffix]
            assert answer.headers["content-length"] == str(len(body))
            assert answer.headers.get("content-encoding", "identity") == encoding
            check_headers(dict(answer.headers), FOREVER)
        tags.add(answer.headers["etag"])
    assert len(tags) == len(bodies)
    assert re.fullmatch(r"[\w-]+-[0-9A-Z]{8}\.(js|css)", name)


@pytest.mark.parametrize("path", VIEWS)
def test_each_view_is_the_same_document(live: LiveServer, path: str) -> None:
    """The document has the scripts and styles of the build, is asked for again each time, and says its base."""
    answer = live.ask("GET", path)
    assert answer.body == (DIST / "index.html").read_bytes()
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    check_headers(dict(answer.headers), "no-cache")
    asked = {one for one in re.findall(r'(?:href|src)="([^"]+)"', answer.text) if not one.startswith("data:")}
    assert asked - {"/"} <= {f"page/{name}" for name in NAMES}
    assert script().removeprefix("/") in asked


def test_the_document_says_where_it_is_published() -> None:
    """Below a prefix the base is that prefix, and the tag another one; a prefix cannot write anything else there."""
    plain, below, odd = (sent(prefix=prefix) for prefix in ("", "/video/dock", '/a"><script>'))
    assert b'<base href="/">' in plain["body"]
    assert b'<base href="/video/dock/">' in below["body"]
    assert b"<script>" not in odd["body"]
    assert len({answer["etag"] for answer in (plain, below, odd)}) == 3


def test_a_start_without_a_built_page_says_what_to_do(tmp_path: Path) -> None:
    """One sentence instead of a page without scripts."""
    with pytest.raises(StartError, match="The page is not built: start with `make run`"):
        server.web.pages.routes("off", tmp_path)


@pytest.mark.parametrize(("path", "cache"), [("/", "no-cache"), (script(), FOREVER)], ids=["document", "script"])
def test_an_unchanged_file_is_304(live: LiveServer, path: str, cache: str) -> None:
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
                check_headers(dict(answer.headers), cache)
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
        "/page/sources.sha256",
        script().upper(),
        f"{script()}.gz",
        f"{script()}%00",
        f"{script()}%00.css",
        f"/page/sub{script()}",
        "/page/../pages.py",
        "/page/%2e%2e/pages.py",
        "/page/..%2fpages.py",
        "/page/..%5cpages.py",
        f"/page/..{script()}",
        "/page//etc/passwd",
        "/page/%2fetc%2fpasswd",
        "/page/" + "x" * 5000,
        "/main.js",
        "/video",
        "/videos/x",
    ],
)
def test_any_other_address_of_the_page_is_404(live: LiveServer, path: str) -> None:
    """No listing, no way out of the folder, one address for each file: all else is the API's 404."""
    answer = live.ask("GET", path)
    assert (answer.status, answer.headers["content-type"]) == (404, "application/json")
    assert json.loads(answer.body)["message"]


def test_the_page_allows_get_and_head_only(live: LiveServer) -> None:
    """Other methods are refused with 405 and told which there are."""
    answer = live.ask("POST", script(), body=b"")
    assert answer.status == 405
    assert {name.strip() for name in answer.headers["allow"].split(",")} == {"GET", "HEAD"}


def test_metrics_of_the_page_have_bounded_labels(live: LiveServer) -> None:
    """Metrics name the files that there are; what a client made up counts as `other`."""
    for path in (*VIEWS, script(), "/page/made-up.js"):
        live.ask("GET", path)
    routes = {*VIEWS[:-1], "/admin/{room}"}
    labels = set(re.findall(r'route="([^"]*)"', live.ask("GET", "/metrics").text))
    assert {*routes, script(), "other"} <= labels
    assert labels <= {*routes, *(f"/page/{name}" for name in NAMES), "other", "/metrics"}


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(PAGE)))
def test_each_source_opens_with_what_it_is(source: Path) -> None:
    """The first line of a source says what it is for, as in the rest of the repository."""
    assert re.match(r"// \S.+", source.read_text().splitlines()[0])


def test_nothing_of_another_host_is_named_in_the_sources() -> None:
    """The policy would refuse it; a source that names one is a mistake."""
    for path in (PAGE / "src").rglob("*"):
        if path.is_file():
            found = set(re.findall(r"https?://[^\s'\"`)]+", path.read_text()))
            assert found <= {"http://www.w3.org/2000/svg"}, path


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
    assert differ == set(views.VIEWS)
    page = sent(route=on["/"])
    assert b'<html data-auth="on" lang="en">' in page["body"]
    assert int(page["content-length"]) == len(page["body"])
    assert b"data-auth" not in sent(route=off["/"])["body"]


def sent(
    scheme: str = "http", headers: dict[str, str] | None = None, route: Route | None = None, prefix: str = ""
) -> dict[str, Any]:
    """The headers of an answer of the page, and its `body`."""
    made: dict[str, Any] = {"body": b""}

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        made["body"] += message.get("body", b"")
        made.update((name.decode(), value.decode()) for name, value in message.get("headers", ()))

    raw = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    scope: Scope = {
        "type": "http",
        "method": "GET",
        "scheme": scheme,
        "path": f"{prefix}/",
        "root_path": prefix,
        "headers": raw,
    }
    asked = route or next(route for route in server.web.pages.routes() if route.path == "/")
    asyncio.run(asked.handle(scope, receive, send))
    return made
