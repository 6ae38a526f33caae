"""Where things are on the upload page: the newest files on top, nothing wider than a small telephone, one unit."""

from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.harness.chromium import look
from tests.harness.gate import Gate
from tests.harness.node import Event
from tests.harness.upload_page import browser, check_quiet, use
from tests.samples import big, make

pytestmark = [pytest.mark.acceptance, pytest.mark.turns(3)]  # a browser and its sizes

MIB = 1 << 20
LONG = "a-name-without-any-place-to-break-it-" * 4 + "视频.mp4"


def names(events: list[Event], label: str) -> list[str]:
    """The names of the rows, from top to bottom."""
    return [found["name"] for found in look(events, label)["rows"]]


def test_the_newest_rows_are_on_top_and_in_view(start_server: StartServer, tmp_path: Path) -> None:
    """Files chosen later stand above, in the order of their choice, are scrolled to, and stay there after a reload."""
    server = start_server(transcode="none", storyboard="off")
    old = [make(tmp_path, f"old {number}.mp4", seconds=1) for number in range(4)]
    new = [big(tmp_path, name, 24 * MIB) for name in ("b.mp4", "a.mp4", "c.mp4")]
    events = use(
        tmp_path,
        server.url,
        ["size", 390, 300],
        ["choose", *map(str, old)],
        ["until", "done", 4],
        ["throttle", MIB],
        ["scroll", 10_000],
        ["choose", *map(str, new)],
        ["percent", 2],
        ["look", "chosen"],
        ["reload"],
        ["until", "unchosen"],
        ["visible", ".row:nth-child(7)"],
        ["look", "reloaded"],
        keeps=False,
    )
    assert names(events, "chosen") == [path.name for path in (*new, *old)]
    assert 0 <= look(events, "chosen")["rows"][0]["top"] <= 300
    assert names(events, "reloaded") == names(events, "chosen")


@pytest.mark.sampled(1)
@pytest.mark.parametrize("locale", ["en-GB", "zh-CN"])
def test_the_page_fits_a_small_phone(start_server: StartServer, gate: Gate, tmp_path: Path, locale: str) -> None:
    """At 320 CSS pixels there is nothing to scroll sideways in any state of a row, and axe finds nothing."""
    server = start_server(ffmpeg=gate.path, transcode="mp4")
    text = tmp_path / LONG.replace("视频", "notes")
    text.write_bytes(b"Dear diary.\n" * 1000)
    (tmp_path / "other").mkdir()
    long = big(tmp_path, LONG, 24 * MIB)
    with browser(
        tmp_path,
        server.url,
        ["size", 320, 568],
        ["visible", "#zone"],
        ["look", "empty"],
        ["axe", "empty"],
        ["throttle", MIB // 2],
        ["choose", str(long)],
        ["percent", 2],
        ["look", "uploading"],
        ["axe", "uploading"],
        ["click", ".row .action-remove"],
        ["visible", ".toast"],
        ["look", "removed"],
        ["axe", "removed"],
        ["click", ".toast button"],
        ["until", "sending"],
        ["click", ".row .action-pause"],
        ["until", "paused"],
        ["look", "paused"],
        ["choose", str(long)],
        ["visible", "#twin-skip"],
        ["look", "asked"],
        ["axe", "asked"],
        ["key", "Escape"],
        ["choose", str(text)],
        ["until", "failed"],
        ["look", "failed"],
        ["axe", "failed"],
        ["throttle", 0],
        ["choose", str(make(tmp_path / "other", LONG))],
        ["visible", '.row[data-tone="work"]'],
        ["look", "processing"],
        ["offline", True],
        ["visible", ".away p"],
        ["look", "away"],
        ["axe", "away"],
        ["offline", False],
        ["until", "done"],
        ["visible", ".row img"],
        ["look", "done"],
        ["axe", "done"],
        locale=locale,
    ) as client:
        client.wait_for("look", where=lambda event: event["label"] == "away")
        gate.open()
        events = client.finish(seconds=150)
    check_quiet(events, server.url, troubled=True)
    looks = {event["label"]: event["tooWide"] for event in events if event["event"] == "look"}
    assert looks == {label: {"by": 0, "out": []} for label in looks}
    found = {event["label"]: event["found"] for event in events if event["event"] == "axe"}
    assert found == {label: [] for label in ("empty", "uploading", "removed", "asked", "failed", "away", "done")}


def test_sizes_are_in_binary_units(start_server: StartServer, tmp_path: Path) -> None:
    """A size on the page reads as in the server's sentences and on the command line."""
    server = start_server(tus_max_size=1536 * 1024 + 150 * MIB)
    sizes = {"a.mp4": (700, "700 B"), "b.mp4": (1536, "1.5 KiB"), "c.mp4": (3 * MIB, "3 MiB")}
    for name, (size, _) in sizes.items():
        (tmp_path / name).write_bytes(bytes(size))
    events = use(
        tmp_path,
        server.url,
        ["text", "up to 151.5\u00a0MiB each"],
        ["choose", *(str(tmp_path / name) for name in sizes)],
        ["until", "failed", 3],
        ["look", "end"],
        troubled=True,
    )
    rows = look(events, "end")["rows"]
    assert {found["name"]: found["size"] for found in rows} == {name: shown for name, (_, shown) in sizes.items()}
