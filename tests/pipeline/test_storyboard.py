"""The storyboard step on real files: what its cues say, and what its pictures show."""

import re
import threading
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from server.errors import StepError
from server.pipeline.step import Cancelled
from server.pipeline.steps.storyboard import Storyboard
from server.settings import Settings
from tests import samples
from tests.harness.waiting import Stopwatch
from tests.pipeline.conftest import Contexts
from tests.pipeline.pictures import Colour, Picture, is_blue, is_red

pytestmark = pytest.mark.turns(3)  # a step and odd videos

_CUE = re.compile(
    r"(\d\d+):(\d\d):(\d\d\.\d{3}) --> (\d\d+):(\d\d):(\d\d\.\d{3})\nstoryboard\.jpg#xywh=(\d+),(\d+),(\d+),(\d+)\n"
)
# Far enough apart to be told from each other after two encoders.
COLOURS = ("red", "lime", "blue", "yellow", "aqua", "fuchsia", "white", "black")
VALUES: dict[str, Colour] = {
    "red": (255, 0, 0), "lime": (0, 255, 0), "blue": (0, 0, 255), "yellow": (255, 255, 0),
    "aqua": (0, 255, 255), "fuchsia": (255, 0, 255), "white": (255, 255, 255), "black": (0, 0, 0),
}  # fmt: skip


@dataclass(frozen=True)
class Cue:
    """A stretch of the video in seconds, and where in the sheet its picture is."""

    start: float
    end: float
    x: int
    y: int
    width: int
    height: int


class CheckedStoryboard:
    """What the step made, checked as far as it holds for every video."""

    def __init__(self, output: Path, duration: float) -> None:
        assert sorted(path.name for path in output.iterdir()) == ["storyboard.jpg", "storyboard.vtt"]
        text = (output / "storyboard.vtt").read_text()
        assert text.startswith("WEBVTT\n\n")
        found = list(_CUE.finditer(text))
        assert "WEBVTT\n\n" + "\n".join(match[0] for match in found) == text, "there is something besides cues"
        self.cues = [_cue(match) for match in found]
        self.sheet = Picture(output / "storyboard.jpg")
        self.bytes = (output / "storyboard.jpg").stat().st_size
        self._check(duration)

    def _check(self, duration: float) -> None:
        assert self.cues[0].start == 0
        assert self.cues[-1].end == pytest.approx(duration, abs=0.0011)
        for cue, following in pairwise(self.cues):
            assert cue.end == following.start, "a gap, or one over another"
        places = {(cue.x, cue.y) for cue in self.cues}
        assert len(places) == len(self.cues)
        for cue in self.cues:
            assert cue.start < cue.end
            assert (cue.width, cue.height) == self.size
            assert cue.x % cue.width == cue.y % cue.height == 0
            assert cue.x + cue.width <= self.sheet.width
            assert cue.y + cue.height <= self.sheet.height

    @property
    def size(self) -> tuple[int, int]:
        """Of each picture."""
        return self.cues[0].width, self.cues[0].height

    def at(self, number: int, x: float = 0.5, y: float = 0.5) -> Colour:
        """The colour at shares of a picture."""
        cue = self.cues[number]
        return self.sheet.at((cue.x + x * cue.width) / self.sheet.width, (cue.y + y * cue.height) / self.sheet.height)


def _cue(match: re.Match[str]) -> Cue:
    hours, minutes, seconds, to_hours, to_minutes, to_seconds, *place = match.groups()
    start = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    end = int(to_hours) * 3600 + int(to_minutes) * 60 + float(to_seconds)
    return Cue(start, end, *map(int, place))


def draw(context: Contexts, source: Path, duration: float, **changes: object) -> CheckedStoryboard:
    """Run the step on a video that is said to last so long, and look at what it made."""
    changes.setdefault("facts", {"duration": duration})
    given = context(source, **changes)
    assert Storyboard().run(given) == {"has_storyboard": True}
    return CheckedStoryboard(given.output, duration)


