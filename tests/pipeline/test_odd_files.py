"""Files that real devices and tools make, and that an earlier version failed on: each kind with its neighbours."""

import struct
import threading
from pathlib import Path

import pytest

from server.errors import StepError
from server.pipeline.media import ffmpeg
from server.pipeline.sandbox import child
from server.pipeline.step import Limits
from server.pipeline.steps.mp4 import Mp4
from server.pipeline.steps.poster import FILE_NAME, Poster
from server.pipeline.steps.probe import Probe
from server.pipeline.steps.storyboard import Storyboard
from tests import samples
from tests.pipeline import media
from tests.pipeline.conftest import Contexts
from tests.pipeline.films import SMALL, refusal

pytestmark = pytest.mark.turns(3)  # a step and odd videos

BINARIES = ("system", "bundled")


# Memory of the library


@pytest.mark.sampled(4)
@pytest.mark.parametrize("count", [1, 2, 3, 5, 6, 7, 8, 9, 10, 12, 16, 22, 24, 32, 48, 64])
def test_any_number_of_audio_channels_is_read_safely(count: int, tmp_path: Path) -> None:
    """Each count is read several times from every track, and the heap survives it: QuickTime gives every channel a
    place of its own, in an order of its own."""
    source = tmp_path / "a.mov"
    tones = "|".join(f"sin({440 + 10 * number}*t)" for number in range(count))
    picture = ("-f", "lavfi", "-i", f"{SMALL}=0.2")
    sound = ("-f", "lavfi", "-i", f"aevalsrc={tones}:d=0.2")
    samples.run(*picture, *sound, "-map", "0", "-map", "1", "-map", "1", "-c:a", "pcm_s16le", str(source))
    found = child.run(
        "tests.pipeline.jobs:count_channels",
        {"path": str(source)},
        limits=Limits(seconds=60, memory=4 << 30),
        cancelled=threading.Event(),
        report=lambda _: None,
    )
    assert found["channels"] == [count] * 6


class CrashingProbe(Probe):
    job = "tests.pipeline.jobs:crash_in_library_probe"


class CrashingPoster(Poster):
    job = "tests.pipeline.jobs:crash_in_library_poster"


class CrashingMp4(Mp4):
    job = "tests.pipeline.jobs:crash_in_library_mp4"


@pytest.mark.sampled(2)
@pytest.mark.parametrize("binary", BINARIES)
@pytest.mark.parametrize("rotate", [0, 90])
def test_after_a_library_crash_the_ffmpeg_program_is_used(
    binary: str, rotate: int, samples_folder: Path, context: Contexts
) -> None:
    """When the child dies, FFmpeg's program alone finds out the same, and makes poster and MP4."""
    source = samples.make(samples_folder, "a.mov", rotate=rotate)
    given = context(source, ffmpeg=ffmpeg.find(binary))
    known = dict(Probe().run(given))
    found = dict(CrashingProbe().run(given))
    assert found.pop("duration") == pytest.approx(known.pop("duration"), abs=0.05)
    # What takes a look at many frames is not known.
    assert found == known | {"variable_frame_rate": None}
    CrashingPoster().run(given)
    CrashingMp4().run(given)
    made = media.judge(given.output / "video.mp4")
    assert made.size == (found["width"], found["height"])
    assert made.audio[0]["codec_name"] == "aac"
    media.check_plays(given.output / "video.mp4")
    assert media.judge(given.output / FILE_NAME).size == made.size


def test_a_file_that_is_not_a_video_is_probed_once(tmp_path: Path, context: Contexts) -> None:
    """Only a crash leads to the second way: a file that is no video is judged once."""
    source = tmp_path / "a.mp4"
    source.write_bytes(b"just text\n" * 100)
    heard: list[int] = []
    with pytest.raises(StepError) as caught:
        Probe().run(context(source, report=heard.append))
    assert caught.value.code == "not_playable"


# Values that the library does not know


@pytest.mark.parametrize("kind", [28, 29, 30, 31, 99])
def test_unknown_side_data_is_ignored(kind: int) -> None:
    """It is passed over; what is known beside it is still read."""
    found = child.run(
        "tests.pipeline.jobs:name_side_data",
        {"kind": kind},
        limits=Limits(seconds=60, memory=4 << 30),
        cancelled=threading.Event(),
        report=lambda _: None,
    )
    assert found["name"] == f"UNKNOWN_{kind}"


