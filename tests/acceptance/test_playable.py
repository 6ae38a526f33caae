"""From the last byte to a URL that plays: whatever client brought a video, the status tells where it can be watched."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest

from tests.conftest import StartServer
from tests.harness.arrival import check_arrived
from tests.harness.server_process import ServerProcess
from tests.harness.tasks import finish, follow, poster
from tests.harness.waiting import PATIENCE
from tests.samples import make
from tests.tus.client import MOUNT, VERSION, creation, patch_headers, target

pytestmark = [pytest.mark.acceptance, pytest.mark.turns(3)]  # kinds of playable videos

PLAYLIST = "application/vnd.apple.mpegurl"
_URI = re.compile(r'URI="([^"]+)"')


def by_tus(server: ServerProcess, source: Path) -> str:
    """Send a file in two parts; the task's id."""
    data = source.read_bytes()
    made = server.http.post(f"{server.url}{MOUNT}", headers=creation(len(data), source.name))
    assert made.status_code == 201, made.text
    upload = made.headers["location"].rpartition("/")[2]
    half = len(data) // 2
    for offset, part in ((0, data[:half]), (half, data[half:])):
        answer = server.http.patch(f"{server.url}{target(upload)}", headers=patch_headers(offset), content=part)
        assert answer.status_code == 204, answer.text
    check_arrived(server, f"{server.url}{target(upload)}", source)
    return str(answer.headers["upload-task"])


def by_form(server: ServerProcess, source: Path) -> str:
    """Send a file as the document says; the task's id."""
    with source.open("rb") as file:
        answer = server.http.post(f"{server.url}/api/upload/videos", files={"videos": (source.name, file)})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["task_id"])


@pytest.mark.sampled(3)
@pytest.mark.parametrize("send", [by_tus, by_form])
@pytest.mark.parametrize(("name", "rotate"), [("a.mp4", 0), ("a.mov", 90), ("a.avi", 0)])
def test_every_address_of_a_playable_video_answers(
    send: Callable[[ServerProcess, Path], str],
    name: str,
    rotate: int,
    start_server: StartServer,
    tmp_path: Path,
) -> None:
    """By tus or by the documented form, copied or encoded: each address in the status answers with what it says."""
    server = start_server(transcode="both", storyboard="on", transcode_preset="ultrafast")
    source = make(tmp_path, name, rotate=rotate, seconds=2)
    answer = finish(server, send(server, source))
    assert answer["playable"] is True
    assert (answer["step"], answer["eta_seconds"], answer["waiting"]) == ("storyboard", None, None)
    (file,) = answer["files"]
    assert file["playable"] is True
    assert {step["name"]: step["status"] for step in file["steps"]} == {
        "scan": "skipped",
        **dict.fromkeys(("probe", "poster", "mp4", "hls", "storyboard"), "completed"),
    }
    shape = (240, 320) if rotate else (320, 240)
    assert poster(server, file) == shape
    check_mp4(server, file["mp4_url"], shape)
    check_hls(server, file["hls_url"], shape)
    check_storyboard(server, file["storyboard_url"])


def get(server: ServerProcess, url: str, media_type: str) -> httpx.Response:
    """What lies there; it must be of that type."""
    answer = server.http.get(url)
    assert answer.status_code == 200, f"{url}: {answer.text}"
    assert answer.headers["content-type"].partition(";")[0] == media_type, url
    assert answer.content
    return answer


