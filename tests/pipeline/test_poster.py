"""The poster step on real files, with the system's FFmpeg and with the wheel's."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from server import media_types
from server.errors import StepError
from server.pipeline.media import ffmpeg
from server.pipeline.step import Cancelled, Limits
from server.pipeline.steps.poster import Poster
from server.pipeline.steps.probe import Probe
from tests import samples
from tests.bad_videos import huge_pictures
from tests.harness.waiting import PATIENCE, Stopwatch
from tests.pipeline.conftest import Contexts
from tests.pipeline.pictures import Picture, is_blue, is_red

pytestmark = pytest.mark.turns(3)  # a step and odd videos


@pytest.fixture(params=["system", "bundled"])
def binary(request: pytest.FixtureRequest) -> str:
    return ffmpeg.find(request.param)


def take(context: Contexts, source: Path, **changes: object) -> Picture:
    """Run the poster step and look at what it made, which is all there is."""
    given = context(source, **changes)
    assert Poster().run(given) == {"has_poster": True, "poster_from": None}
    assert [path.name for path in given.output.iterdir()] == ["poster.jpg"]
    return Picture(given.output / "poster.jpg")


@pytest.mark.sampled(7)
@pytest.mark.parametrize("extension", samples.FORMATS)
def test_every_format_gets_a_poster(extension: str, binary: str, samples_folder: Path, context: Contexts) -> None:
    """Behind the probe, on all seven kinds: a poster of the video's size, progress by quarters."""
    heard: list[int] = []
    source = samples.make(samples_folder, f"a.{extension}")
    facts: dict[str, object] = {}
    for step in (Probe(), Poster()):
        assert step.applies_to(media_types.by_name(source.name))
        heard.clear()
        facts |= step.run(context(source, ffmpeg=binary, facts=dict(facts), report=heard.append))
    assert facts["has_poster"] is True
    assert heard == [25, 50, 75, 100, 100]
    poster = Picture(context(source).output / "poster.jpg")
    assert (poster.width, poster.height) == (320, 240)


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("rotate", "red", "blue"),
    [
        (0, (0.5, 0.1), (0.5, 0.9)),
        (90, (0.9, 0.5), (0.1, 0.5)),
        (180, (0.5, 0.9), (0.5, 0.1)),
        (270, (0.1, 0.5), (0.9, 0.5)),
    ],
)
def test_the_poster_of_a_rotated_video_is_upright(
    rotate: int,
    red: tuple[float, float],
    blue: tuple[float, float],
    binary: str,
    samples_folder: Path,
    context: Contexts,
) -> None:
    """What a telephone recorded sideways stands as a player shows it."""
    source = samples.make(samples_folder, "a.mp4", rotate=rotate, pattern="halves")
    poster = take(context, source, ffmpeg=binary, facts={"duration": 2.0})
    assert (poster.width, poster.height) == ((240, 320) if rotate % 180 else (320, 240))
    assert is_red(poster.at(*red))
    assert is_blue(poster.at(*blue))


@pytest.mark.sampled(8)
@pytest.mark.parametrize(
    ("size", "sar", "rotate", "edge", "expected"),
    [
        ("320x240", "1", 0, 320, (320, 240)),
        ("320x240", "1", 0, 160, (160, 120)),
        ("240x320", "1", 0, 160, (120, 160)),
        ("320x240", "1", 0, 8192, (320, 240)),
        ("320x240", "1", 90, 100, (75, 100)),
        # Pixels that are not square: shown wider or narrower than stored.
        ("320x240", "2", 0, 1280, (640, 240)),
        ("320x240", "2", 0, 320, (320, 120)),
        ("320x240", "1/2", 0, 1280, (160, 240)),
        ("320x240", "2", 90, 1280, (120, 320)),
        ("720x576", "64/45", 0, 1280, (1024, 576)),
        ("1920x128", "1", 0, 16, (16, 1)),
    ],
)
def test_the_poster_has_the_shown_shape_and_a_bounded_size(
    size: str,
    sar: str,
    rotate: int,
    edge: int,
    expected: tuple[int, int],
    binary: str,
    samples_folder: Path,
    context: Contexts,
) -> None:
    """The longest edge is bounded, nothing is enlarged, and shapes are those that are shown."""
    extra = ("-vf", f"setsar={sar}")
    source = samples.make(samples_folder, "a.mp4", size=size, rotate=rotate, seconds=0.4, extra=extra)
    poster = take(context, source, ffmpeg=binary, settings={"poster_size": edge}, facts={"duration": 0.4})
    assert (poster.width, poster.height) == expected


