"""`make screenshots`: real servers with real videos, and a picture of every state of the page.

Rule: what is photographed is in `states.py`; each state is taken at three widths, light and dark, in two languages, and
a contact sheet for each width shows them side by side. Before that axe looks at it in both schemes, and nothing may be
wider than the narrowest screen.
"""

import argparse
import html
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

from tests import samples
from tests.harness.chromium import drive
from tests.screenshots.servers import Servers
from tests.screenshots.states import DOCS, STATES, State, Step

MADE = Path(__file__).parent / "made"
PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
WIDTHS = {390: 844, 1280: 800, 2560: 1440}
NARROWEST = (320, 568)
SCHEMES = ("light", "dark")
LOCALES = {"en": "en-GB", "zh": "zh-CN"}
SHEET_PIXELS = {390: 105, 1280: 210, 2560: 210}
"""How wide a picture is on the contact sheet of its width."""


def main() -> int:
    """Make them; 1 when a state could not be reached."""
    options = _options()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        states = DOCS if options.docs else [state for state in STATES if _is_wanted(state, options.only)]
        servers = stack.enter_context(Servers(folder, {state.server for state in states}))
        if options.docs:
            failed = [line for state in states for line in _document(state, servers, folder)]
        else:
            MADE.mkdir(exist_ok=True)
            failed = [
                line
                for state in states
                for language in options.language
                for line in _take(state, servers, folder, language, _shots(state, language, options.width))
            ]
            for width in options.width:
                failed += _sheet(width, options.language, servers, folder)
    for line in failed:
        print(line, file=sys.stderr)
    print(f"The pictures are in {PICTURES if options.docs else MADE}")
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.screenshots", description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], help="states whose names have one of these in them")
    parser.add_argument("--width", nargs="*", type=int, choices=WIDTHS, default=list(WIDTHS), help="in pixels")
    parser.add_argument("--language", nargs="*", choices=LOCALES, default=list(LOCALES))
    parser.add_argument("--docs", action="store_true", help="the pictures of the documents, into docs/pictures")
    return parser.parse_args()


def _is_wanted(state: State, only: list[str]) -> bool:
    return not only or any(part in state.name for part in only)


def _take(state: State, servers: Servers, folder: Path, language: str, shots: Iterable[Step]) -> list[str]:
    """Reach a state and photograph it; what went wrong."""
    place = Path(tempfile.mkdtemp(dir=folder))
    url, path, steps = servers.filled(state)
    taken = [*steps, *shots]
    options = {"url": f"{url}/", "path": path, "steps": taken, "locale": LOCALES[language], "seconds": 20}
    try:
        with drive("videos.mjs", place, **options) as client:
            events = client.finish(seconds=120)
    except AssertionError as error:
        return [f"{state.name} ({language}): {str(error)[-600:]}"]
    found = [(event["label"], event["found"]) for event in events if event["event"] == "axe" and event["found"]]
    found += [
        ("320 px", f"{event['wide']} px too wide") for event in events if event["event"] == "look" and event["wide"] > 0
    ]
    return [f"{state.name} ({language}): {label}: {what}" for label, what in found]


def _shots(state: State, language: str, widths: Iterable[int]) -> Iterator[Step]:
    yield ["size", *NARROWEST]
    for scheme in SCHEMES:
        yield ["scheme", scheme]
        yield ["settle"]
        yield ["axe", scheme]
    yield ["look", "narrowest"]
    for width in widths:
        yield ["size", width, WIDTHS[width]]
        for scheme in SCHEMES:
            yield ["scheme", scheme]
            yield ["settle"]
            yield ["photograph", str(MADE / _name(state, width, scheme, language)), False]


def _name(state: State, width: int, scheme: str, language: str) -> str:
    return f"{state.name}-{width}-{scheme}-{language}.png"


def _sheet(width: int, languages: list[str], servers: Servers, folder: Path) -> list[str]:
    """One page with all pictures of a width, those of earlier runs among them, and a picture of that page."""
    figures = []
    for state in STATES:
        names = [_name(state, width, scheme, language) for language in languages for scheme in SCHEMES]
        found = "".join(
            f'<a href="{name}"><img src="{name}" alt="{name}"></a>' for name in names if (MADE / name).exists()
        )
        if found:
            figures.append(f"<figure><figcaption>{html.escape(state.name)}</figcaption>{found}</figure>")
    style = (
        "body{font:14px sans-serif;display:flex;flex-wrap:wrap;gap:16px}figure{margin:0}figcaption{font-weight:bold}"
        f"img{{width:{SHEET_PIXELS[width]}px;border:1px solid #888;margin:2px}}"
    )
    page = f"<!doctype html><meta charset=utf-8><title>{width} px</title><style>{style}</style>{''.join(figures)}"
    sheet = MADE / f"{width}.html"
    sheet.write_text(page, encoding="utf-8")
    state = State("sheet", next(iter(servers.urls)), "healthz")
    steps: list[Step] = [
        ["size", 1800, 1000],
        ["goto", sheet.as_uri()],
        ["photograph", str(MADE / f"{width}.png")],
    ]
    return _take(state, servers, folder, "en", steps)


def _document(state: State, servers: Servers, folder: Path) -> list[str]:
    """A picture for the documents: 1280 px, light, English, small."""
    png = folder / f"{state.name}.png"
    shots: list[Step] = [["size", 1280, 800], ["scheme", "light"], ["settle"], ["photograph", str(png), False]]
    failed = _take(state, servers, folder, "en", shots)
    if not failed:
        PICTURES.mkdir(exist_ok=True)
        samples.run("-i", str(png), "-c:v", "libwebp", "-quality", "85", str(PICTURES / f"{state.name}.webp"))
        shutil.copyfile(png, MADE / f"docs-{state.name}.png") if MADE.exists() else None
    return failed


if __name__ == "__main__":
    sys.exit(main())
