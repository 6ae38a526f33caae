"""The step `mp4` on real files, with the system's FFmpeg and with the wheel's."""

import errno
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest

from server.errors import StepError
from server.pipeline.media import ffmpeg
from server.pipeline.step import Cancelled, Limits
from server.pipeline.steps.mp4 import Mp4
from server.settings import Settings
from tests import bad_videos, samples
from tests.harness.waiting import PATIENCE, Stopwatch
from tests.pipeline import media
from tests.pipeline.conftest import Contexts
from tests.pipeline.sources import SOURCES, Made

pytestmark = pytest.mark.turns(3)  # a step and odd videos

DONE = {"has_mp4": True, "playable": True}
PLACE = b"+50.0755+014.4378/"


@pytest.fixture(params=["system", "bundled"])
def binary(request: pytest.FixtureRequest) -> str:
    return ffmpeg.find(request.param)


def make(context: Contexts, source: Path, **changes: object) -> Path:
    """Run the step and look at what it made, which is all there is."""
    given = context(source, **changes)
    assert Mp4().run(given) == DONE
    assert [path.name for path in given.output.iterdir()] == ["video.mp4"]
    return given.output / "video.mp4"


def was_copied(made: Path) -> bool:
    """Whether the pictures are those of the source: ours begin with a remark of our encoder, which has a bound."""
    return b"vbv_maxrate=" not in made.read_bytes()


@pytest.mark.sampled(6)
@pytest.mark.parametrize("kind", SOURCES, ids=lambda kind: kind.name)
@pytest.mark.turns(1)
def test_every_format_gets_an_mp4_for_every_browser(kind: Made, samples_folder: Path, context: Contexts) -> None:
    """H.264 in 8 bits and AAC, index first, of the shown size and length, without an error from start to end."""
    source, binary = kind.make(samples_folder), ffmpeg.find("system" if SOURCES.index(kind) % 2 else "bundled")
    facts = {"duration": kind.seconds} if kind.facts is None else dict(kind.facts)
    made = make(context, source, ffmpeg=binary, facts=facts)
    media.check_plays(made)
    found = media.judge(made)
    assert (found.video["codec_name"], found.video["codec_tag_string"]) == ("h264", "avc1")
    assert found.video["pix_fmt"] in (("yuv420p", "yuvj420p") if kind.how == "copied" else ("yuv420p",))
    assert [(one["codec_name"], one["channels"] <= 2) for one in found.audio] == [("aac", True)] * kind.audio
    assert found.size == kind.size
    assert found.duration == pytest.approx(kind.seconds, abs=0.15)
    assert media.atoms(made)[:2] == ["ftyp", "moov"]
    assert was_copied(made) == (kind.how == "copied")
    if kind.how == "encoded":
        assert found.rotation == 0
        assert found.video.get("sample_aspect_ratio", "1:1") == "1:1"
        assert found.video.get("color_transfer") not in ("smpte2084", "arib-std-b67")
        assert found.video.get("field_order", "progressive") == "progressive"
    if kind.how == "encoded" and kind.frame_rate:
        assert len(media.packets(made)) == pytest.approx(kind.frame_rate * kind.seconds, abs=2)


def test_frames_keep_their_times(samples_folder: Path, context: Contexts) -> None:
    """Frames that come unevenly are shown when they were, to the millisecond; nothing is filled up."""
    for name in ("jitter.mkv", "sparse.mkv"):
        source = next(kind for kind in SOURCES if kind.name == name).make(samples_folder)
        before, after = media.frame_times(source), media.frame_times(make(context, source))
        assert len(after) == len(before)
        assert [time - after[0] for time in after] == pytest.approx([time - before[0] for time in before], abs=0.002)


def test_at_most_60_frames_a_second(samples_folder: Path, context: Contexts) -> None:
    """Of frames that come in bursts, none follows another sooner than a screen shows it."""
    source = samples_folder / "bursts.mkv"
    burst = "testsrc2=size=320x240:rate=240:duration=2,select='lt(mod(n,24),12)+not(mod(n,24)-18)'"
    samples.run("-f", "lavfi", "-i", burst, "-c:v", "ffv1", "-fps_mode", "passthrough", str(source))
    times = media.frame_times(make(context, source))
    assert min(b - a for a, b in pairwise(times)) > 1 / 63
    assert len(times) > 60


