"""The step `hls` on real files: what is in the folder, by the rules, and whether clients can play it."""

import math
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from server.errors import StepError
from server.pipeline.media import ffmpeg
from server.pipeline.step import Cancelled
from server.pipeline.steps.hls import Hls
from server.settings import Settings
from server.storage.results import Results
from tests import samples
from tests.conftest import StartServer
from tests.harness import tasks
from tests.harness.chromium import drive
from tests.harness.waiting import PATIENCE, Stopwatch
from tests.pipeline import media
from tests.pipeline.conftest import Contexts
from tests.pipeline.sources import SOURCES, Made

pytestmark = pytest.mark.turns(3)  # a step and odd videos

DONE = {"has_hls": True, "playable": True}
BINARIES = ("system", "bundled")

# These are the same to HLS as another kind is, since it copies nothing.
_SAME = {"h264.mov", "h264.mkv", "h264.flv", "b-frames.mkv", "mp3.mkv", "in-avi.avi", "hevc.mp4", "hevc-270.mov"}
_SAME |= {"av1.mkv", "wmv.wmv", "phone.3gp", "high10.mkv", "one-frame.mkv", "pq.mov"}
KINDS = tuple(kind for kind in SOURCES if kind.name not in _SAME)


@dataclass(frozen=True)
class Variant:
    """One size, as the master tells it."""

    playlist: Path
    attributes: dict[str, str]

    @property
    def size(self) -> tuple[int, int]:
        width, height = self.attributes["RESOLUTION"].split("x")
        return int(width), int(height)


@dataclass(frozen=True)
class Segment:
    """One line of a media playlist."""

    path: Path
    seconds: float

    @property
    def bits(self) -> float:
        """A second."""
        return 8 * self.path.stat().st_size / self.seconds


def make(context: Contexts, source: Path, **changes: object) -> Path:
    """Run the step; the master is all that is beside the folders that it names."""
    given = context(source, **changes)
    assert Hls().run(given) == DONE
    assert [path.name for path in given.output.iterdir()] == ["hls"]
    return given.output / "hls" / "index.m3u8"


def variants(master: Path) -> list[Variant]:
    """In the master's order."""
    lines = master.read_text().splitlines()
    assert lines[0] == "#EXTM3U"
    found = []
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if line.startswith("#EXT-X-STREAM-INF:"):
            found.append(Variant(master.parent / following, attributes(line)))
    return found


def sound(master: Path) -> Path | None:
    """The playlist of the sound."""
    (*found,) = [line for line in master.read_text().splitlines() if line.startswith("#EXT-X-MEDIA:")]
    return master.parent / attributes(found[0])["URI"] if found else None


def attributes(line: str) -> dict[str, str]:
    """Of a tag; strings without their quotes."""
    return {name: value.strip('"') for name, value in re.findall(r'([A-Z-]+)=("[^"]*"|[^,]*)', line.partition(":")[2])}


def segments(playlist: Path) -> list[Segment]:
    """Of a media playlist, which must be whole and keep the rules (RFC 8216)."""
    lines = playlist.read_text().splitlines()
    assert lines[0] == "#EXTM3U"
    assert lines[-1] == "#EXT-X-ENDLIST"
    assert '#EXT-X-MAP:URI="init.mp4"' in lines
    assert "#EXT-X-PLAYLIST-TYPE:VOD" in lines
    assert (playlist.parent / "init.mp4").is_file()
    found = [
        Segment(playlist.parent / following, float(line.removeprefix("#EXTINF:").rstrip(",")))
        for line, following in pairwise(lines)
        if line.startswith("#EXTINF:")
    ]
    (target,) = [int(line.partition(":")[2]) for line in lines if line.startswith("#EXT-X-TARGETDURATION:")]
    assert all(round(segment.seconds) <= target for segment in found)
    assert {path.name for path in playlist.parent.iterdir()} == {
        "index.m3u8", "init.mp4", *(segment.path.name for segment in found)
    }  # fmt: skip
    return found


def check(master: Path, tmp_path: Path) -> list[Variant]:
    """All that must be true of any HLS that we make."""
    found, audio = variants(master), sound(master)
    names = {one.playlist.parent.name for one in found} | ({"audio"} if audio else set())
    assert {path.name for path in master.parent.iterdir()} == {"index.m3u8", *names}
    keys = set()
    for one in found:
        check_variant(one, audio, tmp_path)
        keys.add(tuple(round(time, 3) for time in media.key_times(one.playlist)))
    assert len(keys) == 1, "the sizes have their key frames at different times"
    media.check_plays(master)
    check_names(master, tmp_path)
    return found


