"""The page of one video, its player, and the pages of shared videos, in Chromium."""

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartServer
from tests.harness.chromium import look
from tests.harness.node import Event
from tests.harness.rows import execute
from tests.harness.server_process import ServerProcess
from tests.harness.videos_page import Step, browser, check_accessible, player, upload, use
from tests.harness.waiting import until
from tests.samples import make, run

pytestmark = [pytest.mark.acceptance, pytest.mark.turns(2)]

PLAYING: list[Step] = [["click", ".player-middle"], ["played", 0.5]]
NO_STREAM: Step = ["fail", "**/hls-*.js", 9]
"""The script that plays streams does not come."""
POSTER_IS_RED = """(async () => {
  const image = new Image()
  image.src = document.querySelector('.player video').poster
  await image.decode()
  const canvas = document.createElement('canvas').getContext('2d')
  canvas.drawImage(image, 0, 0, 1, 1)
  const [red, green, blue] = canvas.getImageData(0, 0, 1, 1).data
  return red > 200 && green < 60 && blue < 60
})()"""


@pytest.fixture
def making(start_server: StartServer) -> ServerProcess:
    """A server that makes everything, lets others embed, and shows originals."""
    return start_server(
        transcode="both", storyboard="on", transcode_preset="ultrafast", downloads="on", embed_ancestors="*"
    )


def test_a_video_is_played_described_and_deleted(making: ServerProcess, tmp_path: Path) -> None:
    """The stream plays with sound and obeys the keyboard; the seek bar shows pictures; speed and quality change; the
    thumbnail is an own picture, however slow the network is, or a frame; the steps tell their times; without the stream
    the MP4 plays; and what is deleted is undone."""
    task = upload(making, make(tmp_path, "假期 one.mp4", seconds=8, size="640x480"))
    file = task["files"][0]
    own = tmp_path / "own.png"
    run("-f", "lavfi", "-i", "color=red:size=640x480", "-frames:v", "1", str(own))
    page = f"v/{task['task_id']}"
    events = use(
        tmp_path,
        making.url,
        page,
        ["visible", ".player-middle"],
        ["look", "new"],
        *PLAYING,
        ["look", "stream"],
        ["key", "k"],
        ["is", "document.querySelector('.player').dataset.phase === 'paused'"],
        ["key", "End"],  # not for the player, which has no focus
        ["key", "l"],
        ["is", "document.querySelector('.player video').currentTime > 7"],
        ["key", "ArrowLeft"],
        ["is", "document.querySelector('.player video').currentTime < 4"],
        ["key", "m"],
        ["is", "document.querySelector('.player video').muted"],
        ["key", " "],
        ["is", "!document.querySelector('.player video').paused"],
        ["point", ".player-seek", 0.5],
        ["visible", ".player-tip .still"],
        ["click", ".player-speed"],
        ["click", '[role="menuitemradio"] >> text=/^2×$/'],
        ["is", "document.querySelector('.player video').playbackRate === 2"],
        ["click", ".player-quality"],
        ["click", '[role="menuitemradio"] >> text=240p'],
        ["look", "changed"],
        ["click", "#steps summary"],
        ["click", "#facts summary"],
        ["look", "facts"],
        ["axe", "video"],
        ["holdUp", "**/poster?*", 60],
        ["click", "#more"],
        ["click", "#choose-poster"],
        ["files", "#own-picture-file", str(own)],
        ["gone", "dialog"],
        ["is", "document.querySelector('.player video').poster.includes('v=1')"],
        ["is", POSTER_IS_RED],
        ["click", "#more"],
        ["click", "#choose-poster"],
        ["visible", ".stills li:nth-child(6)"],
        ["axe", "thumbnails"],
        ["click", ".stills li:nth-child(6) button"],
        ["gone", "dialog"],
        ["is", "document.querySelector('.player video').poster.includes('v=2')"],
        ["click", "#more"],
        ["click", "#delete"],
        ["text", "No videos yet"],
        ["click", ".toast .button"],
        ["visible", ".player"],
        ["look", "kept"],
        NO_STREAM,
        ["reload"],
        ["visible", ".player-middle"],
        *PLAYING,
        ["look", "plain"],
        troubled=True,
    )
    check_accessible(events)
    stream, changed, plain = (player(events, label) for label in ("stream", "changed", "plain"))
    assert look(events, "new")["title"] == "假期 one.mp4 · Videodock"
    assert player(events, "new")["source"] == "", "nothing is loaded before it is wanted"
    assert stream["isStream"]
    assert stream["sound"]
    assert stream["width"] / stream["height"] == pytest.approx(4 / 3, rel=0.01)
    assert (changed["rate"], changed["level"]) == (2, "240p")
    facts = look(events, "facts")["text"]
    for words in ("640 × 480 · 25 fps", "H.264", "AAC", task["task_id"], "Not needed"):
        assert words in facts, words
    assert all(step["seconds"] is not None for step in file["steps"] if step["status"] == "completed")
    assert look(events, "kept")["path"] == f"/{page}"
    assert making.status(task["task_id"])["files"][0]["poster"] == "frame"
    assert plain["source"] == file["mp4_url"]
    assert plain["sound"]