def test_a_binary_codec_tag_is_ignored(samples_folder: Path, tmp_path: Path, context: Contexts) -> None:
    """Letters of the codec that are no ASCII say nothing, and are no reason to refuse a video."""
    source = tmp_path / "a.avi"
    source.write_bytes(samples.make(samples_folder, "a.avi").read_bytes().replace(b"FMP4", b"\xe9\xff\xfe\x80"))
    code, _ = refusal(Probe(), context, source)
    assert code in ("codec_unsupported", "not_playable")


# Orientation

UNIT = 0x10000
MATRICES: dict[str, tuple[tuple[float, float, float, float], tuple[int, int], str]] = {
    # The matrix, the size that is shown, and the colours of the corners: upper left, upper right, lower left.
    "none": ((1, 0, 0, 1), (320, 240), "RRB"),
    "zeros": ((0, 0, 0, 0), (320, 240), "RRB"),
    "45 degrees": ((0.7071, 0.7071, -0.7071, 0.7071), (320, 240), "RRB"),
    "20 degrees": ((0.9397, 0.342, -0.342, 0.9397), (320, 240), "RRB"),
    "sheared": ((1, 1, 0, 1), (320, 240), "RRB"),
    "one column": ((1, 0, 0, 0), (320, 240), "RRB"),
    "clockwise": ((0, 1, -1, 0), (240, 320), "BRB"),
    "nearly clockwise": ((0.0005, 0.9999, -0.9999, 0.0005), (240, 320), "BRB"),
    "upside down": ((-1, 0, 0, -1), (320, 240), "BBR"),
    "counterclockwise": ((0, -1, 1, 0), (240, 320), "RBR"),
    "mirrored": ((-1, 0, 0, 1), (320, 240), "RRB"),
    "flipped": ((1, 0, 0, -1), (320, 240), "BBR"),
    "transposed": ((0, 1, 1, 0), (240, 320), "RBR"),
}


def with_matrix(source: Path, target: Path, matrix: tuple[float, float, float, float]) -> Path:
    """The same video with this matrix (a, b, c, d) in its first track."""
    data = bytearray(source.read_bytes())
    at = data.index(b"tkhd") + 44
    a, b, c, d = (int(value * UNIT) for value in matrix)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 0x40000000)
    target.write_bytes(data)
    return target


def corners(path: Path, within: tuple[float, float] = (1, 1)) -> str:
    """R, B or ? of three corners of the first picture, which takes these shares of the width and height."""
    found = ""
    for x, y in ((0.1, 0.1), (0.9, 0.1), (0.1, 0.9)):
        red, _, blue = media.colour(path, x * within[0], y * within[1])
        found += "R" if red > 128 > blue else "B" if blue > 128 > red else "?"
    return found


@pytest.mark.sampled(4)
@pytest.mark.parametrize("binary", BINARIES)
@pytest.mark.parametrize("name", MATRICES)
def test_all_results_have_the_same_orientation(
    name: str, binary: str, samples_folder: Path, tmp_path: Path, context: Contexts
) -> None:
    """Status, poster, MP4 and storyboard agree; what is no quarter turn is shown as it is stored."""
    matrix, size, colours = MATRICES[name]
    plain = samples.make(samples_folder, "a.mov", pattern="halves", seconds=0.5, audio=False)
    source = with_matrix(plain, tmp_path / "a.mov", matrix)
    facts = dict(Probe().run(context(source)))
    assert (facts["width"], facts["height"]) == size
    given = context(source, ffmpeg=ffmpeg.find(binary), facts=facts)
    for step in (Poster(), Mp4(), Storyboard()):
        step.run(given)
    assert media.judge(given.output / FILE_NAME).size == size
    assert media.judge(given.output / "video.mp4").size == size
    for result in (FILE_NAME, "video.mp4", "storyboard.jpg"):
        assert corners(given.output / result) == colours, result


# Which track

BIG = ("-f", "lavfi", "-i", "testsrc2=size=640x480:rate=1:duration=1")


