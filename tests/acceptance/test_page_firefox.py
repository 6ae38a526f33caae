"""The page in Firefox, from the sign-in to the deletion of a video: what every visitor does, in the other engine."""

import json
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.harness import firefox
from tests.harness.chromium import look, requests
from tests.harness.node import Event
from tests.harness.rows import sha256
from tests.harness.server_process import ServerProcess
from tests.harness.upload_page import check_quiet, uploads
from tests.harness.videos_page import Step, player
from tests.harness.waiting import until
from tests.samples import make

pytestmark = pytest.mark.acceptance


NO_STREAM: Step = ["fail", "**/hls-*.js", 9]
"""The script that plays streams does not come."""


def test_a_video_from_its_upload_to_its_deletion(start_server: StartServer, tmp_path: Path) -> None:
    """Dropped and chosen by keyboard, videos arrive byte for byte by tus; one of them is renamed, plays with sound as a
    stream and as an MP4, is opened by a share link, and is deleted; the console has no error."""
    server = start_server(auth="on", transcode="both", storyboard="on", transcode_preset="ultrafast")
    scopes = [part for scope in ("upload", "read", "manage") for part in ("--scope", scope)]
    key = json.loads(server.run("keys", "create", "--owner", "ann", *scopes, "--json").stdout)["key"]
    sign_in: list[Step] = [
        ["press", "#credential", "Tab"],
        ["fill", "#credential", key],
        ["press", "#credential", "Enter"],
    ]
    dropped, chosen = make(tmp_path, "假期 one.mp4", seconds=3), make(tmp_path, "two.mov", size="240x320", audio=False)
    sent = use(
        "page.mjs",
        server,
        tmp_path,
        *sign_in,
        ["visible", "#zone"],
        ["choose", str(chosen)],
        ["until", "done"],
        ["drop", str(dropped)],
        ["until", "done", 2],
        ["visible", ".row:nth-child(1) img"],
        ["visible", ".row:nth-child(2) img"],
        ["look", "end"],
    )
    assert len([event for event in requests(sent, "POST") if event["url"].endswith("/files")]) == 2
    assert {event["offset"] for event in requests(sent, "PATCH")} == {0}
    ids = uploads(server)
    for video in (dropped, chosen):
        assert sha256(server.stored(ids[video.name])) == sha256(video)
    one, two = look(sent, "end")["rows"]  # the newest is on top
    assert (one["line"], two["line"]) == (
        "0:03 · 320 × 240 · 25 fps · H.264 · AAC",
        "0:02 · 240 × 320 · 25 fps · H.264 · no sound",
    )
    assert one["poster"]["width"] > one["poster"]["height"] > 0
    events = use(
        "videos.mjs",
        server,
        tmp_path,
        *sign_in,
        ["visible", ".video[data-state=completed] img"],
        ["press", ".video .menu button", "Enter"],
        ["click", ".menu-item >> text=Rename"],
        ["fill", ".title-field", "At the sea"],
        ["press", ".title-field", "Enter"],
        ["press", '.video-name:text("At the sea")', "Enter"],
        ["press", ".player-middle", "Enter"],
        ["played", 0.5],
        ["look", "stream"],
        ["key", "k"],
        ["is", "document.querySelector('.player').dataset.phase === 'paused'"],
        ["key", "l"],
        ["is", "document.querySelector('.player video').currentTime > 2"],
        ["point", ".player-seek", 0.5],
        ["visible", ".player-tip .still"],
        ["click", "#share"],
        ["click", "#share-make"],
        ["visible", "#share-link"],
        ["keep", "link", "document.querySelector('#share-link').value"],
        ["key", "Escape"],
        ["gone", "dialog"],
        ["keep", "page", "location.href"],
        NO_STREAM,
        ["goto", "{link}"],
        ["click", ".player-middle"],
        ["played", 0.5],
        ["look", "shared"],
        ["goto", "{page}"],
        ["click", "#more"],
        ["click", "#delete"],
        ["text", "Deleted: At the sea"],
        ["shown", 1],
        ["close"],
        path="videos",
    )
    stream, shared = player(events, "stream"), player(events, "shared")
    assert stream["isStream"]
    assert stream["sound"]
    assert stream["width"] / stream["height"] == pytest.approx(4 / 3, rel=0.01)
    assert not shared["isStream"]
    assert shared["source"].endswith("/video.mp4")
    assert shared["sound"]
    assert look(events, "shared")["title"].startswith("At the sea")
    until(lambda: server.http.get(shared["source"]).status_code in (404, 410), what="the media of the video is gone")


def use(program: str, server: ServerProcess, folder: Path, *steps: Step, path: str = "") -> list[Event]:
    """Take `steps` in Firefox; all events, with nothing in the console."""
    options = {"url": f"{server.url}/", "path": path, "locale": "en-GB", "steps": steps}
    with firefox.drive(program, folder, **options) as client:
        events = client.finish(seconds=150)
    check_quiet(events, server.url)
    return events