@pytest.mark.sampled(3)
@pytest.mark.parametrize("rotate", [90, 180, 270])
@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_a_rotated_video_is_upright_in_the_mp4(
    codec: str, rotate: int, binary: str, samples_folder: Path, context: Contexts
) -> None:
    """What a telephone recorded sideways stands upright, be it copied or encoded."""
    tag = ("-tag:v", "hvc1", "-x265-params", "log-level=none") if codec == "libx265" else ()
    source = samples.make(
        samples_folder, "a.mp4", rotate=rotate, pattern="halves", codec=codec, audio=False, seconds=0.5, extra=tag
    )
    made = make(context, source, ffmpeg=binary)
    assert media.judge(made).size == media.judge(source).size
    places = ((0.5, 0.1), (0.5, 0.9), (0.1, 0.5), (0.9, 0.5))
    for found, expected in zip(media.colours(made, *places), media.colours(source, *places), strict=True):
        assert found == pytest.approx(expected, abs=24)


@pytest.mark.sampled(1)
def test_hdr_is_mapped_to_sdr_in_the_mp4(binary: str, samples_folder: Path, context: Contexts) -> None:
    """A high dynamic range is mapped: said to be BT.709, and neither washed out nor black."""
    source = samples_folder / "white.mov"
    # 58% of the PQ scale is paper (203 cd/m2, ITU-R BT.2408), on the left; 75% is a light (1000 cd/m2), on the right.
    shades = [
        f"color=size=160x240:rate=25:duration=0.4,format=yuv420p10le,lutyuv=y=64+876*{level}:u=512:v=512[{name}]"
        for name, level in (("paper", 0.58), ("light", 0.75))
    ]
    samples.run(
        *("-filter_complex", ";".join([*shades, "[paper][light]hstack"])),
        *("-c:v", "libx265", "-x265-params", "log-level=none", "-tag:v", "hvc1"),
        *("-color_primaries", "bt2020", "-colorspace", "bt2020nc", "-color_trc", "smpte2084", str(source)),
    )
    made = make(context, source, ffmpeg=binary)
    video = media.judge(made).video
    assert {video[name] for name in ("color_space", "color_transfer", "color_primaries")} == {"bt709"}
    paper, light = (min(media.colour(made, x, 0.5)) for x in (0.2, 0.8))
    assert 160 < paper < light - 10


def test_without_the_tone_filter_an_mp4_is_made(samples_folder: Path, tmp_path: Path, context: Contexts) -> None:
    """An FFmpeg that cannot map tones makes a video all the same."""
    poor = tmp_path / "ffmpeg"
    poor.write_text(f'#!/bin/sh\ncase "$*" in *zscale*) exit 8;; esac\nexec {ffmpeg.find("system")} "$@"\n')
    poor.chmod(0o755)
    source = next(kind for kind in SOURCES if kind.name == "pq.mov").make(samples_folder)
    video = media.judge(make(context, source, ffmpeg=str(poor))).video
    assert video["color_transfer"] == "bt709"


@pytest.mark.parametrize("default", [0, 1])
def test_the_default_audio_track_is_used(default: int, samples_folder: Path, context: Contexts) -> None:
    """Of several tracks the one is taken that the file names as its default."""
    source = samples_folder / f"tracks-{default}.mkv"
    tones = [("-f", "lavfi", "-i", f"sine=frequency={hz}:duration=2") for hz in (300, 900)]
    video = samples.make(samples_folder, "a.mp4", audio=False)
    samples.run(
        *("-i", str(video), *tones[0], *tones[1], "-map", "0", "-map", "1", "-map", "2", "-c:v", "copy"),
        *("-c:a", "aac", "-disposition:a", "0", f"-disposition:a:{default}", "default", str(source)),
    )
    assert media.loudest(make(context, source)) == pytest.approx((300, 900)[default], abs=10)


