"""The probe step on real files: what it says about videos, and that it says no to everything else."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from server.database.models import TaskFile
from server.errors import StepError
from server.pipeline.step import HINTS, Limits
from server.pipeline.steps.probe import Probe
from tests import samples
from tests.bad_videos import PRIVATE, PRIVATE_WORDS, huge_pictures
from tests.harness.waiting import Stopwatch
from tests.pipeline.conftest import Contexts

pytestmark = pytest.mark.turns(3)  # a step and odd videos

CODECS = {
    "mp4": ("h264", "aac"),
    "mov": ("h264", "aac"),
    "mkv": ("h264", "aac"),
    "flv": ("h264", "aac"),
    "avi": ("mpeg4", "mp3"),
    "wmv": ("wmv2", "wmav2"),
    "3gp": ("mpeg4", "aac"),
}


def refusal(context: Contexts, source: Path) -> str:
    with pytest.raises(StepError) as caught:
        Probe().run(context(source))
    return caught.value.code


@pytest.mark.parametrize("extension", samples.FORMATS)
@pytest.mark.turns(1)
def test_every_format_is_probed(extension: str, samples_folder: Path, context: Contexts) -> None:
    """All columns of all seven kinds, and progress that ends at 100."""
    heard: list[int] = []
    found = dict(Probe().run(context(samples.make(samples_folder, f"a.{extension}"), report=heard.append)))
    duration, key_seconds = found.pop("duration"), found.pop("key_seconds")
    assert isinstance(key_seconds, float)
    assert 0 < key_seconds <= 2.1
    assert isinstance(duration, float)
    assert duration == pytest.approx(2, abs=0.15)
    video, audio = CODECS[extension]
    assert found == {
        "width": 320,
        "height": 240,
        "frame_rate": 25.0,
        "container": extension,
        "video_codec": video,
        "audio_codec": audio,
        "audio_tracks": 1,
        "hdr": False,
        "variable_frame_rate": False,
    }
    assert heard == sorted(heard)
    assert heard[-1] == 100


@pytest.mark.parametrize("extension", ["mp4", "mkv", "avi"])
def test_time_between_key_frames_is_a_hint(extension: str, samples_folder: Path, context: Contexts) -> None:
    """A key frame every tenth of 25 frames a second is one in 0.4 s; the hint has no column."""
    source = samples.make(samples_folder, f"keys.{extension}", extra=("-g", "10", "-sc_threshold", "0"))
    assert Probe().run(context(source))["key_seconds"] == pytest.approx(0.4, abs=0.01)
    assert not HINTS & set(TaskFile.__table__.columns.keys())


@pytest.mark.parametrize(("rotate", "size"), [(0, (320, 240)), (90, (240, 320)), (180, (320, 240)), (270, (240, 320))])
def test_width_and_height_are_those_after_rotation(
    rotate: int, size: tuple[int, int], samples_folder: Path, context: Contexts
) -> None:
    """A quarter turn swaps them."""
    found = Probe().run(context(samples.make(samples_folder, "a.mov", rotate=rotate)))
    assert (found["width"], found["height"]) == size


def test_a_video_without_audio_has_no_audio_codec(samples_folder: Path, context: Contexts) -> None:
    """Without sound the audio codec is None, and there is no track."""
    found = Probe().run(context(samples.make(samples_folder, "a.mp4", audio=False)))
    assert (found["audio_codec"], found["audio_tracks"]) == (None, 0)


@pytest.mark.parametrize("extension", ["mp4", "mkv"])
def test_all_audio_tracks_are_counted(extension: str, samples_folder: Path, tmp_path: Path, context: Contexts) -> None:
    """All are counted; the codec is the first one's."""
    video, source = samples.make(samples_folder, f"a.{extension}"), tmp_path / f"a.{extension}"
    tracks = ("-map", "0:v", *("-map", "0:a") * 3)
    samples.run(
        "-i", str(video), *tracks, "-c:v", "copy", "-c:a:0", "ac3", "-c:a:1", "aac", "-c:a:2", "mp2", str(source)
    )
    found = Probe().run(context(source))
    assert (found["audio_codec"], found["audio_tracks"]) == ("ac3", 3)