def check_variant(one: Variant, audio: Path | None, tmp_path: Path) -> None:
    """What the master says of a size is what is there."""
    judged = media.judge(one.playlist)
    video = judged.video
    assert (video["codec_name"], video["pix_fmt"], judged.rotation) == ("h264", "yuv420p", 0)
    assert (int(video["width"]), int(video["height"])) == one.size
    assert one.size[0] % 2 == one.size[1] % 2 == 0
    assert one.playlist.parent.name == f"{min(one.size)}p" or min(one.size) < 240 or min(one.size) % 2
    assert video.get("sample_aspect_ratio", "1:1") == "1:1"
    assert judged.audio == [], "sound has a playlist of its own"
    codecs = [f"avc1.6400{int(video['level']):02x}", *(["mp4a.40.2"] if audio else [])]
    assert one.attributes["CODECS"].split(",") == codecs
    assert one.attributes.get("AUDIO") == ("audio" if audio else None)
    parts, heard = segments(one.playlist), segments(audio) if audio else []
    peak = max(segment.bits for segment in parts if segment.seconds > 1 or len(parts) == 1)
    loud = max((segment.bits for segment in heard), default=0)
    assert int(one.attributes["BANDWIDTH"]) >= int(one.attributes["AVERAGE-BANDWIDTH"]) > 0
    assert int(one.attributes["BANDWIDTH"]) >= math.floor(peak)
    assert int(one.attributes["BANDWIDTH"]) <= 2 * (peak + loud) + 1000
    for segment in parts:
        begins_with_key_frame(segment, tmp_path)


def begins_with_key_frame(segment: Segment, tmp_path: Path) -> None:
    """Each segment can be shown without the others."""
    whole = tmp_path / "one-segment.mp4"
    whole.write_bytes((segment.path.parent / "init.mp4").read_bytes() + segment.path.read_bytes())
    assert "K" in media.packets(whole)[0]["flags"]


def check_names(master: Path, tmp_path: Path) -> None:
    """Everything has a name under which it is handed out."""
    results, task, file = Results(tmp_path / "data"), "task", "file"
    folder = results.begin(task, 1, file, "hls")
    names = [str(path.relative_to(master.parent.parent)) for path in master.parent.rglob("*") if path.is_file()]
    master.parent.rename(folder / "hls")
    results.publish(task, 1, file, "hls")
    assert all(results.find(task, file, name) for name in names)
    (tmp_path / "data" / "results" / task / file / "hls").rename(master.parent)


@pytest.mark.sampled(4)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.turns(1)
def test_every_format_gets_valid_hls(kind: Made, samples_folder: Path, tmp_path: Path, context: Contexts) -> None:
    """The size and length of the source, and all rules kept."""
    binary = ffmpeg.find(BINARIES[KINDS.index(kind) % 2])
    master = make(context, kind.make(samples_folder), ffmpeg=binary, facts={"duration": kind.seconds})
    found = check(master, tmp_path)
    assert max((one.size for one in found), key=math.prod) == kind.size
    audio = sound(master)
    assert (audio is not None) == kind.audio
    lengths = [sum(segment.seconds for segment in segments(one.playlist)) for one in found]
    if audio:
        lengths.append(sum(segment.seconds for segment in segments(audio)))
    assert max(lengths) == pytest.approx(kind.seconds, abs=0.2)
    if kind.frame_rate:
        assert float(found[0].attributes["FRAME-RATE"]) == pytest.approx(kind.frame_rate, rel=0.05)
        frames = len(media.packets(found[0].playlist))
        assert frames == pytest.approx(kind.frame_rate * min(lengths[0], kind.seconds), abs=2)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("binary", BINARIES)
