"""The page of all videos in Chromium: ten thousand of them, and what is done with some."""

from pathlib import Path

import pytest

from server.database.models import DEFAULT_OWNER
from server.database.session import Database
from tests.conftest import StartServer
from tests.harness.chromium import look
from tests.harness.filled_lists import fill
from tests.harness.rows import execute
from tests.harness.server_process import ServerProcess
from tests.harness.upload_page import check_quiet
from tests.harness.videos_page import Step, browser, check_accessible, names, upload, use
from tests.harness.waiting import until
from tests.samples import make

pytestmark = [pytest.mark.acceptance, pytest.mark.turns(2)]

MANY = 10_000
FAR = 900
UPLOADS: Step = ["click", ".nav a >> nth=0"]
VIDEOS: Step = ["click", ".nav a >> nth=1"]
FAILED = ["clip-9963.mp4", "clip-9922.mp4"]  # with the name "clip-99"; each 41st has failed
MOST_DRAWN = 120
OLDEST = r"/^clip-(\d|1[01])\.mp4$/"  # these twelve have one time


def matching(word: str) -> list[str]:
    """The filled videos that have a word in their name, the newest first; each 41st is removed (`filled_lists`)."""
    return [f"clip-{i}.mp4" for i in reversed(range(MANY)) if word in f"clip-{i}.mp4" and i % 41 != 2]


def test_ten_thousand_videos_are_scrolled_searched_and_filtered(server: ServerProcess, tmp_path: Path) -> None:
    """However far somebody scrolls, few rows are drawn; the server finds by name, status and order; the address keeps
    what is wanted; and a range is selected with Shift."""
    server.stop()  # it would process the tasks that seem to wait
    database = Database(server.database_url, 2)
    try:
        fill(database, MANY)
    finally:
        database.close()
    execute(server.database_url, "UPDATE tasks SET owner = :owner", owner=DEFAULT_OWNER)
    unended = "status IN ('uploaded', 'processing')"
    execute(server.database_url, f"UPDATE tasks SET status = 'completed', finished_at = created_at WHERE {unended}")
    server.start()
    events = use(
        tmp_path,
        server.url,
        "videos",
        ["visible", ".video"],
        ["look", "first"],
        ["scrollTo", FAR],
        ["look", "far"],
        ["fill", "#search", "clip-991"],
        ["shown", len(matching("clip-991"))],
        ["look", "found"],
        ["reload"],
        ["shown", len(matching("clip-991"))],
        ["look", "again"],
        ["fill", "#search", "clip-99"],
        ["select", "#status", "failed"],
        ["shown", len(FAILED)],
        ["look", "failed"],
        ["fill", "#search", "no such name"],
        ["text", "No video matches"],
        ["axe", "none"],
        ["click", ".empty .button"],
        ["select", "#order", "oldest"],
        ["is", f"{OLDEST}.test(document.querySelector('.video-name')?.textContent)"],
        ["look", "oldest"],
        ["press", ".video:nth-child(2) .video-check", " "],
        ["shiftClick", ".video:nth-child(5) .video-check"],
        ["text", "4 selected"],
        ["look", "selected"],
        ["key", "Escape"],
        ["gone", ".chosen"],
        ["size", 390, 800],
        ["is", "document.querySelectorAll('.video').length > 0"],
        ["look", "narrow"],
    )
    check_accessible(events)
    newest = [name for name in matching("clip") if name]
    assert names(events, "first")[:20] != []
    assert set(names(events, "first")) <= set(newest[:200])
    for label in ("first", "far", "oldest"):
        assert 0 < look(events, label)["drawn"] <= MOST_DRAWN, label
    assert max(video["place"] for video in look(events, "far")["videos"]) >= FAR
    for label in ("found", "again"):
        assert sorted(names(events, label)) == sorted(matching("clip-991"))
    assert "q=clip-991" in look(events, "again")["path"]
    assert names(events, "failed") == FAILED
    assert {video["state"] for video in look(events, "failed")["videos"]} == {"error"}
    assert [video["isSelected"] for video in look(events, "selected")["videos"][:6]] == [False, *[True] * 4, False]
    assert look(events, "narrow")["wide"] <= 0