@pytest.mark.parametrize("extension", ["mkv", "flv"])
def test_a_recording_without_a_complete_header_is_playable(
    extension: str, samples_folder: Path, tmp_path: Path, context: Contexts
) -> None:
    """A recording whose header was never completed is playable; its duration is right or None."""
    source = samples.make(samples_folder, f"a.{extension}", audio=False)
    streamed = tmp_path / f"streamed.{extension}"
    live = ("-live", "1") if extension == "mkv" else ("-flvflags", "no_duration_filesize")
    muxer = "matroska" if extension == "mkv" else "flv"
    samples.run("-i", str(source), "-c", "copy", *live, "-f", muxer, str(streamed))
    found = Probe().run(context(streamed))
    assert found["width"] == 320
    assert found["duration"] is None or found["duration"] == pytest.approx(2, abs=0.2)


@pytest.mark.parametrize(
    ("depth", "transfer", "primaries", "expected"),
    [
        ("10le", "smpte2084", "bt2020", True),
        ("10le", "arib-std-b67", "bt2020", True),
        ("", "arib-std-b67", "bt2020", True),
        ("10le", "bt2020-10", "bt2020", False),
        ("10le", "bt709", "bt709", False),
        ("", None, None, False),
    ],
)
@pytest.mark.parametrize("extension", ["mp4", "mkv"])
def test_pq_and_hlg_are_high_dynamic_range(
    depth: str,
    transfer: str | None,
    primaries: str | None,
    expected: bool,
    extension: str,
    samples_folder: Path,
    context: Contexts,
) -> None:
    """PQ and HLG are; many bits or wide colours alone are not."""
    extra: tuple[str, ...] = ("-pix_fmt", f"yuv420p{depth}", "-preset", "ultrafast")
    if transfer and primaries:
        colours = f"colorprim={primaries}:transfer={transfer}:colormatrix=bt709"
        extra += ("-color_trc", transfer, "-color_primaries", primaries, "-x264-params", colours)
    source = samples.make(samples_folder, f"a.{extension}", seconds=0.4, audio=False, extra=extra)
    assert Probe().run(context(source))["hdr"] is expected


@pytest.mark.sampled(6)
@pytest.mark.parametrize("extension", ["mp4", "mkv", "flv", "mov"])
@pytest.mark.parametrize("rate", ["24000/1001", "30000/1001", "60", "240", "1"])
def test_rounded_frame_times_are_a_constant_rate(
    rate: str, extension: str, samples_folder: Path, context: Contexts
) -> None:
    """Times that are only rounded are even, with frames that are stored in another order, too."""
    frames = ("-r", rate, "-vsync", "cfr", "-frames:v", "40", "-bf", "3", "-preset", "medium")
    source = samples.make(samples_folder, f"a.{extension}", size="64x48", seconds=41, audio=False, extra=frames)
    assert Probe().run(context(source))["variable_frame_rate"] is False


@pytest.mark.parametrize("before", [300, 303])
def test_frames_that_were_not_read_are_not_gaps(before: int, samples_folder: Path, context: Contexts) -> None:
    """Of a longer video, frames that are shown between those that were read may be stored behind them."""
    order = ("-bf", "7", "-b_strategy", "0", "-g", str(before), "-sc_threshold", "0", "-preset", "veryfast")
    source = samples.make(samples_folder, "a.mp4", size="64x48", seconds=14, audio=False, extra=order)
    assert Probe().run(context(source))["variable_frame_rate"] is False


@pytest.mark.parametrize("extension", samples.FORMATS)
def test_missing_frames_are_a_variable_rate(extension: str, samples_folder: Path, context: Contexts) -> None:
    """Every fifth frame is missing."""
    fewer = ("-vf", "select='mod(n,5)'", "-vsync", "vfr")
    source = samples.make(samples_folder, f"a.{extension}", size="64x48", audio=False, extra=fewer)
    assert Probe().run(context(source))["variable_frame_rate"] is True


