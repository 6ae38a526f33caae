"""Colours of videos that do not say what their numbers mean: results say it, and a browser shows MP4 and HLS alike."""

from pathlib import Path

import pytest
from av.video.frame import VideoFrame

from server.pipeline.media import colours
from tests import samples
from tests.harness.player import Item, watch
from tests.pipeline import media
from tests.pipeline.conftest import Contexts
from tests.pipeline.test_hls import make as make_hls
from tests.pipeline.test_hls import variants
from tests.pipeline.test_mp4 import make as make_mp4

_GREEN = 183  # luma by BT.709, as tests/clients/player.mjs measures, of the brightest green


@pytest.mark.parametrize(
    ("told", "height", "expected"),
    [
        ((2, 2, 2), 480, "color_primaries=smpte170m:color_trc=smpte170m:colorspace=smpte170m"),
        ((2, 2, 2), 720, "color_primaries=bt709:color_trc=bt709:colorspace=bt709"),
        ((5, 2, 2), 1080, "color_primaries=smpte170m:color_trc=smpte170m"),
        ((1, 2, 2), 240, "color_primaries=bt709:color_trc=bt709"),
        ((1, 1, 2), 240, "color_trc=bt709"),
        ((1, 1, 1), 240, ""),
        ((9, 2, 2), 1080, ""),
        ((7, 2, 2), 480, ""),
    ],
)
def test_what_is_not_told(told: tuple[int, int, int], height: int, expected: str) -> None:
    """By the size where nothing is told, else by the matrix; what is told stays."""
    frame = VideoFrame(16, 16, "yuv420p")
    frame.colorspace, frame.color_primaries, frame.color_trc = told
    assert colours.untold(frame, height) == expected


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("codec", "expected"),
    [(("ffv1", "-pix_fmt", "yuv420p"), "smpte170m"), (("mjpeg", "-pix_fmt", "yuvj420p", "-q:v", "2"), "bt470bg")],
)
def test_green_stays_green(codec: tuple[str, ...], expected: str, tmp_path: Path, context: Contexts) -> None:
    """In the file and in HLS. Chromium takes BT.709 for HLS where anything is not told."""
    source = tmp_path / "a.mkv"
    samples.run("-f", "lavfi", "-i", "color=0x00FF00:size=320x240:rate=10:duration=1", "-c:v", *codec, str(source))
    outputs = [tmp_path / "mp4", tmp_path / "hls"]
    for output in outputs:
        output.mkdir()
    made = [make_mp4(context, source, output=outputs[0]), make_hls(context, source, output=outputs[1])]
    for path in (made[0], variants(made[1])[0].playlist):
        found = media.judge(path).video
        assert [found[f"color_{name}"] for name in ("space", "primaries", "transfer")] == [expected, *["smpte170m"] * 2]
    for seen in watch([Item(path.name, path, [0.5]) for path in made], tmp_path):
        assert seen.error is None
        assert sum(seen.seeks[0].picture) / 192 == pytest.approx(_GREEN, abs=6), seen.name