def test_videos_are_renamed_previewed_and_deleted(start_server: StartServer, tmp_path: Path) -> None:
    """A title is changed in place; a storyboard follows the pointer; the list is remembered; a video from elsewhere
    appears by itself; what is deleted on one view is on none; undo keeps a video on all of them, and without it the URL
    of its media is gone, also when the page is closed."""
    server = start_server(transcode="mp4", storyboard="on", transcode_preset="ultrafast")
    task = upload(server, make(tmp_path, "first.mp4", seconds=3))
    steps: list[list[object]] = [
        ["visible", ".video[data-state=completed] img"],
        ["hover", ".video-picture"],
        ["point", ".video-picture", 0.7],
        ["visible", ".video-scrub .still"],
        ["click", ".video .menu button"],
        ["click", ".menu-item >> text=Rename"],
        ["fill", ".title-field", "假期 at the sea"],
        ["press", ".title-field", "Enter"],
        ["visible", '.video-name:text("假期 at the sea")'],
        ["click", ".tools-look button:nth-child(2)"],
        ["visible", ".videos.is-list"],
        ["reload"],
        ["visible", ".videos.is-list .video"],
        ["look", "one"],
        ["shown", 2],
        ["visible", ".video:nth-child(1)[data-state=completed]"],
        ["look", "two"],
        ["axe", "list"],
        ["click", ".tools-look button:nth-child(1)"],
        ["visible", ".videos.is-grid"],
        ["axe", "grid"],
        ["allowClipboard"],
        ["click", ".video:nth-child(1) .video-check"],
        ["key", "Control+a"],
        ["text", "2 selected"],
        ["click", ".chosen-copy-links"],
        ["text", "2 links are copied."],
        ["clipboard"],
        ["axe", "selected"],
        ["key", "Delete"],
        ["text", "2 videos deleted"],
        ["look", "deleted"],
        ["click", ".toast .button"],
        ["shown", 2],
        ["ask", "GET", "api/task/status/" + task["task_id"]],
        UPLOADS,
        ["visible", ".row >> nth=1"],
        VIDEOS,
        ["shown", 2],
        ["click", ".video:nth-child(2) .menu button"],
        ["click", ".menu-item.is-danger"],
        ["shown", 1],
        ["hover", ".toast"],  # it stays while somebody points at it
        ["back"],
        ["visible", ".row"],
        ["look", "elsewhere"],
        ["click", ".toast .button"],
        ["visible", ".row >> nth=1"],
        VIDEOS,
        ["shown", 2],
        UPLOADS,
        ["click", ".row >> nth=1 >> .action-delete"],
        ["gone", ".row >> nth=1"],
        ["hover", ".toast"],
        ["back"],
        ["shown", 1],
        ["click", ".toast .button"],
        ["shown", 2],
        ["click", ".video:nth-child(2) .menu button"],
        ["click", ".menu-item.is-danger"],
        ["text", "Deleted: 假期 at the sea"],
        ["shown", 1],
        ["close"],
    ]
    with browser(tmp_path, server.url, "videos", *steps) as client:
        client.wait_for("look", where=lambda event: event["label"] == "one")
        other = upload(server, make(tmp_path, "second.mp4"))
        events = client.finish(seconds=150)
    check_quiet(events, server.url)
    check_accessible(events)
    assert names(events, "one") == ["假期 at the sea"]
    assert names(events, "two") == ["second.mp4", "假期 at the sea"]
    assert names(events, "deleted") == []
    assert "second.mp4" in look(events, "elsewhere")["text"]
    rows = look(events, "elsewhere")["text"].partition("Deleted: ")[0]
    assert "first.mp4" not in rows
    assert "假期" not in rows
    (copied,) = [event["text"] for event in events if event["event"] == "clipboard"]
    assert copied == "\n".join(f"{server.url}/v/{one['task_id']}" for one in (other, task))
    (asked,) = [event for event in events if event["event"] == "asked"]
    assert asked["status"] == 200
    media = task["files"][0]["mp4_url"]
    until(lambda: server.http.get(media).status_code in (404, 410), what="the media of the deleted video is gone")
    assert server.http.get(other["files"][0]["mp4_url"]).status_code == 200
    assert server.status(other["task_id"])["removed"] is False
