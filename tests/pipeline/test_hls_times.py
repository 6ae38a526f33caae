"""HLS of videos with unusual times, played and sought through in Chromium by hls.js."""

import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from server.pipeline.media import ffmpeg
from server.pipeline.steps.probe import Probe
from tests import samples
from tests.harness import seed
from tests.harness.kill_points import NEVER
from tests.harness.player import Item, watch
from tests.pipeline import media
from tests.pipeline.conftest import Contexts
from tests.pipeline.test_hls import make, segments, sound, variants

pytestmark = pytest.mark.turns(3)  # a step and odd videos

_HEVC = ("-c:v", "libx265", "-x265-params", "log-level=none", "-tag:v", "hvc1")
_VP9 = ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8")


def pictures(rate: str, seconds: float, then: str = "") -> tuple[str, ...]:
    """Moving test pictures, as input options."""
    return "-f", "lavfi", "-i", f"testsrc2=size=160x120:rate={rate}:duration={seconds}{then}"


def tone(seconds: float) -> tuple[str, ...]:
    """A tone, as input options."""
    return "-f", "lavfi", "-i", f"sine=duration={seconds}"


KINDS: dict[str, tuple[float, tuple[str, ...]]] = {
    # The name of the file; its duration in seconds, and how it is made.
    "every-5-s.mp4": (30, (*pictures("1/5", 30), *_HEVC)),
    "every-5-s-sound.mp4": (30, (*pictures("1/5", 30), *tone(30), *_HEVC, "-c:a", "aac")),
    "every-2-s.mkv": (30, (*pictures("1/2", 30), "-c:v", "libx264", "-bf", "2")),
    "1-a-second.mov": (12, (*pictures("1", 12), *tone(12), "-c:v", "libx264", "-bf", "3", "-c:a", "aac")),
    "3-a-second.mkv": (12, (*pictures("3", 12), *tone(12), *_VP9, "-c:a", "libopus")),
    "film.mp4": (6, (*pictures("24000/1001", 6), *tone(6), *_HEVC, "-c:a", "aac")),
    "fast.mkv": (5, (*pictures("120", 5), *tone(5), "-c:v", "libx264", "-c:a", "aac")),
    "sound-goes-on.mkv": (10, (*pictures("25", 2), *tone(10), *_VP9, "-c:a", "libopus")),
    "pictures-go-on.mkv": (10, (*pictures("25", 10), *tone(2), *_VP9, "-c:a", "libopus")),
    "anamorphic.avi": (6, (*pictures("25", 6, ",setsar=64/45"), *tone(6), "-c:v", "mpeg4", "-bf", "2")),
    "still.mp4": (8, (*pictures("25", 0.04), *tone(8), "-c:v", "libx264", "-c:a", "aac")),
}


@pytest.mark.usefixtures("browser")
@pytest.mark.parametrize("most", [4, pytest.param(NEVER, marks=pytest.mark.soak)], ids=["sample", "all"])
def test_hls_of_any_frame_rate_plays_and_seeks(
    samples_folder: Path, tmp_path: Path, context: Contexts, most: int
) -> None:
    """From a picture in 5 s to 120 in 1 s, with tracks of different length: the right duration, every seek, the end."""
    items = []
    names = seed.dice("unusual times").sample(sorted(KINDS), min(most, len(KINDS)))
    for number, name in enumerate(names):
        seconds, arguments = KINDS[name]
        source = samples_folder / name
        samples.run(*arguments, "-pix_fmt", "yuv420p", str(source))
        output = tmp_path / f"{number}"
        output.mkdir()
        binary = ffmpeg.find(("system", "bundled")[number % 2])
        master = make(context, source, output=output, ffmpeg=binary, settings={"transcode_preset": "veryfast"})
        check_times(master, seconds)
        points = [seconds * share for share in (0.45, 0.9, 0.1, 0.7, 0.2)]
        items.append(Item(name, master, points))
    for item, seen in zip(items, watch(items, tmp_path), strict=True):
        seconds = KINDS[item.name][0]
        assert (item.name, seen.error) == (item.name, None)
        assert seen.duration == pytest.approx(seconds, abs=0.1), item.name
        assert seen.ended == pytest.approx(seconds, abs=0.1), item.name
        assert len(seen.seeks) == len(item.points)


def check_times(master: Path, seconds: float) -> None:
    """Both tracks are as long as the video and begin at 0; no picture is shown at another time than it is decoded."""
    lists = [one.playlist for one in variants(master)] + ([sound(master)] if sound(master) else [])
    for playlist in lists:
        assert playlist is not None
        assert sum(one.seconds for one in segments(playlist)) == pytest.approx(seconds, abs=0.1), master
    for one in variants(master):
        packets = media.packets(one.playlist)
        assert float(packets[0]["pts_time"]) == pytest.approx(0, abs=0.001)
        assert all(packet["pts"] == packet["dts"] for packet in packets)


@pytest.mark.parametrize(("rate", "seconds"), [("2", 6.0), ("25", 3.0)])
def test_pictures_without_times_come_at_once(rate: str, seconds: float, tmp_path: Path, context: Contexts) -> None:
    """AVI says when pictures are decoded, which without B pictures is when they are shown: none is repeated."""
    source = tmp_path / "a.avi"
    coded = ("-c:v", "libx264", "-bf", "0", "-pix_fmt", "yuv420p", "-c:a", "pcm_s16le")
    samples.run(*pictures(rate, seconds), *tone(seconds), *coded, str(source))
    assert Probe().run(context(source))["duration"] == pytest.approx(seconds, abs=0.03)
    playlist = variants(make(context, source))[0].playlist
    assert sum(one.seconds for one in segments(playlist)) == pytest.approx(seconds, abs=0.001)


def test_hls_of_a_slow_source_shows_each_frame_on_time(samples_folder: Path, context: Contexts) -> None:
    """Slow pictures are repeated, and each is shown when it was."""
    source = samples_folder / "three-colours.mkv"
    colours = "color=red:size=160x120:rate=1/2:duration=6,geq=lum='60+60*N':cb=128:cr=128"
    samples.run("-f", "lavfi", "-i", colours, "-c:v", "ffv1", "-pix_fmt", "yuv420p", str(source))
    playlist = variants(make(context, source))[0].playlist
    gray = ("-vf", "scale=1:1", "-pix_fmt", "gray", "-f", "rawvideo", "-")
    decode = ["ffmpeg", "-v", "error", "-i", str(playlist), *gray]
    raw = subprocess.run(decode, capture_output=True, check=True, timeout=60).stdout
    assert len(raw) == 30
    changes = [place for place, (before, after) in enumerate(pairwise(raw), 1) if abs(after - before) > 20]
    assert changes == [10, 20]