def coloured(folder: Path, name: str, *extra: str, seconds: int = 8, size: str = "320x240") -> Path:
    """A video that has another colour each second."""
    boxes = ",".join(
        f"drawbox=color={COLOURS[second % 8]}:t=fill:enable='between(t,{second},{second}.999)'"
        for second in range(seconds)
    )
    return samples.make(folder, name, seconds=seconds, size=size, audio=False, extra=("-vf", boxes, *extra))


def shown(colour: Colour) -> str:
    """The name of the colour that comes nearest."""
    return min(VALUES, key=lambda name: sum((a - b) ** 2 for a, b in zip(VALUES[name], colour, strict=True)))


@pytest.mark.sampled(3)
@pytest.mark.parametrize("extension", samples.FORMATS)
def test_every_format_gets_a_storyboard(extension: str, samples_folder: Path, context: Contexts) -> None:
    """Each of the seven kinds gets a picture a second, in the video's shape, and each picture shows its second."""
    heard: list[int] = []
    source = coloured(samples_folder, f"a.{extension}", seconds=4)
    board = draw(context, source, 4.0, report=heard.append)
    assert len(board.cues) == 4
    assert board.size == (160, 120)
    assert [shown(board.at(number)) for number in range(4)] == list(COLOURS[:4])
    assert heard == [25, 50, 75, 100, 100]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("key_frames", ["12", "25", "100", "1000"])
def test_each_picture_is_from_its_own_part_of_the_video(
    key_frames: str, samples_folder: Path, context: Contexts
) -> None:
    """However far apart the key frames are, a picture is of its own stretch of the video."""
    source = coloured(samples_folder, "a.mp4", "-g", key_frames, "-sc_threshold", "0")
    board = draw(context, source, 8.0)
    assert [shown(board.at(number)) for number in range(8)] == list(COLOURS)


@pytest.mark.sampled(5)
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("name", ["long.mp4", "long.mkv", "long.flv", "long.avi", "long.wmv"])
def test_a_long_video_gets_a_hundred_pictures(known: bool, name: str, samples_folder: Path, context: Contexts) -> None:
    """A longer video gets a hundred pictures that are further apart, on one sheet of bounded size."""
    source = coloured(samples_folder, name, "-g", "50", seconds=8)
    long = samples_folder / f"looped-{name}"
    if not long.exists():
        samples.run("-stream_loop", "24", "-i", str(source), "-c", "copy", str(long))
    board = draw(context, long, 200.0, facts={"duration": 200.0 if known else None})
    assert len(board.cues) == 100
    assert (board.sheet.width, board.sheet.height) == (1600, 1200)
    assert board.bytes < 1 << 20
    for number, cue in enumerate(board.cues):
        assert shown(board.at(number)) in {COLOURS[int(cue.start + part) % 8] for part in (0.1, 1.1, 1.9)}


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("rotate", "red", "blue"),
    [
        (0, (0.5, 0.15), (0.5, 0.85)),
        (90, (0.85, 0.5), (0.15, 0.5)),
        (180, (0.5, 0.85), (0.5, 0.15)),
        (270, (0.15, 0.5), (0.85, 0.5)),
    ],
)
def test_the_storyboard_of_a_rotated_video_is_upright(
    rotate: int, red: tuple[float, float], blue: tuple[float, float], samples_folder: Path, context: Contexts
) -> None:
    """What a telephone recorded sideways stands as a player shows it, in every picture."""
    source = samples.make(samples_folder, "a.mp4", rotate=rotate, pattern="halves", seconds=3)
    board = draw(context, source, 3.0)
    assert board.size == ((120, 160) if rotate % 180 else (160, 120))
    for number in range(3):
        assert is_red(board.at(number, *red))
        assert is_blue(board.at(number, *blue))


@pytest.mark.parametrize(
    ("size", "sar", "rotate", "expected"),
    [
        ("640x360", "1", 0, (160, 90)),
        ("360x640", "1", 0, (90, 160)),
        ("64x48", "1", 0, (64, 48)),
        ("320x240", "2", 0, (160, 60)),
        ("320x240", "1/2", 0, (106, 160)),
        ("320x240", "2", 90, (60, 160)),
        ("1920x16", "1", 0, (160, 2)),
    ],
)
def test_storyboard_pictures_have_the_shown_shape(
    size: str, sar: str, rotate: int, expected: tuple[int, int], samples_folder: Path, context: Contexts
) -> None:
    """Nothing is enlarged, and shapes are those that are shown, also where pixels are not square."""
    extra = ("-vf", f"setsar={sar}")
    source = samples.make(samples_folder, "a.mp4", size=size, rotate=rotate, seconds=0.4, extra=extra)
    assert draw(context, source, 0.4).size == expected