def streams(url: str) -> dict[str, dict[str, Any]]:
    """The streams that FFprobe finds at an address, by their kind."""
    done = subprocess.run(
        ["ffprobe", "-loglevel", "error", "-show_streams", "-of", "json", url],
        capture_output=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    return {stream["codec_type"]: stream for stream in json.loads(done.stdout)["streams"]}


def check_plays(url: str) -> float:
    """Decode all that lies at an address without one error; the seconds of video."""
    done = subprocess.run(
        ["ffmpeg", "-nostdin", "-loglevel", "error", "-xerror", "-progress", "-", "-i", url, "-f", "null", "-"],
        capture_output=True,
        check=False,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    return int(re.findall(rb"out_time_us=(\d+)", done.stdout)[-1]) / 1e6


def check_codecs(found: dict[str, dict[str, Any]], shape: tuple[int, int]) -> None:
    assert found["video"]["codec_name"] == "h264"
    assert found["audio"]["codec_name"] == "aac"
    assert _shown(found["video"]) == shape


def _shown(video: dict[str, Any]) -> tuple[int, int]:
    """Width and height after the turn that the stream may ask for."""
    turns = [int(data["rotation"]) for data in video.get("side_data_list", []) if "rotation" in data]
    width, height = video["width"], video["height"]
    return (height, width) if turns and turns[0] % 180 else (width, height)


def check_mp4(server: ServerProcess, url: str, shape: tuple[int, int]) -> None:
    """A browser's player begins with a range, and finds the index in front."""
    begin = server.http.get(url, headers={"Range": "bytes=0-"})
    assert begin.status_code == 206
    assert begin.headers["content-type"] == "video/mp4"
    assert begin.content.index(b"moov") < begin.content.index(b"mdat")
    check_codecs(streams(url), shape)
    assert check_plays(url) == pytest.approx(2, abs=0.2)


def check_hls(server: ServerProcess, url: str, shape: tuple[int, int]) -> None:
    """Every playlist and all that they name is there, in its type, and plays to the end."""
    names = references(get(server, url, PLAYLIST).text)
    assert names
    for name in names:
        playlist = urljoin(url, name)
        for part in references(get(server, playlist, PLAYLIST).text):
            get(server, urljoin(playlist, part), "video/iso.segment" if part.endswith(".m4s") else "video/mp4")
    check_codecs(streams(url), shape)
    assert check_plays(url) == pytest.approx(2, abs=0.2)


def references(playlist: str) -> list[str]:
    """Every address in a playlist, in lines of their own and in tags."""
    assert playlist.startswith("#EXTM3U\n")
    lines = [line for line in playlist.splitlines() if line and not line.startswith("#")]
    return [*lines, *_URI.findall(playlist)]


def check_storyboard(server: ServerProcess, url: str) -> None:
    """The cues are there, and the sheet that they name."""
    cues = get(server, url, "text/vtt").text
    assert cues.startswith("WEBVTT\n")
    (sheet,) = set(re.findall(r"^(.+\.jpg)#xywh=", cues, re.MULTILINE))
    assert get(server, urljoin(url, sheet), "image/jpeg").content.startswith(b"\xff\xd8")


def test_a_broken_video_does_not_stop_the_other_of_a_form(start_server: StartServer, tmp_path: Path) -> None:
    """In a form of two, one of which is broken, the other is playable, and the task says that it is part of it."""
    server = start_server(transcode="mp4", storyboard="on", transcode_preset="ultrafast")
    good = make(tmp_path, "good.mp4", seconds=1)
    broken = good.read_bytes()[:3000]
    files = [("videos", ("good.mp4", good.read_bytes())), ("videos", ("broken.mp4", broken))]
    task = server.http.post(f"{server.url}/api/upload/videos", files=files).json()["task_id"]
    answer = follow(server, task)[-1]
    assert (answer["status"], answer["partial"], answer["playable"]) == ("completed", True, True)
    by_name = {file["name"]: file for file in answer["files"]}
    assert by_name["good.mp4"]["playable"]
    get(server, by_name["good.mp4"]["mp4_url"], "video/mp4")
    assert by_name["broken.mp4"]["error"] is not None
    assert not by_name["broken.mp4"]["playable"]
    for key in ("poster_url", "mp4_url", "hls_url", "storyboard_url"):
        assert by_name["broken.mp4"][key] is None


def test_a_video_stays_playable_until_it_is_deleted(start_server: StartServer, tmp_path: Path) -> None:
    """A restart changes nothing; a DELETE, and nothing else, ends it."""
    server = start_server(transcode="mp4", storyboard="on", transcode_preset="ultrafast")
    task = by_tus(server, make(tmp_path, "a.mp4", seconds=1))
    (file,) = finish(server, task)["files"]
    before = get(server, file["mp4_url"], "video/mp4")
    server.restart()
    (again,) = server.status(task)["files"]
    assert again == file
    after = get(server, file["mp4_url"], "video/mp4")
    assert after.content == before.content
    assert after.headers["etag"] == before.headers["etag"]
    poster(server, again)
    check_storyboard(server, again["storyboard_url"])
    assert server.http.delete(f"{server.url}{target(task)}", headers=VERSION).status_code == 204
    assert not server.status(task)["playable"]
    assert server.http.get(urljoin(server.url, file["mp4_url"])).status_code == 404
