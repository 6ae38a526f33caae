"""The pages of videos in Chromium: all of them, one of them, and those that are shared."""

from pathlib import Path
from typing import Any

from tests.harness.chromium import drive, look
from tests.harness.multipart import curl
from tests.harness.node import Event, NodeClient
from tests.harness.server_process import ServerProcess
from tests.harness.tasks import finish
from tests.harness.upload_page import check_quiet

Step = list[object]


def use(folder: Path, url: str, path: str, *steps: Step, locale: str = "en-GB", troubled: bool = False) -> list[Event]:
    """Open a path of the page and take `steps` there; all events, checked as `check_quiet` says."""
    with browser(folder, url, path, *steps, locale=locale) as client:
        events = client.finish(seconds=150)
    check_quiet(events, url, troubled=troubled)
    return events


def browser(folder: Path, url: str, path: str, *steps: Step, locale: str = "en-GB") -> NodeClient:
    """Chromium at a path of the page, taking `steps`."""
    return drive("videos.mjs", folder, url=f"{url}/", path=path, locale=locale, steps=steps)


def names(events: list[Event], label: str) -> list[str]:
    """The names of the videos that are drawn at that step, in order."""
    return [video["name"] for video in look(events, label)["videos"]]


def check_accessible(events: list[Event]) -> None:
    """axe has looked, and has found nothing."""
    looked = [event for event in events if event["event"] == "axe"]
    assert looked
    assert {event["label"]: event["found"] for event in looked if event["found"]} == {}


def player(events: list[Event], label: str) -> dict[str, Any]:
    """The first player at that step."""
    found = look(events, label)["players"][0]
    assert isinstance(found, dict)
    return found


def upload(server: ServerProcess, *videos: Path) -> dict[str, Any]:
    """Upload videos as one task; its status, once it is completed."""
    code, answer = curl(server.url, videos)
    assert code == 200, answer
    return finish(server, answer["task_id"], seconds=120)