@pytest.mark.parametrize("known", [True, False])
def test_a_black_intro_is_passed_over(known: bool, binary: str, samples_folder: Path, context: Contexts) -> None:
    """A film that is black for its first part still gets a picture, even if its duration is not known."""
    source = samples.make(samples_folder, "a.mp4", seconds=4, black_intro=2.5, pattern="halves")
    poster = take(context, source, ffmpeg=binary, facts={"duration": 4.0 if known else None})
    assert is_red(poster.at(0.5, 0.1))


@pytest.mark.sampled(3)
@pytest.mark.parametrize("duration", [0.04, 1000.0, None])
def test_a_video_of_one_frame_gets_a_poster(
    duration: float | None, binary: str, samples_folder: Path, context: Contexts
) -> None:
    """A video of one frame, and one whose duration is far off, have a poster from their start."""
    source = samples.make(samples_folder, "a.mp4", seconds=0.04, audio=False)
    assert take(context, source, ffmpeg=binary, facts={"duration": duration}).width == 320


def test_an_hdr_phone_video_gets_a_poster(binary: str, samples_folder: Path, context: Contexts) -> None:
    """HEVC in 10 bits with HLG colours gives a poster; tones may differ, shapes may not."""
    hdr = ("-pix_fmt", "yuv420p10le", "-color_trc", "arib-std-b67", "-color_primaries", "bt2020")
    source = samples.make(
        samples_folder,
        "hdr.mov",
        codec="libx265",
        rotate=90,
        extra=(*hdr, "-colorspace", "bt2020nc", "-tag:v", "hvc1", "-x265-params", "log-level=none"),
    )
    poster = take(context, source, ffmpeg=binary, facts={"duration": 2.0})
    assert (poster.width, poster.height) == (240, 320)


@pytest.mark.sampled(1)
def test_cover_art_is_no_poster(binary: str, samples_folder: Path, tmp_path: Path, context: Contexts) -> None:
    """The poster is of the video, though a picture stands before it in the file."""
    cover, film = tmp_path / "cover.jpg", tmp_path / "film.mp4"
    samples.run("-f", "lavfi", "-i", "color=green:size=640x640", "-frames:v", "1", str(cover))
    video = samples.make(samples_folder, "a.mp4", pattern="halves")
    both = ("-i", str(cover), "-i", str(video), "-map", "0", "-map", "1", "-c", "copy")
    samples.run(*both, "-disposition:v:0", "attached_pic", str(film))
    poster = take(context, film, ffmpeg=binary, facts={"duration": 2.0})
    assert poster.width == 320
    assert is_red(poster.at(0.5, 0.1))


