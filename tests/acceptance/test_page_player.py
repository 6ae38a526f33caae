"""Playing on the upload page: a video dropped there can be watched there, as soon as there is something to watch."""

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartServer
from tests.harness.chromium import look
from tests.harness.gate import Gate
from tests.harness.node import Event
from tests.harness.server_process import ServerProcess
from tests.harness.upload_page import browser, check_quiet, row, uploads, use
from tests.samples import make

pytestmark = [pytest.mark.acceptance, pytest.mark.turns(3)]  # a browser and its troubles


def status_file(server: ServerProcess, name: str) -> dict[str, Any]:
    """The only file of the task of that upload, as the status tells it."""
    (file,) = server.status(uploads(server)[name])["files"]
    assert isinstance(file, dict)
    return file


def asked_for(events: list[Event], ending: str) -> list[Event]:
    """Requests for a result of that name."""
    return [event for event in events if event["event"] == "request" and event["url"].endswith(ending)]


def test_a_dropped_video_is_played(start_server: StartServer, tmp_path: Path) -> None:
    """A video that no browser plays is dropped, becomes playable and plays; its link is copied; nothing comes sooner
    than it is wanted."""
    server = start_server(transcode="mp4", storyboard="on")
    video = make(tmp_path, "假期 one.avi", size="320x240", seconds=3)
    events = use(
        tmp_path,
        server.url,
        ["drop", str(video)],
        ["until", "done"],
        ["visible", ".row .play img"],
        ["look", "done"],
        ["click", ".row .play"],
        ["played", 1],
        ["look", "playing"],
        ["click", ".row .main"],
        ["text", "Link copied"],
        ["clipboard"],
        ["hover", ".row .play"],
        ["visible", ".row .look"],
        ["click", ".row .play"],
        ["look", "closed"],
    )
    file = status_file(server, video.name)
    done, playing, closed = (row(events, label) for label in ("done", "playing", "closed"))
    assert done["line"] == "0:03 · 320 × 240 · 25 fps · MPEG-4 · MP3"
    assert done["buttons"] == [f"Play: {video.name}", f"Copy link: {video.name}", f"Remove from list: {video.name}"]
    assert done["player"] is None
    assert playing["player"]["url"] == file["mp4_url"]
    assert playing["player"]["poster"] == file["poster_url"]
    assert playing["player"]["time"] >= 1
    assert playing["buttons"][0] == f"Close player: {video.name}"
    assert closed["player"] is None
    assert [event["text"] for event in events if event["event"] == "clipboard"] == [file["mp4_url"]]

    pressed = events.index(look(events, "done"))
    for name in ("video.mp4", "storyboard.vtt", "storyboard.jpg"):
        assert asked_for(events[pressed:], name), f"nobody asked for {name}"
        assert not asked_for(events[:pressed], name), f"{name} was loaded before anybody wanted it"


def test_a_video_plays_while_its_hls_is_made(start_server: StartServer, gate: Gate, tmp_path: Path) -> None:
    """With the MP4 in place a video plays, by keyboard, while its HLS is still made, and is not interrupted by it."""
    hold_hls(gate)
    server = start_server(transcode="both", ffmpeg=gate.path)
    video = make(tmp_path, "clip.mp4", seconds=8, size="160x120", extra=("-preset", "ultrafast"))
    with browser(
        tmp_path,
        server.url,
        ["choose", str(video)],
        ["text", "正在生成流媒体"],
        ["visible", ".row .play"],
        ["press", ".row .play", "Enter"],
        ["played", 1],
        ["look", "before"],
        ["until", "done"],
        ["look", "after"],
        locale="zh-CN",
    ) as client:
        client.wait_for("look")
        file = status_file(server, video.name)
        gate.open()
        events = client.finish(seconds=150)
    check_quiet(events, server.url)
    assert file["playable"]
    assert file["hls_url"] is None
    before, after = row(events, "before"), row(events, "after")
    assert before["state"] == "watching"
    assert before["buttons"] == [f"{word}：{video.name}" for word in ("关闭播放器", "复制链接", "取消")]
    assert after["player"]["url"] == before["player"]["url"] == file["mp4_url"]
    assert after["player"]["time"] > before["player"]["time"] >= 1


def hold_hls(gate: Gate) -> None:
    """Let the gate hold the making of HLS only."""
    program = gate.path.read_text()
    held = program.replace("while os.path", 'while "hls" in sys.argv and os.path')
    assert held != program
    gate.path.write_text(held)


def test_hls_is_played_where_the_browser_supports_it(start_server: StartServer, tmp_path: Path) -> None:
    """Without an MP4 a browser that plays HLS by itself, as this Chromium does, gets the playlist."""
    server = start_server(transcode="hls", transcode_preset="ultrafast")
    video = make(tmp_path, "clip.mp4", seconds=3)
    events = use(
        tmp_path,
        server.url,
        ["choose", str(video)],
        ["until", "done"],
        ["visible", ".row .play"],
        ["click", ".row .play"],
        ["played", 1],
        ["look", "playing"],
    )
    assert row(events, "playing")["player"]["url"] == status_file(server, video.name)["hls_url"]
    assert asked_for(events, "/hls/index.m3u8")


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
    assert row(events, "mp4")["buttons"] == [f"Cancel: {video.name}"]


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
        ["click", ".row .second"],
        ["until", "cancelled"],
    )
    waiting = row(events, "waiting")
    assert waiting["line"].startswith("Waiting; the next attempt starts soon: ")
    assert waiting["buttons"] == [f"Cancel: {video.name}"]
