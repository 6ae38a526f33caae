"""The document at the addresses of shared videos: its card, its headers, and that no text of an owner is markup."""

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path

import pytest
from starlette.responses import Response

from server.bootstrap import Services
from server.settings import Settings
from server.web.preview_card import PreviewCards
from server.web.static_file import PAGE_HEADERS
from tests.harness.http import serving
from tests.web.owned import Owned
from tests.web.test_shares import completed, share

DOCUMENT = b"<!doctype html><html><head><title>V</title></head><body></body></html>"
BASE = "https://video.example/tube"
TITLE = "\"><script>alert(1)</script>' & 假期"

Dress = Callable[..., Response]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def owned(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Owned]:
    with serving(request, tmp_path_factory.mktemp("cards"), auth="on") as live:
        yield Owned(live)


@pytest.fixture
def dress(owned: Owned, tmp_path: Path) -> Dress:
    """The document at a path of a server below a prefix, with these settings and the same rows."""

    def made(path: str, status: int = 200, **settings: object) -> Response:
        given = Settings(data_dir=tmp_path, database_url=owned.live.database_url, **settings)  # type: ignore[arg-type]
        headers = {**PAGE_HEADERS, "ETag": '"v1"', "Last-Modified": "Mon, 30 Nov 2026 12:00:00 GMT"}
        response = Response(DOCUMENT if status == 200 else b"", status, headers, "text/html; charset=utf-8")
        scope = {"type": "http", "scheme": "https", "root_path": "/tube", "headers": [(b"host", b"video.example")]}
        with Services.open(given) as services:
            return asyncio.run(PreviewCards(services).dress(response, scope, path))

    return made


class _Head(HTMLParser):
    """What elements with attributes a document has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.metas: dict[str, str] = {}
        self.links: list[Mapping[str, str | None]] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        found = dict(attrs)
        if tag == "meta":
            self.metas[str(found.get("property") or found.get("name"))] = str(found["content"])
        if tag == "link":
            self.links.append(found)


def test_a_link_has_a_card(owned: Owned, dress: Dress) -> None:
    """Title, poster and size by the share's own URLs; markup in a title stays text; no validators of other pages."""
    task = completed(owned)
    assert owned.json("PATCH", f"/api/task/{task}", "ann", {"title": TITLE})[0] == 200
    token, _ = share(owned, task)
    response = dress(f"/s/{token}", embed_ancestors="https://blog.example")
    text = bytes(response.body).decode()
    head = _Head(text)
    assert head.tags.count("script") == 0
    assert head.metas["og:title"] == head.metas["twitter:title"] == TITLE
    assert head.metas["og:url"] == f"{BASE}/s/{token}"
    assert head.metas["og:image"] == f"{BASE}/media/s/{token}/1/poster.jpg"
    assert head.metas["og:video"] == f"{BASE}/media/s/{token}/1/video.mp4"
    assert (head.metas["og:video:width"], head.metas["og:video:height"]) == ("640", "480")
    assert (head.metas["twitter:card"], head.metas["twitter:player"]) == ("player", f"{BASE}/embed/{token}")
    (link,) = head.links
    assert link["type"] == "application/json+oembed"
    assert str(link["href"]).startswith(f"{BASE}/api/oembed?url=https%3A%2F%2Fvideo.example%2Ftube%2Fs%2F{token}")
    assert response.headers["content-length"] == str(len(response.body))
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-robots-tag"] == "noindex"
    assert "etag" not in response.headers
    assert "frame-ancestors 'none'" in response.headers["content-security-policy"]
    assert task not in text


def test_a_link_that_shows_nothing_has_no_card(owned: Owned, dress: Dress) -> None:
    """Unknown, malformed and revoked ones; the page itself says why."""
    task = completed(owned)
    token, one = share(owned, task)
    assert owned.json("DELETE", f"/api/task/{task}/shares/{one}")[0] == 200
    for path in (f"/s/{token}", "/s/" + "A" * 24, "/s/x", "/s/", f"/s/{token}/x"):
        response = dress(path)
        assert (response.status_code, bytes(response.body)) == (200, DOCUMENT), path
        assert response.headers["x-robots-tag"] == "noindex"


def test_only_the_player_may_be_framed(dress: Dress) -> None:
    """By the origins of the setting; without them by pages of this server. Every other page by nobody."""
    name = "8a6b1c6e-3f0e-4a58-9f57-0d8f1f1f9c11"
    for ancestors, allowed, frames in (
        ("", "'self'", "SAMEORIGIN"),
        ("https://a.example,https://*.b.example", "'self' https://a.example https://*.b.example", None),
        ("*", "'self' *", None),
    ):
        headers = dress(f"/embed/{name}", embed_ancestors=ancestors).headers
        (found,) = re.findall(r"frame-ancestors ([^;]*)", headers["content-security-policy"])
        assert (found, headers.get("x-frame-options")) == (allowed, frames)
        assert headers["x-robots-tag"] == "noindex"
        for path in ("/", "/videos", f"/v/{name}", "/embedded", "/s/x", "/admin/keys"):
            other = dress(path, embed_ancestors=ancestors).headers
            assert "frame-ancestors 'none'" in other["content-security-policy"], path
            assert other["x-frame-options"] == "DENY"
    unchanged = dress("/v/" + name)
    assert (bytes(unchanged.body), unchanged.headers["etag"]) == (DOCUMENT, '"v1"')
    assert dress(f"/embed/{name}", 304, embed_ancestors="*").status_code == 304