def test_audio_and_video_stay_in_sync(samples_folder: Path, context: Contexts) -> None:
    """What begins later begins later in the result, too."""
    for name, late in (("late-sound.mkv", "a:0"), ("late-video.mkv", "v:0")):
        source = next(kind for kind in SOURCES if kind.name == name).make(samples_folder)
        made = make(context, source)
        if late == "a:0":  # filled up with silence
            assert media.packets(made, "a:0")[0]["pts_time"].startswith(("0.0", "-0.0"))
            assert media.loudest(made) < 20
        else:  # the first picture stands
            assert float(media.packets(made)[0]["pts_time"]) < 0.1
            assert len(media.packets(made)) == pytest.approx(75, abs=2)


@pytest.mark.sampled(1)
def test_an_empty_audio_track_does_not_fail_the_mp4(samples_folder: Path, binary: str, context: Contexts) -> None:
    """A sound track that is announced and has not one packet does not cost the pictures."""
    source = samples_folder / "empty-track.mkv"
    video = samples.make(
        samples_folder, "a.mp4", codec="libx265", audio=False, extra=("-x265-params", "log-level=none")
    )
    samples.run(
        *("-i", str(video), "-f", "lavfi", "-i", "sine=duration=2", "-map", "0", "-map", "1", "-c:v", "copy"),
        *("-c:a", "libmp3lame", "-af", "atrim=start=10", str(source)),
    )
    made = make(context, source, ffmpeg=binary)
    media.check_plays(made)
    assert media.judge(made).duration == pytest.approx(2, abs=0.2)


def test_a_video_beyond_the_setting_is_scaled_down(samples_folder: Path, context: Contexts) -> None:
    """Beyond the setting a video is not copied; upright ones are measured by their width."""
    for rotate, size in ((0, (256, 144)), (90, (144, 256))):
        source = samples.make(samples_folder, "a.mp4", size="640x360", rotate=rotate, seconds=0.4)
        made = make(context, source, settings={"transcode_max_height": 144})
        assert media.judge(made).size == size
        made.unlink()


@pytest.mark.sampled(1)
def test_the_mp4_has_no_metadata_of_the_source(binary: str, samples_folder: Path, context: Contexts) -> None:
    """No place, title, date, chapter or remark of the camera is in the result, be it copied or encoded."""
    place, title = f"location={PLACE.decode()}", "title=Private"
    private = ("-metadata", place, "-metadata", title, "-metadata:s:v", title)
    date = ("-metadata", "creation_time=2001-02-03T04:05:06", "-metadata", "com.apple.quicktime.make=Private")
    # A remark in the stream itself: H.264's SEI, "unregistered user data".
    remark = "h264_metadata=sei_user_data=086f3693-b7b3-4f2c-9653-21492feee5b8+Private" + PLACE.decode()
    for codec, extra in (("libx264", ("-bsf:v", remark)), ("mpeg4", ())):
        source = samples.make(
            samples_folder, "a.mp4", codec=codec, extra=(*private, *date, "-movflags", "use_metadata_tags", *extra)
        )
        assert PLACE in source.read_bytes()
        made = make(context, source, ffmpeg=binary)
        assert was_copied(made) == (codec == "libx264")
        data = made.read_bytes()
        assert [word for word in (PLACE, PLACE[1:8], b"Private") if word in data] == []
        found = media.judge(made)
        assert "creation_time" not in str(found)
        made.unlink()


def test_a_copy_that_does_not_play_is_encoded(samples_folder: Path, tmp_path: Path, context: Contexts) -> None:
    """When copying fails, or gives nothing that plays, the video is encoded."""
    source = samples.make(samples_folder, "a.mp4")
    for number, trick in enumerate(("exit 1", "exec head -c 5000 /dev/zero > video.mp4")):
        sly = tmp_path / f"ffmpeg-{number}"
        sly.write_text(f'#!/bin/sh\ncase "$*" in *\'v copy\'*) {trick};; esac\nexec {ffmpeg.find("system")} "$@"\n')
        sly.chmod(0o755)
        made = make(context, source, ffmpeg=str(sly))
        media.check_plays(made)
        assert not was_copied(made)
        made.unlink()