def test_a_late_change_of_the_frame_rate_is_found(samples_folder: Path, context: Contexts) -> None:
    """A recording of a screen that stands still after its first 16 s: the MP4's index tells."""
    slower = ("-vf", "setpts='if(lt(N,400),N/25,16+(N-400)/5)/TB'", "-vsync", "vfr")
    source = samples.make(samples_folder, "a.mp4", size="64x48", seconds=18, audio=False, extra=slower)
    assert Probe().run(context(source))["variable_frame_rate"] is True


@pytest.mark.parametrize("frames", [1, 4])
def test_a_few_frames_have_no_known_rate(frames: int, samples_folder: Path, context: Contexts) -> None:
    """Nothing is said of the rate of a handful of frames."""
    source = samples.make(samples_folder, "a.mp4", audio=False, extra=("-frames:v", str(frames)))
    assert Probe().run(context(source))["variable_frame_rate"] is None


def test_no_fact_has_the_place_or_the_device(samples_folder: Path, context: Contexts) -> None:
    """No place, device or title is among the facts."""
    source = samples.make(samples_folder, "a.mov", extra=PRIVATE)
    assert all(word.encode() in source.read_bytes() for word in PRIVATE_WORDS)
    found = str(Probe().run(context(source)))
    assert not any(word in found for word in PRIVATE_WORDS)


def test_a_rotated_hdr_phone_video_is_probed(samples_folder: Path, context: Contexts) -> None:
    """HEVC in 10 bits with HLG colours, rotated."""
    hdr = ("-pix_fmt", "yuv420p10le", "-color_trc", "arib-std-b67", "-color_primaries", "bt2020")
    source = samples.make(
        samples_folder,
        "hdr.mov",
        codec="libx265",
        rotate=90,
        extra=(*hdr, "-colorspace", "bt2020nc", "-tag:v", "hvc1", "-x265-params", "log-level=none"),
    )
    found = Probe().run(context(source))
    assert (found["width"], found["height"], found["video_codec"], found["hdr"]) == (240, 320, "hevc", True)


def test_an_mp4_with_audio_only_is_not_a_video(tmp_path: Path, context: Contexts) -> None:
    """An MP4 with an MP3 in it has no pictures."""
    sound = tmp_path / "a.mp4"
    samples.run("-f", "lavfi", "-i", "sine=duration=1", "-c:a", "libmp3lame", "-f", "mp4", str(sound))
    assert refusal(context, sound) == "no_video_stream"


def test_cover_art_is_not_a_video(samples_folder: Path, tmp_path: Path, context: Contexts) -> None:
    """A song with a picture has only pictures; a video with one is measured by its video."""
    cover, song, film = tmp_path / "cover.jpg", tmp_path / "song.mp4", tmp_path / "film.mp4"
    samples.run("-f", "lavfi", "-i", "testsrc2=size=64x64", "-frames:v", "1", str(cover))
    attach = ("-c", "copy", "-disposition:v:0", "attached_pic", "-f", "mp4")
    sound = ("-f", "lavfi", "-i", "sine=duration=1")
    samples.run("-i", str(cover), *sound, *attach, "-c:a", "aac", str(song))
    assert refusal(context, song) == "only_pictures"
    video = samples.make(samples_folder, "a.mp4")
    samples.run("-i", str(cover), "-i", str(video), "-map", "0", "-map", "1", *attach, str(film))
    found = Probe().run(context(film))
    assert (found["width"], found["video_codec"]) == (320, "h264")


def test_an_unknown_codec_is_named(samples_folder: Path, tmp_path: Path, context: Contexts) -> None:
    """Without a decoder the sentence speaks of the codec, not of the file."""
    unknown = tmp_path / "a.mp4"
    unknown.write_bytes(samples.make(samples_folder, "a.mp4").read_bytes().replace(b"avc1", b"zzz1"))
    assert refusal(context, unknown) == "codec_unsupported"