@pytest.mark.sampled(3)
@pytest.mark.parametrize("extension", ["mp4", "mkv"])
@pytest.mark.parametrize("codec", ["mjpeg", "libx264", "png"])
def test_a_still_picture_before_the_video_is_skipped(
    codec: str, extension: str, tmp_path: Path, context: Contexts
) -> None:
    """A larger picture as the first track, not marked as one: every step takes the video behind it."""
    source = tmp_path / f"a.{extension}"
    moving = ("-f", "lavfi", "-i", f"{SMALL}=2")
    codecs = ("-c:v:0", codec, "-c:v:1", "libx264", "-pix_fmt:v:1", "yuv420p")
    samples.run(*BIG, *moving, "-map", "0:v", "-map", "1:v", *codecs, str(source))
    facts = dict(Probe().run(context(source)))
    assert (facts["width"], facts["height"], facts["video_codec"]) == (64, 48, "h264")
    given = context(source, facts=facts)
    for step in (Poster(), Mp4(), Storyboard()):
        step.run(given)
    assert media.judge(given.output / FILE_NAME).size == (64, 48)
    assert media.judge(given.output / "video.mp4").size == (64, 48)


@pytest.mark.parametrize("default", [0, 1])
def test_the_default_video_track_is_used(default: int, tmp_path: Path, context: Contexts) -> None:
    """And of two that are alike in that, the larger one."""
    source = tmp_path / "a.mkv"
    two = ("-f", "lavfi", "-i", f"{SMALL}=1", "-f", "lavfi", "-i", "testsrc2=size=128x96:rate=25:duration=1")
    marks = (f"-disposition:v:{default}", "default", f"-disposition:v:{1 - default}", "0")
    samples.run(*two, "-map", "0:v", "-map", "1:v", *marks, str(source))
    assert Probe().run(context(source))["width"] == (64, 128)[default]


@pytest.mark.parametrize(("codec", "extension"), [("png", "mkv"), ("mjpeg", "mp4"), ("mjpeg", "avi")])
def test_audio_with_a_picture_is_not_a_video(codec: str, extension: str, tmp_path: Path, context: Contexts) -> None:
    """A picture beside sound, not marked as a cover, is no video."""
    source = tmp_path / f"a.{extension}"
    tone = ("-f", "lavfi", "-i", "sine=duration=1")
    samples.run(*BIG, *tone, "-c:v", codec, "-frames:v", "1", str(source))
    assert refusal(Probe(), context, source) == ("only_pictures", {})


def test_the_poster_is_a_frame_that_decodes_alone(tmp_path: Path, context: Contexts) -> None:
    """A sync table that names frames which need others: the poster is of one that does not."""
    source = tmp_path / "a.3gp"
    still = "color=red:size=176x144:rate=25:duration=8,drawbox=y=ih/2:h=ih/2:color=blue:t=fill"
    samples.run("-f", "lavfi", "-i", still, "-c:v", "h263", "-g", "50", "-b:v", "200k", str(source))
    data = bytearray(source.read_bytes())
    at = data.index(b"stss") + 8
    count = int.from_bytes(data[at : at + 4], "big")
    for number in range(1, count):  # the first stays right
        place = at + 4 + 4 * number
        data[place : place + 4] = (int.from_bytes(data[place : place + 4], "big") + 7).to_bytes(4, "big")
    source.write_bytes(data)
    given = context(source, facts={"duration": 8.0})
    Poster().run(given)
    assert corners(given.output / FILE_NAME) == "RRB"


# Other containers


@pytest.mark.sampled(3)
@pytest.mark.parametrize("extension", samples.MORE_FORMATS)
def test_additional_containers_go_through_every_step(extension: str, samples_folder: Path, context: Contexts) -> None:
    """What `accept_types` may add goes through every step."""
    source = samples.make(samples_folder, f"a.{extension}", size="352x288" if extension == "mxf" else "320x240")
    facts = dict(Probe().run(context(source)))
    assert facts["duration"] == pytest.approx(2, abs=0.15)
    given = context(source, facts=facts)
    for step in (Poster(), Mp4(), Storyboard()):
        step.run(given)
    made = media.judge(given.output / "video.mp4")
    assert made.duration == pytest.approx(2, abs=0.2)
    assert len(made.audio) == 1
    media.check_plays(given.output / "video.mp4")