@pytest.mark.parametrize("seconds", [0.04, 0.2])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
def test_a_short_video_gets_one_picture(seconds: float, name: str, samples_folder: Path, context: Contexts) -> None:
    """One frame is enough, and what is shorter than a second is one stretch; also when the header tells nothing."""
    source = samples.make(samples_folder, name, seconds=seconds, audio=False)
    for facts in ({"duration": seconds}, {"duration": None}):
        assert len(draw(context, source, seconds, facts=facts).cues) == 1


def test_a_duration_that_is_too_long_repeats_the_last_picture(samples_folder: Path, context: Contexts) -> None:
    """Where the video is over long before its duration is, its last picture stands for the rest."""
    source = coloured(samples_folder, "a.mp4")
    board = draw(context, source, 1000.0)
    assert len(board.cues) == 1
    assert shown(board.at(0)) == "red"
    assert len(draw(context, source, 10.0).cues) == 8


def test_a_damaged_part_costs_only_its_own_pictures(samples_folder: Path, tmp_path: Path, context: Contexts) -> None:
    """What cannot be decoded in the middle does not cost the pictures before and behind it."""
    data = bytearray(coloured(samples_folder, "a.mkv", "-g", "25").read_bytes())
    middle = len(data) // 2
    data[middle : middle + 200] = bytes(200)
    source = tmp_path / "a.mkv"
    source.write_bytes(data)
    board = draw(context, source, 8.0)
    assert shown(board.at(0)) == "red"
    assert shown(board.at(7)) == "black"


@pytest.mark.parametrize("what", ["nothing", "text", "cut", "sound"])
def test_a_file_without_frames_gets_no_storyboard(
    what: str, samples_folder: Path, tmp_path: Path, context: Contexts
) -> None:
    """A file that shows nothing ends in the step's own refusal, and nothing is left of it."""
    source = tmp_path / "a.mp4"
    video = samples.make(samples_folder, "a.mp4").read_bytes()
    source.write_bytes({"nothing": b"", "text": b"#EXTM3U\n/etc/passwd\n", "cut": video[:200]}.get(what, b""))
    if what == "sound":
        samples.run("-f", "lavfi", "-i", "sine=duration=1", "-c:a", "aac", str(source))
    given = context(source, facts={"duration": 2.0})
    with pytest.raises(StepError) as raised:
        Storyboard().run(given)
    assert raised.value.code == "storyboard_failed"
    assert list(given.output.iterdir()) == []


def test_a_storyboard_of_a_missing_original_has_its_own_reason(tmp_path: Path, context: Contexts) -> None:
    """A missing original is told as such."""
    with pytest.raises(StepError) as raised:
        Storyboard().run(context(tmp_path / "a.mp4"))
    assert raised.value.code == "original_missing"


def test_a_cancelled_storyboard_ends_at_once(samples_folder: Path, context: Contexts) -> None:
    """Whoever cancels does not wait for the pictures."""
    cancelled = threading.Event()
    source = samples.make(samples_folder, "large.mp4", size="1920x1080", seconds=3)

    def report(percent: int) -> None:
        cancelled.set()

    began = Stopwatch()
    with pytest.raises(Cancelled):
        Storyboard().run(context(source, facts={"duration": 3.0}, cancelled=cancelled, report=report))
    assert began.seconds < 30


def test_the_setting_decides_whether_a_storyboard_is_made(tmp_path: Path) -> None:
    """The step is wanted when the setting says so, and never keeps a video from being completed."""
    step = Storyboard()
    assert step.is_wanted(Settings(data_dir=tmp_path, storyboard="on"))
    assert not step.is_wanted(Settings(data_dir=tmp_path, storyboard="off"))
    assert not step.is_required
