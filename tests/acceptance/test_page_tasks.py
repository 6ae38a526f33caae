"""Tasks on the upload page: which step runs, why one waits, and the link to what can be played."""

from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.harness.gate import Gate
from tests.harness.upload_page import browser, row, uploads, use
from tests.samples import make

pytestmark = [pytest.mark.acceptance, pytest.mark.turns(3)]  # a browser and its troubles


def test_the_page_names_the_running_step(start_server: StartServer, gate: Gate, tmp_path: Path) -> None:
    """While a video is made, the page says which step runs."""
    server = start_server(transcode="mp4", ffmpeg=gate.path)
    video = make(tmp_path, "clip.mp4")
    with browser(
        tmp_path,
        server.url,
        ["choose", str(video)],
        ["text", "making the MP4"],
        ["look", "mp4"],
        ["until", "done"],
    ) as client:
        client.wait_for("look")
        gate.open()
        events = client.finish(seconds=150)
    assert row(events, "mp4")["line"].startswith("Processing, ")
    assert row(events, "mp4")["buttons"] == [f"Stop processing: {video.name}"]


def test_the_page_says_why_a_task_waits(start_server: StartServer, tmp_path: Path) -> None:
    """A task that was set aside says why, in the server's words, and can be cancelled."""
    server = start_server(clamd="tcp://127.0.0.1:9")
    video = make(tmp_path, "clip.mp4")
    events = use(
        tmp_path,
        server.url,
        ["choose", str(video)],
        ["visible", '.row[data-tone="warn"]'],
        ["look", "waiting"],
        ["click", ".row .action-cancel"],
        ["until", "cancelled"],
    )
    waiting = row(events, "waiting")
    assert waiting["line"].startswith("Waiting; the next attempt starts soon: ")
    assert waiting["buttons"] == [f"Stop processing: {video.name}"]


def test_the_link_of_a_playable_video_is_copied(start_server: StartServer, tmp_path: Path) -> None:
    """A dropped video that no browser plays becomes playable, and its link is copied; nothing is loaded before."""
    server = start_server(transcode="mp4", storyboard="on")
    video = make(tmp_path, "假期 one.avi", size="320x240", seconds=3)
    events = use(
        tmp_path,
        server.url,
        ["drop", str(video)],
        ["until", "done"],
        ["visible", ".row img"],
        ["look", "done"],
        ["click", ".row .action-link"],
        ["text", "The link is copied."],
        ["clipboard"],
    )
    task = uploads(server)[video.name]
    done = row(events, "done")
    assert done["line"] == "0:03 · 320 × 240 · 25 fps · MPEG-4 · MP3"
    assert done["buttons"] == [f"Copy link: {video.name}", f"Delete: {video.name}"]
    assert [event["text"] for event in events if event["event"] == "clipboard"] == [f"{server.url}/v/{task}"]
    for name in ("video.mp4", "storyboard.vtt", "storyboard.jpg"):
        asked = [event for event in events if event["event"] == "request" and event["url"].endswith(name)]
        assert not asked, f"{name} was loaded before anybody wanted it"