@pytest.mark.sampled(1)
def test_a_truncated_video_gets_an_mp4_of_what_it_has(
    binary: str, samples_folder: Path, tmp_path: Path, context: Contexts
) -> None:
    """What there is of it can be played."""
    whole = samples.make(samples_folder, "a.mkv", seconds=4).read_bytes()
    source = tmp_path / "a.mkv"
    source.write_bytes(whole[: len(whole) // 2])
    made = make(context, source, ffmpeg=binary, facts={"duration": 4.0})
    media.check_plays(made)
    assert 1 < media.judge(made).duration < 3.5


@pytest.mark.parametrize("content", [b"", b"just text", bytes(10_000)])
def test_a_file_without_frames_gets_a_reason_and_no_mp4(content: bytes, tmp_path: Path, context: Contexts) -> None:
    """Without a frame there is a reason, and nothing lies about."""
    source = tmp_path / "a.mp4"
    source.write_bytes(content)
    given = context(source)
    with pytest.raises(StepError) as caught:
        Mp4().run(given)
    assert caught.value.code == "not_playable"
    assert list(given.output.iterdir()) == []


def test_a_decompression_bomb_is_not_decoded_for_the_mp4(
    samples_folder: Path, tmp_path: Path, context: Contexts
) -> None:
    """A frame beyond the bound is not decoded."""
    with pytest.raises(StepError) as caught:
        Mp4().run(context(bad_videos.huge_pictures(tmp_path, 16384)))
    assert caught.value.code == "not_playable"


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", ["-i.mp4", "a:b.mkv", "http:a.mp4", "100%d%03d.mp4", "a\nb.mp4", "视频 *?.mp4"])
def test_file_names_are_never_options_of_the_mp4_step(
    name: str, binary: str, samples_folder: Path, tmp_path: Path, context: Contexts
) -> None:
    """Neither the video's name nor the output's is taken for an option, a protocol or a pattern."""
    source, output = tmp_path / name, tmp_path / f"{name} out"
    source.write_bytes(samples.make(samples_folder, f"a{source.suffix}").read_bytes())
    output.mkdir()
    media.check_plays(make(context, source, ffmpeg=binary, output=output))


def test_the_progress_of_the_mp4_rises_to_100(samples_folder: Path, context: Contexts) -> None:
    """The percent comes from FFmpeg, rises, and ends with 100."""
    heard: list[int] = []
    source = samples.make(samples_folder, "b.mp4", loops=6, size="1280x720", codec="mpeg4")
    make(context, source, facts={"duration": 12.0}, report=heard.append)
    assert heard == sorted(heard)
    assert heard[-1] == 100
    assert any(10 < percent < 95 for percent in heard)


@pytest.mark.sampled(1)
def test_a_cancel_ends_the_mp4_within_two_seconds(binary: str, samples_folder: Path, context: Contexts) -> None:
    """Well within 2 s of the wish all is over (processes: see conftest)."""
    cancelled, started = threading.Event(), threading.Event()
    source = samples.make(samples_folder, "long.mp4", loops=10, size="1920x1080", codec="mpeg4", audio=False)
    given = context(
        source,
        ffmpeg=binary,
        cancelled=cancelled,
        report=lambda percent: started.set(),
        facts={"duration": 20.0},
        settings={"transcode_preset": "slow"},
    )
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(Mp4().run, given)
        assert started.wait(PATIENCE)
        start = Stopwatch()
        cancelled.set()
        with pytest.raises(Cancelled):
            running.result(PATIENCE)
        assert start.seconds < 2


def test_the_mp4_ends_after_transcode_time_limit(samples_folder: Path, tmp_path: Path, context: Contexts) -> None:
    """An FFmpeg that hangs is ended after `transcode_time_limit`, and the reason is time."""
    limits = Mp4().limits(Settings(transcode_time_limit=2, step_time_limit=600))
    assert (limits.seconds, limits.memory) == (2, 4 << 30)
    hanging = tmp_path / "ffmpeg"
    hanging.write_text("#!/bin/sh\nexec sleep 600\n")
    hanging.chmod(0o755)
    with pytest.raises(StepError) as caught:
        Mp4().run(context(samples.make(samples_folder, "a.mp4"), ffmpeg=str(hanging), limits=limits))
    assert (caught.value.code, caught.value.params) == ("step_timeout", {"seconds": 2})


def test_too_little_memory_is_the_reason_of_a_failed_mp4(samples_folder: Path, context: Contexts) -> None:
    """When the decoders do not fit, the reason is memory and not the video."""
    source, limits = samples.make(samples_folder, "a.mp4"), Limits(seconds=60, memory=160 << 20)
    with pytest.raises(StepError) as caught:
        Mp4().run(context(source, limits=limits))
    assert (caught.value.code, caught.value.params) == ("step_memory", {"limit": "160 MiB"})


def test_an_mp4_that_grows_without_end_is_stopped(samples_folder: Path, tmp_path: Path, context: Contexts) -> None:
    """An FFmpeg that writes without end is ended: a small upload cannot fill the disk."""
    endless = tmp_path / "ffmpeg"
    endless.write_text("#!/bin/sh\nexec cat /dev/zero > video.mp4\n")
    endless.chmod(0o755)
    given = context(samples.make(samples_folder, "a.mp4"), ffmpeg=str(endless))
    with pytest.raises(StepError) as caught:
        Mp4().run(given)
    assert caught.value.code == "transcode_too_large"
    assert (given.output / "video.mp4").stat().st_size < 1 << 30


def test_a_full_disk_is_retried_and_the_video_not_blamed(
    samples_folder: Path, tmp_path: Path, context: Contexts
) -> None:
    """ENOSPC comes out as the machine's error, so that it is tried again."""
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(small)], check=True)
    try:
        with pytest.raises(OSError) as caught:
            Mp4().run(context(samples.make(samples_folder, "a.mp4", size="640x480"), output=small))
    finally:
        subprocess.run(["umount", str(small)], check=True)
    assert caught.value.errno == errno.ENOSPC


