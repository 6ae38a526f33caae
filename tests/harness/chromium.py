"""Chromium, driven by the scripts of `tests/clients/`, and what their events tell."""

import shutil
from pathlib import Path

from tests.harness.node import Event, NodeClient


def drive(program: str, folder: Path, **options: object) -> NodeClient:
    """Run a driver with its options; ended with the `with` block at the latest."""
    chromium = shutil.which("chromium")
    assert chromium, "Chromium is not installed; `make test` installs it"
    return NodeClient(program, folder, chromium=chromium, **options)


def requests(events: list[Event], method: str) -> list[Event]:
    """What the page asked by that method, in order."""
    return [event for event in events if event["event"] == "request" and event["method"] == method]


def responses(events: list[Event], method: str) -> list[Event]:
    """What it was answered, in order."""
    return [event for event in events if event["event"] == "response" and event["method"] == method]


def look(events: list[Event], label: str) -> Event:
    """What was to be seen at that step."""
    (found,) = [event for event in events if event["event"] == "look" and event["label"] == label]
    return found


def check_continued(events: list[Event]) -> int:
    """The upload was made once, interrupted, and continued at the offset that the server then told; that offset."""
    assert len(requests(events, "POST")) == 1
    (asked,) = responses(events, "HEAD")[-1:]
    assert asked["status"] == 200
    assert asked["offset"] > 0
    later = events[events.index(asked) :]
    assert requests(later, "PATCH")[0]["offset"] == asked["offset"]
    return int(asked["offset"])