def test_a_link_shows_a_video_until_it_ends(making: ServerProcess, tmp_path: Path) -> None:
    """A link that the page makes shows both players, of which one plays at a time, without navigation; a portrait
    video has no bars; another site may frame it; a revoked link and one that has ended say so."""
    videos = (make(tmp_path, "one.mp4", seconds=4), make(tmp_path, "tall.mp4", seconds=4, size="240x320"))
    task = upload(making, *videos)
    second = ".player >> nth=1"
    events = use_shared(
        making,
        tmp_path,
        f"v/{task['task_id']}",
        ["click", "#share"],
        ["visible", "#share-make"],
        ["click", "#share-make"],
        ["visible", "#share-link"],
        ["axe", "share"],
        ["keep", "link", "document.querySelector('#share-link').value"],
        ["keep", "embed", "document.querySelector('#share-embed').value.match(/src=\"([^\"]+)/)[1]"],
        ["goto", "{link}"],
        ["visible", second],
        ["look", "shared"],
        ["axe", "shared"],
        *PLAYING,
        ["click", f"{second} >> .player-middle"],
        ["is", "document.querySelectorAll('.player')[1].querySelector('video').currentTime > 0.3"],
        ["is", "document.querySelectorAll('.player')[0].querySelector('video').paused"],
        ["look", "second"],
        ["frame", "{embed}"],
        ["frames", "{embed}"],
        ["goto", f"v/{task['task_id']}"],
        ["click", "#share"],
        ["click", ".share-revoke"],
        ["click", ".share-revoke-sure"],
        ["text", "The link is revoked."],
        ["gone", ".share-revoke"],
        ["goto", "{link}"],
        ["text", "This link was revoked"],
        ["axe", "revoked"],
        ["goto", "s/AAAAAAAAAAAAAAAAAAAAAAAA"],
        ["text", "There is no video at this link"],
    )
    check_accessible(events)
    shared = look(events, "shared")
    assert "Upload" not in shared["text"]
    assert [one["paused"] for one in look(events, "second")["players"]] == [True, False]
    tall = look(events, "second")["players"][1]
    assert tall["width"] / tall["height"] == pytest.approx(tall["shown"], rel=0.02)
    (framed,) = [event for event in events if event["event"] == "framed"]
    assert framed["isPlayer"], framed
    (both,) = [event for event in events if event["event"] == "frames"]
    assert both["paused"] == [True, False], "one frame plays at a time"

    answer = making.http.post(f"{making.url}/api/task/{task['task_id']}/shares", json={"expires_in": 3600}).json()
    execute(
        making.database_url,
        "UPDATE shares SET expires_at = '2026-01-01 00:00:00.000000' WHERE id = :id",
        id=answer["share"]["id"],
    )
    link = f"{making.url}/api/shared/{answer['token']}"
    until(lambda: making.http.get(link).status_code == 410, what="the share has ended in every process")
    ended = use_shared(making, tmp_path, f"s/{answer['token']}", ["text", "This link has ended"], ["look", "ended"])
    assert look(ended, "ended")["players"] == []


def test_no_other_site_frames_a_player_unless_it_is_allowed(server: ServerProcess, tmp_path: Path) -> None:
    """Without the setting `embed_ancestors`, a browser refuses the frame."""
    events = use_shared(server, tmp_path, "videos", ["frame", "embed/AAAAAAAAAAAAAAAAAAAAAAAA"])
    (framed,) = [event for event in events if event["event"] == "framed"]
    assert framed["url"].startswith("chrome-error:"), framed


def use_shared(server: ServerProcess, folder: Path, path: str, *steps: Step) -> list[Event]:
    """As `use`; but there are refusals, and another site."""
    with browser(folder, server.url, path, *steps) as client:
        events = client.finish(seconds=150)
    assert not [event for event in events if event["event"] == "pageerror"]
    said: list[dict[str, Any]] = [event for event in events if event["event"] == "console"]
    assert [one["text"] for one in said if "policy violated" in one["text"]] == []
    return events
