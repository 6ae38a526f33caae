"""The page without a mouse: each thing that a visitor does is reached by Tab, and the focus is never lost."""

from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.harness.chromium import look
from tests.harness.videos_page import Step, player, upload, use
from tests.samples import make

pytestmark = pytest.mark.acceptance


def test_a_video_is_found_renamed_watched_shared_and_deleted_by_keyboard(
    start_server: StartServer, tmp_path: Path
) -> None:
    """From the upload view to the videos, to one of them and back; dialogs and menus give the focus back."""
    server = start_server(transcode="mp4", transcode_preset="ultrafast")
    task = upload(server, make(tmp_path, "first.mp4", seconds=3))
    events = use(
        tmp_path,
        server.url,
        "",
        ["visible", ".row img"],
        ["key", "Tab"],
        ["is", "document.activeElement.matches('.skip')"],
        ["key", "Enter"],
        focus("main"),
        ["walk", "#choose"],
        ["walk", ".nav a[href$=videos]", "Shift+Tab"],
        ["key", "Enter"],
        ["visible", ".video[data-state=completed] img"],
        ["walk", ".video .menu button"],
        *menu("Rename"),
        focus(".title-field"),
        ["key", "ControlOrMeta+a"],
        ["type", "At the sea"],
        ["key", "Enter"],
        ["visible", '.video-name:text("At the sea")'],
        ["look", "renamed"],
        ["walk", ".video-name"],
        ["key", "Enter"],
        ["walk", ".player-middle"],
        ["key", "Enter"],
        ["played", 0.5],
        ["look", "playing"],
        ["key", "k"],
        ["is", "document.querySelector('.player').dataset.phase === 'paused'"],
        ["walk", "#share"],
        ["key", "Enter"],
        ["walk", "#share-make"],
        ["key", "Enter"],
        ["visible", "#share-link"],
        ["key", "Escape"],
        ["gone", "dialog"],
        focus("#share"),
        ["walk", "#more"],
        *menu("Delete"),
        ["text", "Deleted: At the sea"],
        ["walk", ".toast .button"],
        ["key", "Enter"],
        ["visible", ".player"],
        ["look", "kept"],
    )
    assert not player(events, "playing")["paused"]
    assert look(events, "kept")["path"] == f"/v/{task['task_id']}"
    assert server.status(task["task_id"])["removed"] is False


def focus(selector: str) -> Step:
    """The focus is there without a further key."""
    return ["is", f"document.activeElement.matches('{selector}')"]


def menu(words: str) -> list[Step]:
    """Open the menu that has the focus, and choose something by arrows."""
    return [
        ["key", "Enter"],
        ["visible", "[role=menuitem]"],
        ["walk", f'.menu-item:has-text("{words}")', "ArrowDown"],
        ["key", "Enter"],
    ]