def test_a_large_video_gets_the_usual_renditions(
    binary: str, samples_folder: Path, tmp_path: Path, context: Contexts
) -> None:
    """From 720p: the usual sizes below it, a good one first, segments of 4 s with key frames every 2 s."""
    source = samples.make(samples_folder, "a.mkv", seconds=9, size="1280x720", codec="mpeg4")
    heard: list[int] = []
    master = make(context, source, ffmpeg=ffmpeg.find(binary), facts={"duration": 9.0}, report=heard.append)
    found = check(master, tmp_path)
    assert [one.playlist.parent.name for one in found] == ["480p", "240p", "360p", "720p"]
    assert [one.size for one in found] == [(852, 480), (426, 240), (640, 360), (1280, 720)]
    assert [round(segment.seconds, 2) for segment in segments(found[0].playlist)] == [4, 4, 1]
    assert media.key_times(found[0].playlist) == pytest.approx([0, 2, 4, 6, 8], abs=0.05)
    rates = [int(one.attributes["BANDWIDTH"]) for one in sorted(found, key=lambda one: one.size)]
    assert rates == sorted(rates)
    assert heard == sorted(heard)
    assert heard[-1] == 100
    audio = sound(master)
    assert audio is not None
    assert sum(segment.seconds for segment in segments(audio)) == pytest.approx(9, abs=0.1)


def test_pictures_and_sound_start_together(samples_folder: Path, context: Contexts) -> None:
    """Though they have playlists of their own: both at 0, also when one of them comes later in the source."""
    for name in ("h264.mp4", "late-video.mkv", "late-sound.mkv", "not-from-0.mkv"):
        source = next(kind for kind in SOURCES if kind.name == name).make(samples_folder)
        master = make(context, source)
        audio = sound(master)
        assert audio is not None
        assert float(media.packets(variants(master)[0].playlist)[0]["pts_time"]) == pytest.approx(0, abs=0.05)
        # AAC begins with 1024 samples of nothing, which players leave out.
        assert float(media.packets(audio, "a:0")[0]["pts_time"]) == pytest.approx(-1024 / 48000, abs=0.001)
        subprocess.run(["rm", "-r", str(master.parent)], check=True)


def test_uneven_frames_have_even_key_frames(samples_folder: Path, tmp_path: Path, context: Contexts) -> None:
    """With frames that come unevenly, and pauses longer than a segment, which are filled, all sizes still agree."""
    source = samples_folder / "pauses.mkv"
    picture = "testsrc2=size=640x360:rate=25:duration=14,select='lt(t,1)+gt(t,7)*not(mod(n,3))'"
    samples.run("-f", "lavfi", "-i", picture, "-c:v", "ffv1", "-fps_mode", "passthrough", str(source))
    found = check(make(context, source), tmp_path)
    assert len(found) == 2
    times = media.key_times(found[0].playlist)
    assert times[:3] == pytest.approx([0, 2, 4], abs=0.1)
    assert min(b - a for a, b in pairwise(times)) > 1.9


def test_hls_has_no_metadata_of_the_source(samples_folder: Path, context: Contexts) -> None:
    """No place and no title is in any of the files."""
    private_metadata = (
        "-metadata",
        "location=+50.0755+014.4378/",
        "-metadata",
        "title=Private",
        "-metadata:s:v",
        "title=Private",
    )
    source = samples.make(samples_folder, "a.mp4", extra=private_metadata)
    master = make(context, source)
    files = [path for path in master.parent.rglob("*") if path.is_file()]
    assert len(files) == 7
    assert not any(word in path.read_bytes() for path in files for word in (b"50.0755", b"Private"))


def test_hdr_is_mapped_to_sdr_in_hls(samples_folder: Path, context: Contexts) -> None:
    """All sizes are said to be BT.709."""
    source = next(kind for kind in SOURCES if kind.name == "hlg.mov").make(samples_folder)
    for one in variants(make(context, source)):
        assert media.judge(one.playlist).video["color_transfer"] == "bt709"


def test_an_empty_audio_track_does_not_fail_hls(samples_folder: Path, tmp_path: Path, context: Contexts) -> None:
    """A sound track without a packet does not cost the pictures."""
    source = samples_folder / "empty-track.mkv"
    video = samples.make(samples_folder, "a.mp4", audio=False)
    samples.run(
        *("-i", str(video), "-f", "lavfi", "-i", "sine=duration=2", "-map", "0", "-map", "1", "-c:v", "copy"),
        *("-c:a", "libmp3lame", "-af", "atrim=start=10", str(source)),
    )
    assert len(check(make(context, source), tmp_path)) == 1


