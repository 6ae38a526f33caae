"""How long a video is: clocks that start late, files that were cut, and a long last frame."""

import subprocess
from pathlib import Path

import pytest

from server.pipeline.steps.mp4 import Mp4
from server.pipeline.steps.probe import Probe
from server.pipeline.steps.storyboard import Storyboard
from tests import samples
from tests.pipeline import media
from tests.pipeline.conftest import Contexts
from tests.pipeline.films import film

pytestmark = pytest.mark.turns(3)  # a step and odd videos


@pytest.mark.sampled(5)
@pytest.mark.parametrize("extension", ["mp4", "mov", "mkv", "flv", "ts"])
@pytest.mark.parametrize("offset", [90_000, 3])
def test_the_duration_counts_from_the_first_frame(
    extension: str, offset: int, tmp_path: Path, context: Contexts
) -> None:
    """A clock that started a day before is no part of the duration, and the storyboard ends where the video does."""
    source = film(tmp_path / f"a.{extension}", "-output_ts_offset", str(offset))
    facts = dict(Probe().run(context(source)))
    assert facts["duration"] == pytest.approx(4, abs=0.1)
    assert "remarks" not in facts
    given = context(source, facts=facts)
    Storyboard().run(given)
    last = (given.output / "storyboard.vtt").read_text().rstrip().splitlines()[-2]
    assert last.endswith(("--> 00:00:04.0", "--> 00:00:04.024", "--> 00:00:04.040")) or "--> 00:00:04" in last


CUT = {
    "mp4": ("-movflags", "+faststart"),
    "mov": ("-movflags", "+faststart"),
    "fragmented.mp4": ("-movflags", "frag_keyframe+empty_moov"),
    "mkv": (),
    "webm": ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-c:a", "libopus"),
    "flv": (),
    "avi": ("-c:v", "mpeg4", "-c:a", "libmp3lame"),
    "wmv": ("-c:v", "wmv2", "-c:a", "wmav2"),
}


def _seen_seconds(source: Path) -> float:
    """From the first to the last frame that FFmpeg decodes."""
    command = ["ffprobe", "-v", "quiet", "-select_streams", "v:0", "-show_entries", "frame=pts_time", "-of", "csv=p=0"]
    done = subprocess.run([*command, str(source)], capture_output=True, check=False, timeout=60)
    times = [float(line.strip(b",")) for line in done.stdout.split() if line.strip(b",") != b"N/A"]
    return max(times) - min(times)


@pytest.mark.sampled(6)
@pytest.mark.parametrize("kind", CUT)
@pytest.mark.parametrize("share", [0.4, 0.6])
def test_a_truncated_file_has_its_real_duration_and_a_remark(
    kind: str, share: float, tmp_path: Path, context: Contexts
) -> None:
    """It tells how long it is, not how long its header wanted it to be, and that something is missing."""
    whole = film(tmp_path / f"whole.{kind}", *CUT[kind])
    assert "remarks" not in Probe().run(context(whole))
    source = tmp_path / f"a.{kind}"
    source.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * share)])
    facts = dict(Probe().run(context(source)))
    assert facts["remarks"] == ["truncated"]
    assert facts["duration"] == pytest.approx(_seen_seconds(source), abs=0.4)
    given = context(source, facts=facts)
    Mp4().run(given)
    assert media.judge(given.output / "video.mp4").duration == pytest.approx(facts["duration"], abs=0.4)


@pytest.mark.parametrize("extension", ["mp4", "mkv", "mov"])
def test_a_long_last_frame_counts(extension: str, tmp_path: Path, context: Contexts) -> None:
    """A screen that stands still at the end: no remark, and the time that it is shown is part of the duration."""
    late = ("-vf", "setpts='if(eq(N,49),PTS+4/TB,PTS)'", "-fps_mode", "vfr")
    source = film(tmp_path / f"a.{extension}", *late, seconds=2, sound=False)
    found = Probe().run(context(source))
    assert found["duration"] == pytest.approx(6, abs=0.1)
    assert "remarks" not in found


@pytest.mark.parametrize("rate", ["1/5", "2"])
def test_the_last_of_slow_pictures_stands_as_long_as_the_others(rate: str, tmp_path: Path, context: Contexts) -> None:
    """For FFmpeg 5, too, which does not read its length where pictures are out of order."""
    source, seconds = tmp_path / "a.mkv", 15
    picture = f"testsrc2=size=160x120:rate={rate}:duration={seconds}"
    samples.run("-f", "lavfi", "-i", picture, "-c:v", "ffv1", "-pix_fmt", "yuv420p", str(source))
    facts = dict(Probe().run(context(source)))
    given = context(source, facts=facts | {"variable_frame_rate": True})
    Mp4().run(given)
    made = given.output / "video.mp4"
    assert media.judge(made).duration == pytest.approx(seconds, abs=0.01)
    command = ["ffmpeg", "-v", "error", "-i", str(made), "-vf", "fps=5,scale=1:1", "-pix_fmt", "gray"]
    raw = subprocess.run([*command, "-f", "rawvideo", "-"], capture_output=True, check=True, timeout=60).stdout
    assert len(raw) == seconds * 5