@pytest.mark.parametrize("extension", samples.FORMATS)
@pytest.mark.parametrize("content", [b"", b"\0", b"just text\n" * 1000, bytes(100_000)])
def test_text_and_zeros_are_not_a_video(extension: str, content: bytes, tmp_path: Path, context: Contexts) -> None:
    """Nothing, one byte, text and zeros, whatever they call themselves."""
    source = tmp_path / f"a.{extension}"
    source.write_bytes(content)
    assert refusal(context, source) in ("not_playable", "no_video_stream")


def test_an_mp4_without_its_index_is_not_playable(samples_folder: Path, tmp_path: Path, context: Contexts) -> None:
    """An MP4 whose index never arrived is not playable."""
    whole = samples.make(samples_folder, "a.mp4").read_bytes()
    source = tmp_path / "a.mp4"
    source.write_bytes(whole[: whole.index(b"moov") - 4])
    assert refusal(context, source) == "not_playable"


def test_a_header_without_frames_is_not_a_video(samples_folder: Path, tmp_path: Path, context: Contexts) -> None:
    """A good header alone does not make a video: a frame must be decoded."""
    data = bytearray(samples.make(samples_folder, "a.mp4", audio=False).read_bytes())
    start, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    data[start:end] = bytes(end - start)
    source = tmp_path / "a.mp4"
    source.write_bytes(data)
    assert refusal(context, source) == "not_playable"


@pytest.mark.parametrize("edge", [65535, 16384])
def test_a_decompression_bomb_is_refused_by_the_probe(edge: int, tmp_path: Path, context: Contexts) -> None:
    """A few kilobytes that declare a gigantic picture are refused before memory is taken for it."""
    source = huge_pictures(tmp_path, edge)
    with pytest.raises(StepError) as caught:
        Probe().run(context(source, limits=Limits(seconds=60, memory=512 << 20)))
    assert caught.value.code == "not_playable"


@pytest.mark.parametrize("name", ["-i.mp4", "a:b.mp4", "http:a.mp4", "100%d%03d.mp4", "a\nb.mp4", "视频 *?.mp4"])
def test_file_names_are_never_options_of_the_probe(
    name: str, samples_folder: Path, tmp_path: Path, context: Contexts
) -> None:
    """No name is taken for an option, a protocol or a pattern."""
    source = tmp_path / name
    source.write_bytes(samples.make(samples_folder, "a.mp4").read_bytes())
    assert Probe().run(context(source))["width"] == 320


def test_a_missing_original_has_its_own_reason(tmp_path: Path, context: Contexts) -> None:
    """A file that was removed meanwhile has its own reason."""
    assert refusal(context, tmp_path / "absent.mp4") == "original_missing"


def test_the_probe_reads_no_more_of_a_big_file(samples_folder: Path, context: Contexts) -> None:
    """Megabytes behind the video are not read."""
    source = samples.big(samples_folder, "big.mp4", 64 << 20)
    assert source.stat().st_size >= 64 << 20
    start = Stopwatch()
    assert Probe().run(context(source))["duration"] == 2.0
    assert start.seconds < 5


def test_a_file_of_unknown_type_is_not_probed() -> None:
    """A file of unknown type, which an operator may allow, is not probed."""
    assert not Probe().applies_to(None)


def test_the_parent_loads_no_decoder() -> None:
    """Importing the steps does not import PyAV: a fault in a decoder stays in the child."""
    script = "import sys, server.pipeline.order; sys.exit('av' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[2], check=False).returncode == 0


def test_threads_may_share_a_step(samples_folder: Path, context: Contexts) -> None:
    """Steps have no state: threads may share them."""
    source = samples.make(samples_folder, "a.mp4")
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(Probe().run(context(source))["width"])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [320] * 4
