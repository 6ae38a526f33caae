"""The operator's brand: on the document, as files, in `/api/config`, and what stops the start."""

import html
import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from server.errors import StartError
from server.settings import load
from server.web import brand_colours, brand_logo, pages
from server.web.branding import Brand
from tests.harness.http import LiveServer

TOKENS = Path(pages.__file__).parent / "page/src/style/tokens.css"
SVG = b"""<svg xmlns="http://www.w3.org/2000/svg" xmlns:x="http://www.w3.org/1999/xlink"
viewBox="0 0 60 20" onload="a()">
<script>a()</script><foreignObject/><style>@import "https://evil.example/a.css";</style><style>.a{fill:red}</style>
<image x:href="https://evil.example/a.png"/><use x:href="#a" href="https://evil.example/#b"/>
<rect id="a" class="a" width="60" height="20" style="fill:url( 'https://evil.example/')" fill="url(#b)"/></svg>"""
TERMS, PRIVACY = "https://acme.example/terms?a=1&b=2", "https://acme.example/privacy"
NAME = "Acme & <Söhne>"


@pytest.fixture(scope="module")
def branded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    logo = tmp_path_factory.mktemp("brand") / "logo.svg"
    logo.write_bytes(SVG)
    more: dict[str, Any] = {"brand_name": NAME, "brand_logo": str(logo), "brand_accent": "#0F766E"}
    with LiveServer(tmp_path_factory.mktemp("live"), terms_url=TERMS, privacy_url=PRIVACY, **more) as made:
        yield made


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height) + bytes(5)


def test_the_document_has_the_brand(branded: LiveServer) -> None:
    """Title, data for the script, icon, style sheet and the plain form; texts are escaped, addresses relative."""
    answer = branded.ask("GET", "/videos")
    assert "<title>Acme &amp; &lt;Söhne&gt;</title>" in answer.text
    found = re.search(r'data-brand="([^"]*)"', answer.text)
    assert found is not None
    known = json.loads(html.unescape(found[1]))
    assert (known["name"], known["terms_url"], known["ratio"]) == (NAME, TERMS, 3.0)
    assert f'<link rel="icon" href="{known["logo"]}">' in answer.text
    plain = answer.text.partition("<noscript>")[2]
    assert html.escape(NAME) in plain
    assert html.escape(TERMS) in plain
    assert PRIVACY in plain
    assert "<Söhne>" not in answer.text


def test_its_files_are_served(branded: LiveServer) -> None:
    """Logo and style sheet have their types and the policy of the page, and are kept for a year."""
    text = branded.ask("GET", "/").text
    names = set(re.findall(r"page/(brand-[0-9A-F]{8}\.\w+)", text))
    assert {Path(name).suffix for name in names} == {".svg", ".css"}
    for name in names:
        answer = branded.ask("GET", f"/page/{name}")
        kind = {".svg": "image/svg+xml", ".css": "text/css; charset=utf-8"}[Path(name).suffix]
        assert (answer.status, answer.headers["content-type"]) == (200, kind)
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_the_configuration_tells_it(branded: LiveServer) -> None:
    """What the page shows, another client can show too."""
    told = json.loads(branded.ask("GET", "/api/config").body)["brand"]
    assert told.pop("logo").startswith("page/brand-")
    assert told == {"name": NAME, "accent": "#0f766e", "terms_url": TERMS, "privacy_url": PRIVACY}


def test_without_settings_the_document_stays_as_it_is() -> None:
    """The default brand changes no byte and adds no file."""
    document = (pages._DIST / "index.html").read_bytes()
    assert Brand.of(load()).dress(document) is document
    assert Brand().files == ()


