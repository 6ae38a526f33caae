"""A high dynamic range looks the same in the poster, the storyboard and the MP4."""

from pathlib import Path

import pytest

from server.pipeline.media import ffmpeg, tone_mapping
from server.pipeline.steps.mp4 import Mp4
from server.pipeline.steps.poster import Poster
from server.pipeline.steps.storyboard import Storyboard
from tests import samples
from tests.pipeline import media
from tests.pipeline.conftest import Contexts
from tests.pipeline.pictures import Picture

pytestmark = pytest.mark.turns(3)  # a step and odd videos

_LEVELS = {
    # Shares of the scale for paper (203 cd/m2, ITU-R BT.2408) and for a light (1000 cd/m2).
    "smpte2084": (0.58, 0.75),
    "arib-std-b67": (0.75, 1.0),
}
_PLACES = ((0.15, 0.5), (0.5, 0.5), (0.85, 0.5))


def bright(folder: Path, transfer: str) -> Path:
    """A red field, paper and a light, side by side, in 10 bits."""
    target = folder / f"bright-{transfer}.mov"
    if not target.exists():
        paper, light = _LEVELS[transfer]
        shades = [
            f"color=size=120x160:rate=25:duration=1,format=yuv420p10le,lutyuv=y=64+876*{level}:u={u}:v={v}[s{number}]"
            for number, (level, u, v) in enumerate(((0.3, 450, 750), (paper, 512, 512), (light, 512, 512)))
        ]
        samples.run(
            *("-filter_complex", ";".join([*shades, "[s0][s1][s2]hstack=inputs=3"])),
            *("-c:v", "libx265", "-x265-params", "log-level=none", "-tag:v", "hvc1"),
            *("-color_primaries", "bt2020", "-colorspace", "bt2020nc", "-color_trc", transfer, str(target)),
        )
    return target


@pytest.mark.sampled(2)
@pytest.mark.parametrize("binary", ["system", "bundled"])
@pytest.mark.parametrize("transfer", list(_LEVELS))
def test_hdr_posters_and_storyboards_have_the_colours_of_the_mp4(
    transfer: str, binary: str, samples_folder: Path, tmp_path: Path, context: Contexts
) -> None:
    """Neither washed out nor black: each place has the colour that the MP4 shows there."""
    source, program = bright(samples_folder, transfer), ffmpeg.find(binary)
    given = context(source, ffmpeg=program, facts={"duration": 1.0})
    assert tone_mapping.can_map(program)
    for step in (Mp4(), Poster(), Storyboard()):
        step.run(given)
    expected = [media.colour(given.output / "video.mp4", *place) for place in _PLACES]
    assert expected[0][0] > expected[0][1] + 60
    assert 150 < min(expected[1]) < min(expected[2]) - 10
    poster, sheet = Picture(given.output / "poster.jpg"), Picture(given.output / "storyboard.jpg")
    for place, colour in zip(_PLACES, expected, strict=True):
        assert poster.at(*place) == pytest.approx(colour, abs=24)
        assert sheet.at(*place) == pytest.approx(colour, abs=24)
    assert {path.name for path in given.output.iterdir()} == {
        "video.mp4", "poster.jpg", "storyboard.jpg", "storyboard.vtt"
    }  # fmt: skip


def test_without_the_tone_filters_pictures_are_made(samples_folder: Path, tmp_path: Path, context: Contexts) -> None:
    """An FFmpeg that cannot map tones makes a poster and a storyboard all the same."""
    poor = tmp_path / "ffmpeg"
    poor.write_text(f'#!/bin/sh\ncase "$*" in *zscale*) exit 8;; esac\nexec {ffmpeg.find("system")} "$@"\n')
    poor.chmod(0o755)
    given = context(bright(samples_folder, "smpte2084"), ffmpeg=str(poor), facts={"duration": 1.0})
    for step in (Poster(), Storyboard()):
        step.run(given)
    assert Picture(given.output / "poster.jpg").at(*_PLACES[0])[0] > 0
    assert Picture(given.output / "storyboard.jpg").at(*_PLACES[0])[0] > 0