def test_the_setting_decides_whether_an_mp4_is_made() -> None:
    """Of the setting's four words two want it."""
    wanted = [word for word in ("none", "mp4", "hls", "both") if Mp4().is_wanted(Settings(transcode=word))]
    assert wanted == ["mp4", "both"]


@pytest.mark.sampled(1)
@pytest.mark.parametrize("place", [10, 40])
def test_camera_remarks_are_removed_from_a_copy(
    place: int, samples_folder: Path, tmp_path: Path, context: Contexts
) -> None:
    """A remark of the camera in any one frame is taken out, and the video still copied."""
    pieces = []
    remark = "h264_metadata=sei_user_data=086f3693-b7b3-4f2c-9653-21492feee5b8+Private"
    video = samples.make(samples_folder, "a.mp4", audio=False, extra=("-g", "10", "-bf", "0"))
    for number, (start, extra) in enumerate(((0, ()), (place, ("-bsf:v", remark)))):
        pieces.append(tmp_path / f"{number}.mp4")
        samples.run("-ss", str(start / 25), "-i", str(video), "-c", "copy", *extra, str(pieces[-1]))
    listed, source = tmp_path / "list.txt", tmp_path / "remarks.mp4"
    listed.write_text("".join(f"file '{piece}'\n" for piece in pieces))
    samples.run("-f", "concat", "-safe", "0", "-i", str(listed), "-c", "copy", str(source))
    assert b"Private" in source.read_bytes()
    made = make(context, source)
    assert b"Private" not in made.read_bytes()
    assert b"x264" not in made.read_bytes(), "it was encoded"
    media.check_plays(made)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", ["big.mp4", "big.mkv", "big.mov"])
def test_a_large_copy_has_its_index_first_and_is_written_once(
    name: str, binary: str, samples_folder: Path, context: Contexts
) -> None:
    """The index of a long copy gets its place before it is known how long it will be, and is first all the same."""
    base = samples.make(samples_folder, "a.mp4", size="1280x720")
    source, encoded = samples_folder / f"long-{name}", samples_folder / "long.mkv"
    if not encoded.exists():
        noise = (
            "-vf",
            "noise=alls=60:allf=t",
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            "-b:v",
            "80M",
            "-c:a",
            "copy",
        )
        samples.run("-stream_loop", "2", "-i", str(base), *noise, str(encoded))
    if not source.exists():
        samples.run("-i", str(encoded), "-c", "copy", str(source))
    assert source.stat().st_size > 32 << 20
    made = make(context, source, ffmpeg=binary)
    assert was_copied(made)
    assert media.atoms(made)[:2] == ["ftyp", "moov"]
    assert media.judge(made).duration == pytest.approx(media.judge(source).duration, abs=0.1)
    media.check_plays(made)