def test_an_svg_keeps_only_what_draws(tmp_path: Path) -> None:
    """Scripts, handlers, foreign content and references to other files are taken out; the drawing stays."""
    file = tmp_path / "logo.svg"
    file.write_bytes(SVG)
    made = brand_logo.read(file)
    for gone in (b"script", b"onload", b"foreignObject", b"evil.example", b"image"):
        assert gone not in made.content
    for kept in (b"<rect", b'fill="url(#b)"', b".a{fill:red}", b'href="#a"'):
        assert kept in made.content
    assert made.ratio == 3


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'>" + b" " * (256 << 10), "is larger than 256 KiB"),
        (b'<!DOCTYPE svg [<!ENTITY a "b">]><svg xmlns="http://www.w3.org/2000/svg"/>', "document type"),
        ('<?xml version="1.0" encoding="utf-16"?><!DOCTYPE svg><svg/>'.encode("utf-16"), "document type"),
        (b"GIF89a", "is neither a PNG nor an SVG"),
        (b"<html/>", "is neither a PNG nor an SVG"),
        (png(2000, 20), "is a PNG of 2000 × 20 pixels"),
        (png(0, 20), "is a PNG of 0 × 20 pixels"),
    ],
)
def test_another_logo_stops_the_start(content: bytes, words: str, tmp_path: Path) -> None:
    """One sentence says what is wrong with the file."""
    file = tmp_path / "logo"
    file.write_bytes(content)
    with pytest.raises(StartError, match=words):
        Brand.of(load(brand_logo=str(file)))


def test_a_png_is_served_as_it_is(tmp_path: Path) -> None:
    """With its type, and its ratio for the page."""
    file = tmp_path / "logo.png"
    file.write_bytes(png(300, 100))
    brand = Brand.of(load(brand_logo=str(file)))
    assert brand.logo is not None
    assert (brand.logo.content, brand.logo.media_type, brand.ratio) == (png(300, 100), "image/png", 3.0)
    with pytest.raises(StartError, match="cannot be read: No such file"):
        Brand.of(load(brand_logo=str(tmp_path / "none.png")))


@pytest.mark.parametrize("accent", ["#0f766e", "#2563eb", "#b3261e", "#000000", "#000080", "#5b21b6"])
def test_every_shade_is_legible(accent: str) -> None:
    """Text in the accent, and on it, has 4.5 in both palettes, on each surface and on the soft shade."""
    sheet = brand_colours.stylesheet(accent).decode()
    for rules, surfaces in zip(sheet.split("@media"), (brand_colours.LIGHT, brand_colours.DARK), strict=True):
        found = dict(re.findall(r"--([a-z-]+):(#[0-9a-f]{6})", rules))
        for other in (*surfaces, found["accent-soft"], found["on-accent"]):
            assert brand_colours.contrast(found["accent"], other) >= 4.5
        assert brand_colours.contrast(found["accent-hover"], found["on-accent"]) >= 4.5


def test_a_pale_accent_stops_the_start() -> None:
    """The sentence names the contrast, the bound, and a shade that can be used."""
    with pytest.raises(StartError) as refused:
        brand_colours.stylesheet("#facc15")
    found = re.search(
        r"contrast of (1\.\d\d) .* needs 4\.5 or more.*darker shade .* (#[0-9a-f]{6})\.", str(refused.value)
    )
    assert found is not None
    brand_colours.stylesheet(found[2])


def test_the_surfaces_are_those_of_the_page() -> None:
    """The contrast is judged on the colours that the page has."""
    light, dark = TOKENS.read_text().split("@media (prefers-color-scheme: dark)")
    for rules, surfaces in ((light, brand_colours.LIGHT), (dark, brand_colours.DARK)):
        assert tuple(re.findall(r"--(?:page|card): (#[0-9a-f]{6})", rules)) == surfaces


@pytest.mark.parametrize(
    "setting",
    [{"terms_url": "javascript:alert(1)"}, {"brand_accent": "red"}, {"brand_name": "a\nb"}, {"brand_name": ""}],
)
def test_other_values_are_refused(setting: dict[str, str]) -> None:
    """A link is http or https, a colour is six hexadecimal digits, a name is one line."""
    with pytest.raises(StartError, match=f"The setting {next(iter(setting))}"):
        load(**setting)