def test_a_cancel_ends_hls_within_two_seconds(samples_folder: Path, context: Contexts) -> None:
    """Well within 2 s of the wish all is over, encoders of four sizes included (processes: see conftest)."""
    cancelled, started = threading.Event(), threading.Event()
    source = samples.make(samples_folder, "long.mp4", loops=10, size="1280x720", codec="mpeg4", audio=False)
    facts = {"duration": 20.0}
    given = context(source, cancelled=cancelled, report=lambda percent: started.set(), facts=facts)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(Hls().run, given)
        assert started.wait(PATIENCE)
        start = Stopwatch()
        cancelled.set()
        with pytest.raises(Cancelled):
            running.result(PATIENCE)
        assert start.seconds < 2


def test_hls_that_grows_without_end_is_stopped(samples_folder: Path, tmp_path: Path, context: Contexts) -> None:
    """An FFmpeg that writes one segment after another without end is ended."""
    endless = tmp_path / "ffmpeg"
    endless.write_text(
        f"#!{sys.executable}\nimport time\nfor number in range(1000):\n"
        "    open(f'hls/240p/segment-{number}.m4s', 'wb').write(bytes(20_000_000)); time.sleep(0.02)\n"
    )
    endless.chmod(0o755)
    given = context(samples.make(samples_folder, "a.mp4"), ffmpeg=str(endless))
    with pytest.raises(StepError) as caught:
        Hls().run(given)
    assert caught.value.code == "transcode_too_large"
    assert len(list((given.output / "hls" / "240p").iterdir())) < 900


def test_an_empty_hls_result_is_a_failure(samples_folder: Path, tmp_path: Path, context: Contexts) -> None:
    """Success without a result is a failure, with a reason."""
    lazy = tmp_path / "ffmpeg"
    lazy.write_text("#!/bin/sh\nexit 0\n")
    lazy.chmod(0o755)
    with pytest.raises(StepError) as caught:
        Hls().run(context(samples.make(samples_folder, "a.mp4"), ffmpeg=str(lazy)))
    assert caught.value.code == "transcode_failed"


def test_the_setting_decides_whether_hls_is_made() -> None:
    """Of the setting's four words two want it."""
    wanted = [word for word in ("none", "mp4", "hls", "both") if Hls().is_wanted(Settings(transcode=word))]
    assert wanted == ["hls", "both"]


PLAY = """
function play(urls) {
  const say = (name, video) =>
    console.log(`${name} ${video.duration.toFixed(0)} s ${video.error?.message ?? ''}`.trim())
  const next = () => {
    const url = urls.shift()
    if (!url) return console.log('over')
    const video = document.createElement('video')
    video.muted = true
    video.addEventListener('playing', () => say(`playing ${video.videoWidth}x${video.videoHeight}`, video))
    video.addEventListener('ended', () => { say('ended', video); next() })
    video.addEventListener('error', () => { say('error', video); next() })
    document.body.append(video)
    video.src = url
    video.play()
  }
  next()
}
"""


@pytest.mark.usefixtures("browser")
@pytest.mark.sampled(1)
@pytest.mark.parametrize("auth", ["off", "on"])
@pytest.mark.turns(1)
def test_chromium_plays_mp4_and_hls(start_server: StartServer, samples_folder: Path, tmp_path: Path, auth: str) -> None:
    """Uploaded, transcoded, and played from start to end by a browser, from the URLs that the status tells.

    With authentication the browser has nothing but these URLs, which are signed.
    """
    server = start_server(transcode="both", auth=auth)
    if auth == "on":
        key = server.run("keys", "create", "--owner", "alice", "--scope", "upload", "--scope", "read").stdout.strip()
        server.http.headers["Authorization"] = f"Bearer {key}"
    source = samples.make(samples_folder, "a.avi", seconds=2)
    with source.open("rb") as file:
        answer = server.http.post(f"{server.url}/api/upload/videos", files={"videos": ("a.avi", file)}).json()
    (entry,) = tasks.finish(server, answer["task_id"])["files"]
    assert entry["playable"] is True
    assert all(("/media/~" in entry[url]) == (auth == "on") for url in ("mp4_url", "hls_url", "poster_url"))
    assert [step["status"] for step in entry["steps"] if step["name"] in ("mp4", "hls")] == ["completed", "completed"]
    script = tmp_path / "play.js"
    script.write_text(PLAY)
    options: dict[str, Any] = {"origin": server.url, "script": str(script), "files": [], "until": "over"}
    with drive("browser.mjs", tmp_path, call=f"play({[entry['mp4_url'], entry['hls_url']]})", **options) as browser:
        said = [event["text"] for event in browser.finish() if event["event"] == "console"]
    assert said == ["playing 320x240 2 s", "ended 2 s"] * 2 + ["over"]