def test_a_truncated_video_gets_an_earlier_frame_as_poster(
    binary: str, samples_folder: Path, tmp_path: Path, context: Contexts
) -> None:
    """Where the later part cannot be read, an earlier frame is taken."""
    whole = samples.make(samples_folder, "a.mkv", seconds=4).read_bytes()
    source = tmp_path / "a.mkv"
    source.write_bytes(whole[: len(whole) // 3])
    assert take(context, source, ffmpeg=binary, facts={"duration": 4.0}).width == 320


@pytest.mark.parametrize("content", [b"", b"just text", bytes(10_000)])
def test_a_file_without_frames_is_poster_failed(content: bytes, binary: str, tmp_path: Path, context: Contexts) -> None:
    """Without any frame the reason is poster_failed, and nothing lies about."""
    source = tmp_path / "a.mp4"
    source.write_bytes(content)
    given = context(source, ffmpeg=binary, facts={"duration": 10.0})
    with pytest.raises(StepError) as caught:
        Poster().run(given)
    assert caught.value.code == "poster_failed"
    assert list(given.output.iterdir()) == []


def test_a_decompression_bomb_is_not_decoded_for_the_poster(binary: str, tmp_path: Path, context: Contexts) -> None:
    """FFmpeg obeys the bound on pixels too."""
    with pytest.raises(StepError) as caught:
        Poster().run(context(huge_pictures(tmp_path, 16384), ffmpeg=binary))
    assert caught.value.code == "poster_failed"


def test_too_little_memory_is_the_reason_of_a_failed_poster(samples_folder: Path, context: Contexts) -> None:
    """When not even FFmpeg's libraries fit, the reason is memory and not the video."""
    source, limits = samples.make(samples_folder, "a.mp4"), Limits(seconds=60, memory=160 << 20)
    with pytest.raises(StepError) as caught:
        Poster().run(context(source, ffmpeg=ffmpeg.find("system"), limits=limits))
    assert (caught.value.code, caught.value.params) == ("step_memory", {"limit": "160 MiB"})


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", ["-i.mp4", "a:b.mp4", "http:a.mp4", "100%d%03d.mp4", "a\nb.mp4", "视频 *?.mp4"])
def test_file_names_are_never_options_of_the_poster_step(
    name: str, binary: str, samples_folder: Path, tmp_path: Path, context: Contexts
) -> None:
    """Neither the video's name nor the output's is taken for an option, a protocol or a pattern."""
    source, output = tmp_path / name, tmp_path / f"{name} out"
    source.write_bytes(samples.make(samples_folder, "a.mp4").read_bytes())
    output.mkdir()
    assert take(context, source, ffmpeg=binary, output=output).width == 320


def test_the_poster_has_no_metadata_of_the_source(binary: str, samples_folder: Path, context: Contexts) -> None:
    """Where a video was taken, and with what, does not go into the poster."""
    extra = ("-metadata", "location=+50.0+008.0/", "-metadata", "title=private")
    given = context(samples.make(samples_folder, "a.mp4", extra=extra), ffmpeg=binary)
    Poster().run(given)
    data = (given.output / "poster.jpg").read_bytes()
    assert not any(word in data for word in (b"private", b"+50.0", b"Lavc"))


def test_a_cancelled_poster_leaves_nothing(binary: str, samples_folder: Path, context: Contexts) -> None:
    """A cancel in the midst of it ends FFmpeg and removes what there was (processes: see conftest)."""
    cancelled, started = threading.Event(), threading.Event()

    def report(percent: int) -> None:
        started.set()

    source = samples.make(samples_folder, "long.mp4", loops=10, size="1920x1080", codec="mpeg4", audio=False)
    given = context(source, ffmpeg=binary, cancelled=cancelled, report=report, facts={"duration": 20.0})
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(Poster().run, given)
        assert started.wait(PATIENCE)
        start = Stopwatch()
        cancelled.set()
        with pytest.raises(Cancelled):
            running.result(PATIENCE)
        assert start.seconds < 2
    assert list(given.output.iterdir()) == []


def test_a_poster_ends_after_its_time_limit(samples_folder: Path, tmp_path: Path, context: Contexts) -> None:
    """An FFmpeg that hangs is ended, and the reason is time."""
    hanging = tmp_path / "ffmpeg"
    hanging.write_text("#!/bin/sh\nexec sleep 600\n")
    hanging.chmod(0o755)
    with pytest.raises(StepError) as caught:
        Poster().run(
            context(
                samples.make(samples_folder, "a.mp4"),
                ffmpeg=str(hanging),
                limits=Limits(seconds=2, memory=1 << 30),
            )
        )
    assert (caught.value.code, caught.value.params) == ("step_timeout", {"seconds": 2})
