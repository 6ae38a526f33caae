"""What a viewer gets: results played and sought through in Chromium, MP4 by itself and HLS by hls.js."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.harness.chromium import drive


@dataclass(frozen=True)
class Item:
    """A result: `path` of an MP4 or of a master playlist, and the `points` (seconds) to seek to."""

    name: str
    path: Path
    points: Sequence[float]


@dataclass(frozen=True)
class Seek:
    """Where it was to go (seconds), and 16 x 12 values of luma of what was shown then."""

    to: float
    picture: list[int]


@dataclass(frozen=True)
class Watched:
    """What came of an item; `error` is the first thing that went wrong."""

    name: str
    duration: float
    size: tuple[int, int]
    sound: bool
    seeks: list[Seek]
    ended: float | None
    error: str | None


def watch(items: Sequence[Item], folder: Path, *, patience: float = 30) -> list[Watched]:
    """Load, seek to all points, play from the start, and play to the end; in order, in one browser."""
    given = [{"name": one.name, "path": str(one.path), "points": list(one.points)} for one in items]
    with drive("player.mjs", folder, items=given, patience=patience) as browser:
        events = browser.finish(seconds=60 + patience * 2 * len(items))
    found = []
    for event in events:
        if event["event"] == "watched":
            seeks = [Seek(one["to"], one["picture"]) for one in event["seeks"]]
            size = (event["width"], event["height"])
            rest = (event["sound"], seeks, event["ended"], event["error"])
            found.append(Watched(event["name"], event["duration"] or 0.0, size, *rest))
    assert len(found) == len(items)
    return found
