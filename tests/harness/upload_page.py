"""The upload page in Chromium, used as a person uses it."""

from pathlib import Path
from typing import Any

from tests.harness.chromium import drive, look
from tests.harness.node import Event, NodeClient
from tests.harness.rows import query
from tests.harness.server_process import ServerProcess


def use(
    folder: Path, url: str, *steps: list[object], locale: str = "en-GB", troubled: bool = False, keeps: bool = True
) -> list[Event]:
    """Open the page and take `steps` there; all events, checked. Without `keeps` the browser has no room for files."""
    with browser(folder, url, *steps, locale=locale, keeps=keeps) as client:
        events = client.finish(seconds=150)
    check_quiet(events, url, troubled=troubled)
    return events


def browser(
    folder: Path, url: str, *steps: list[object], locale: str = "en-GB", keeps: bool = True, plain: bool = False
) -> NodeClient:
    """Chromium on the page, taking `steps`; with `plain` it runs no script of the page."""
    return drive("page.mjs", folder, url=f"{url}/", locale=locale, steps=steps, keeps=keeps, plain=plain)


def check_quiet(events: list[Event], url: str, *, troubled: bool = False) -> None:
    """No error, nothing against the policy, no other origin.

    Only with `troubled` may requests fail: the browser itself writes those to the console.
    """
    assert not [event for event in events if event["event"] == "pageerror"]
    said = [event["text"] for event in events if event["event"] == "console"]
    assert [text for text in said if not (troubled and text.startswith("Failed to load resource"))] == []
    elsewhere = [
        event["url"] for event in events if "url" in event and not event["url"].startswith((url, "data:", "blob:"))
    ]
    assert elsewhere == [], "the page asked another origin"


def row(events: list[Event], label: str) -> dict[str, Any]:
    """The only row at that step."""
    (found,) = look(events, label)["rows"]
    assert isinstance(found, dict)
    return found


def uploads(server: ServerProcess) -> dict[str, str]:
    """Ids of all uploads, by name."""
    return {found["filename"]: found["id"] for found in query(server.database_url, "SELECT id, filename FROM uploads")}
