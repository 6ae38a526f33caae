"""Only the decoders that the accepted types need are used, by FFmpeg and by PyAV."""

from pathlib import Path

import av
import pytest

from server.errors import StepError
from server.pipeline.media import ffmpeg
from server.pipeline.media.decoders import DECODERS
from server.pipeline.order import STEPS
from tests import samples
from tests.pipeline.conftest import Contexts

NAMES = set(DECODERS.split(","))
_PICTURES = ("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=5:duration=1")


def test_the_usual_decoders_are_allowed() -> None:
    """Each codec's own decoder of PyAV's FFmpeg; none of those that games and consoles had."""
    for codec in ("h264", "hevc", "vp9", "vp8", "mpeg2video", "mpeg4", "mjpeg", "prores", "dnxhd", "dvvideo", "theora"):
        assert av.Codec(codec, "r").name in NAMES
    for codec in ("aac", "mp3", "opus", "vorbis", "ac3", "eac3", "flac", "alac", "amrnb", "wmav2", "pcm_s16le"):
        assert av.Codec(codec, "r").name in NAMES
    assert av.Codec("av1", "r").name in NAMES
    assert not NAMES & {"ansi", "smackvid", "roqvideo", "interplayvideo", "exr", "sgi", "vmdvideo", "wavesynth"}


@pytest.mark.parametrize("name", ["probe", "poster", "mp4", "storyboard"])
def test_a_decoder_that_is_not_allowed_is_never_opened(name: str, context: Contexts, tmp_path: Path) -> None:
    """Pictures of SGI in a QuickTime file, which FFmpeg can decode: no step opens their decoder."""
    source = tmp_path / "a.mov"
    samples.run(*_PICTURES, "-c:v", "sgi", str(source))
    step = next(step for step in STEPS if step.name == name)
    with pytest.raises(StepError) as caught:
        step.run(context(source, facts={"duration": 1.0}))
    assert caught.value.code in ("not_playable", "poster_failed", "storyboard_failed")


@pytest.mark.parametrize("choice", ["system", "bundled"])
def test_both_ffmpeg_programs_use_allowed_decoders_only(choice: str, context: Contexts, tmp_path: Path) -> None:
    """The poster, which FFmpeg alone decodes, of a codec that is allowed and of one that is not."""
    poster = next(step for step in STEPS if step.name == "poster")
    for codec, is_allowed in (("mjpeg", True), ("sgi", False)):
        source = tmp_path / f"{codec}.mov"
        samples.run(*_PICTURES, "-c:v", codec, str(source))
        given = context(source, facts={"duration": 1.0}, ffmpeg=ffmpeg.find(choice))
        if is_allowed:
            assert poster.run(given) == {"has_poster": True, "poster_from": None}
        else:
            with pytest.raises(StepError):
                poster.run(given)
