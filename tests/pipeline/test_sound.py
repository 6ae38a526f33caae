"""Sound is never lost silently: whatever has no layout is mixed, another track is taken, or a remark says so."""

from pathlib import Path

import pytest

from server.pipeline.media import ffmpeg
from server.pipeline.steps.hls import Hls
from server.pipeline.steps.mp4 import Mp4
from tests import samples
from tests.pipeline import media
from tests.pipeline.conftest import Contexts

pytestmark = pytest.mark.turns(3)  # a step and odd videos

_PICTURES = ("-f", "lavfi", "-i", "testsrc2=size=160x120:rate=25:duration=2")


def many_channels(target: Path, count: int, codec: str = "pcm_s16le") -> Path:
    """A tone of 440 Hz in the last channel only, silence in the others."""
    tones = "|".join("0.5*sin(440*2*PI*t)" if number == count - 1 else "0" for number in range(count))
    sound = ("-f", "lavfi", "-i", f"aevalsrc={tones}:duration=2")
    samples.run(*_PICTURES, *sound, "-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", codec, str(target))
    return target


@pytest.mark.sampled(5)
@pytest.mark.parametrize("binary", ["system", "bundled"])
@pytest.mark.parametrize(("count", "name"), [(9, "a.mov"), (11, "a.mkv"), (12, "a.mov"), (16, "a.mkv"), (24, "a.mov")])
def test_channels_without_a_layout_are_mixed(
    count: int, name: str, binary: str, tmp_path: Path, context: Contexts
) -> None:
    """The one channel with sound is heard, whichever it is, and the owner is told that it was mixed."""
    given = context(many_channels(tmp_path / name, count), ffmpeg=ffmpeg.find(binary))
    found = Mp4().run(given)
    made = given.output / "video.mp4"
    assert media.loudest(made) == pytest.approx(440, abs=10)
    assert found["remarks"] == ["audio_downmixed"]
    media.check_plays(made)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("count", [1, 3, 6, 8])
def test_up_to_eight_usual_channels_give_no_remark(count: int, tmp_path: Path, context: Contexts) -> None:
    """FFmpeg knows where up to eight belong."""
    given = context(many_channels(tmp_path / "a.mkv", count))
    assert "remarks" not in Mp4().run(given)
    assert len(media.judge(given.output / "video.mp4").audio) == 1


def test_hls_has_the_mixed_audio_too(tmp_path: Path, context: Contexts) -> None:
    """The same for the other step."""
    given = context(many_channels(tmp_path / "a.mkv", 11))
    assert Hls().run(given)["remarks"] == ["audio_downmixed"]
    assert media.loudest(given.output / "hls" / "audio" / "index.m3u8") == pytest.approx(440, abs=10)


@pytest.mark.parametrize(("video", "step"), [("libx264", Mp4()), ("mpeg4", Mp4()), ("libx264", Hls())])
def test_audio_that_cannot_be_decoded_gives_a_remark(
    video: str, step: Mp4 | Hls, tmp_path: Path, context: Contexts
) -> None:
    """A codec without a decoder: the pictures are made, and the owner learns that the sound is missing."""
    source = tmp_path / "a.mkv"
    sound = ("-f", "lavfi", "-i", "sine=duration=2")
    samples.run(*_PICTURES, *sound, "-c:v", video, "-pix_fmt", "yuv420p", "-c:a", "aac", str(source))
    data = source.read_bytes()
    assert b"A_AAC" in data
    source.write_bytes(data.replace(b"A_AAC", b"A_XYZ"))
    assert step.run(context(source))["remarks"] == ["audio_missing"]


def test_a_video_without_audio_gives_no_remark(samples_folder: Path, context: Contexts) -> None:
    """A recording of a screen has none to lose."""
    assert "remarks" not in Mp4().run(context(samples.make(samples_folder, "a.mp4", audio=False)))


def test_an_empty_default_audio_track_is_replaced_by_the_next(tmp_path: Path, context: Contexts) -> None:
    """When the default track has not one packet, the next one is heard, and nothing is missing."""
    source = tmp_path / "a.mkv"
    samples.run(
        *(*_PICTURES, "-f", "lavfi", "-i", "sine=duration=2", "-f", "lavfi", "-i", "sine=frequency=600:duration=2"),
        *("-map", "0", "-map", "1", "-map", "2", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "libmp3lame"),
        *("-filter:a:0", "atrim=start=10", "-disposition:a:0", "default", str(source)),
    )
    given = context(source)
    assert "remarks" not in Mp4().run(given)
    assert media.loudest(given.output / "video.mp4") == pytest.approx(600, abs=10)
