"""The player beyond a plain stream: what no browser plays, a stream that is still made, and one without hls.js."""

from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.harness.chromium import look
from tests.harness.gate import Gate
from tests.harness.multipart import curl
from tests.harness.node import Event
from tests.harness.tasks import finish
from tests.harness.upload_page import check_quiet
from tests.harness.videos_page import browser, player, upload, use
from tests.harness.waiting import until
from tests.samples import make

pytestmark = [pytest.mark.acceptance, pytest.mark.turns(3)]  # a browser and its troubles


def asked_for(events: list[Event], ending: str) -> list[Event]:
    """Requests for a result of that name."""
    return [event for event in events if event["event"] == "request" and event["url"].endswith(ending)]


def test_a_video_that_no_browser_plays_is_played(start_server: StartServer, tmp_path: Path) -> None:
    """An AVI becomes an MP4 and plays, with its poster; neither comes sooner than it is wanted."""
    server = start_server(transcode="mp4", storyboard="on")
    task = upload(server, make(tmp_path, "假期 one.avi", size="320x240", seconds=3))
    file = task["files"][0]
    events = use(
        tmp_path,
        server.url,
        f"v/{task['task_id']}",
        ["visible", ".player-middle"],
        ["look", "new"],
        ["click", ".player-middle"],
        ["played", 1],
        ["look", "playing"],
    )
    playing = player(events, "playing")
    assert playing["source"] == file["mp4_url"]
    assert playing["sound"]
    assert playing["time"] >= 1
    pressed = events.index(look(events, "new"))
    assert asked_for(events[pressed:], "video.mp4")
    assert not asked_for(events[:pressed], "video.mp4"), "the video was loaded before anybody wanted it"


def test_a_video_plays_while_its_stream_is_made(start_server: StartServer, gate: Gate, tmp_path: Path) -> None:
    """With the MP4 in place a video plays, by keyboard, while its HLS is still made, and is not interrupted by it."""
    hold_hls(gate)
    server = start_server(transcode="both", ffmpeg=gate.path)
    video = make(tmp_path, "clip.mp4", seconds=8, size="160x120", extra=("-preset", "ultrafast"))
    code, answer = curl(server.url, [video])
    assert code == 200, answer
    task_id = answer["task_id"]
    until(lambda: server.status(task_id)["files"][0]["playable"], what="the MP4 is in place")
    (file,) = server.status(task_id)["files"]
    with browser(
        tmp_path,
        server.url,
        f"v/{task_id}",
        ["text", "正在生成流媒体"],
        ["visible", ".player-middle"],
        ["press", ".player-middle", "Enter"],
        ["played", 1],
        ["look", "before"],
        # The share dialog and such come and go; that the stream is there is told by the steps.
        ["is", "!document.body.innerText.includes('正在生成流媒体')"],
        ["look", "after"],
        locale="zh-CN",
    ) as client:
        client.wait_for("look")
        gate.open()
        events = client.finish(seconds=150)
    check_quiet(events, server.url)
    assert file["hls_url"] is None
    assert finish(server, task_id, seconds=120)["files"][0]["hls_url"]
    before, after = player(events, "before"), player(events, "after")
    assert after["source"] == before["source"] == file["mp4_url"]
    assert after["time"] > before["time"] >= 1


def hold_hls(gate: Gate) -> None:
    """Let the gate hold the making of HLS only."""
    program = gate.path.read_text()
    held = program.replace("while os.path", 'while "hls" in sys.argv and os.path')
    assert held != program
    gate.path.write_text(held)


def test_the_browser_plays_a_stream_where_the_script_is_missing(start_server: StartServer, tmp_path: Path) -> None:
    """Without an MP4 and without hls.js, a browser that plays HLS by itself, as this Chromium, gets the playlist."""
    server = start_server(transcode="hls", transcode_preset="ultrafast")
    task = upload(server, make(tmp_path, "clip.mp4", seconds=3))
    events = use(
        tmp_path,
        server.url,
        f"v/{task['task_id']}",
        ["fail", "**/hls-*.js", 9],
        ["visible", ".player-middle"],
        ["click", ".player-middle"],
        ["played", 1],
        ["look", "playing"],
        troubled=True,
    )
    assert player(events, "playing")["source"] == task["files"][0]["hls_url"]
    assert asked_for(events, "/hls/index.m3u8")
