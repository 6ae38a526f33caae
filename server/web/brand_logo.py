"""The operator's logo: read once, at the start, and made harmless.

Rule: of an SVG only elements that draw stay, with attributes that reach nothing outside; a PNG is served as it is.
What is too large or of another format stops the start with a sentence.
"""

import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

from server.errors import StartError

MOST_BYTES = 256 << 10
MOST_PIXELS = 1024
_PNG = b"\x89PNG\r\n\x1a\n"
_SVG = "http://www.w3.org/2000/svg"
_DRAWN = frozenset(
    {"svg", "g", "defs", "symbol", "use", "title", "desc", "style", "path", "rect", "circle", "ellipse", "line"}
    | {"polyline", "polygon", "text", "tspan", "linearGradient", "radialGradient", "stop", "clipPath", "mask"}
    | {"pattern", "marker"}
)
_HREFS = frozenset({"href", "{http://www.w3.org/1999/xlink}href"})
_OUTSIDE = re.compile(r"@import|expression|javascript:|\\|url\(\s*(?!['\"]?#)", re.IGNORECASE)


@dataclass(frozen=True)
class Logo:
    """A logo as it is served. `ratio` is width by height."""

    content: bytes
    suffix: str
    media_type: str
    ratio: float


def read(file: Path) -> Logo:
    """The logo. Raises `StartError` where it cannot be used."""
    try:
        with file.open("rb") as opened:
            content = opened.read(MOST_BYTES + 1)
    except OSError as error:
        raise _refusal(f"cannot be read: {error.strerror}") from None
    if len(content) > MOST_BYTES:
        raise _refusal(f"is larger than {MOST_BYTES >> 10} KiB")
    if content.startswith(_PNG):
        return _png(content)
    return _svg(content)


def _png(content: bytes) -> Logo:
    # The first chunk is IHDR: width and height are its first fields (PNG, section 11.2.1).
    width, height = (int.from_bytes(content[at : at + 4]) for at in (16, 20))
    if content[12:16] != b"IHDR" or not (0 < width <= MOST_PIXELS and 0 < height <= MOST_PIXELS):
        raise _refusal(f"is a PNG of {width} × {height} pixels; each side has 1 to {MOST_PIXELS}")
    return Logo(content, ".png", "image/png", width / height)


def _svg(content: bytes) -> Logo:
    # Without a DTD there are no entities, so nothing expands and nothing is loaded.
    if b"<!DOCTYPE" in content.upper() or b"<!ENTITY" in content.upper() or b"\0" in content:
        raise _refusal("has a document type or entities; save it as plain SVG")
    try:
        root = ET.fromstring(content)  # noqa: S314  # no DTD, see above; the operator chooses the file
    except (ET.ParseError, ValueError):
        raise _refusal("is neither a PNG nor an SVG") from None
    if root.tag != f"{{{_SVG}}}svg":
        raise _refusal("is neither a PNG nor an SVG")
    _clean(root)
    ET.register_namespace("", _SVG)
    return Logo(ET.tostring(root, encoding="utf-8"), ".svg", "image/svg+xml", _ratio(root))


def _clean(element: ET.Element) -> None:
    for name, value in list(element.attrib.items()):
        is_foreign = name.startswith("{") and name not in _HREFS
        is_outside = name in _HREFS and not value.strip().startswith("#")
        if is_foreign or is_outside or name.lower().startswith("on") or _OUTSIDE.search(value):
            del element.attrib[name]
    for child in list(element):
        space, _, name = str(child.tag).rpartition("}")
        is_style_outside = name == "style" and (len(child) > 0 or _OUTSIDE.search(child.text or ""))
        if space != f"{{{_SVG}" or name not in _DRAWN or is_style_outside:
            element.remove(child)
        else:
            _clean(child)


def _ratio(root: ET.Element) -> float:
    box = re.findall(r"[0-9.eE+-]+", root.get("viewBox", ""))
    pair = box[2:4] if len(box) == 4 else [root.get(name, "").removesuffix("px") for name in ("width", "height")]
    try:
        width, height = (float(number) for number in pair)
        ratio = width / height
    except (ValueError, ZeroDivisionError):
        return 1.0
    return ratio if 0 < ratio < float("inf") else 1.0


def _refusal(what: str) -> StartError:
    return StartError(f"The file of the setting brand_logo {what}.")
