"""Files that real devices and tools make, and that an earlier version failed on: each kind with its neighbours."""

import struct
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from server.errors import StepError
from server.pipeline.media import ffmpeg
from server.pipeline.sandbox import child
from server.pipeline.step import Limits, Step
from server.pipeline.steps.mp4 import Mp4
from server.pipeline.steps.poster import FILE_NAME, Poster
from server.pipeline.steps.probe import Probe
from server.pipeline.steps.storyboard import Storyboard
from tests import samples
from tests.bad_videos import box
from tests.pipeline import media
from tests.pipeline.conftest import Contexts

BINARIES = ("system", "bundled")
SMALL = "testsrc2=size=64x48:rate=25:duration"


def refusal(step: Step, context: Contexts, source: Path) -> tuple[str, dict[str, object]]:
    with pytest.raises(StepError) as caught:
        step.run(context(source))
    return caught.value.code, dict(caught.value.params)


def film(target: Path, *output: str, seconds: float = 4, sound: bool = True) -> Path:
    """A small video with a key frame each second."""
    tone = ("-f", "lavfi", "-i", f"sine=frequency=440:duration={seconds}") if sound else ()
    codecs = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-pix_fmt", "yuv420p", "-c:a", "aac")
    samples.run("-f", "lavfi", "-i", f"{SMALL}={seconds}", *tone, *codecs, *output, str(target))
    return target


# Memory of the library


@pytest.mark.parametrize("count", [1, 2, 3, 5, 6, 7, 8, 9, 10, 12, 16, 22, 24, 32, 48, 64])
def test_channels_of_any_number(count: int, tmp_path: Path) -> None:
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


@pytest.mark.parametrize("binary", BINARIES)
@pytest.mark.parametrize("rotate", [0, 90])
def test_a_crash_of_the_library_is_not_the_end(
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


def test_a_verdict_is_not_tried_again(tmp_path: Path, context: Contexts) -> None:
    """Only a crash leads to the second way: a file that is no video is judged once."""
    source = tmp_path / "a.mp4"
    source.write_bytes(b"just text\n" * 100)
    heard: list[int] = []
    with pytest.raises(StepError) as caught:
        Probe().run(context(source, report=heard.append))
    assert caught.value.code == "not_playable"


# Values that the library does not know


@pytest.mark.parametrize("kind", [28, 29, 30, 31, 99])
def test_side_data_of_an_unknown_kind(kind: int) -> None:
    """It is passed over; what is known beside it is still read."""
    found = child.run(
        "tests.pipeline.jobs:name_side_data",
        {"kind": kind},
        limits=Limits(seconds=60, memory=4 << 30),
        cancelled=threading.Event(),
        report=lambda _: None,
    )
    assert found["name"] == f"UNKNOWN_{kind}"


def test_a_codec_tag_that_is_no_text(samples_folder: Path, tmp_path: Path, context: Contexts) -> None:
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


@pytest.mark.parametrize("binary", BINARIES)
@pytest.mark.parametrize("name", MATRICES)
def test_every_result_is_turned_alike(
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


# Encryption and codecs


def ebml(kind: str, *content: bytes) -> bytes:
    """An element of Matroska with a size of eight bytes."""
    data = b"".join(content)
    return bytes.fromhex(kind) + (0x0100000000000000 | len(data)).to_bytes(8, "big") + data


def in_track(source: Path, target: Path, added: bytes) -> Path:
    """A Matroska file with one more element at the end of its first track; what held its places is now wrong."""
    data = source.read_bytes()
    tracks = bytes.fromhex("1654ae6b")
    at = data.index(tracks, data.index(tracks) + 1) + 4  # the first one is in the table of contents
    size, length = _coded(data, at)
    track = data.index(b"\xae", at + length, at + length + 8) + 1  # behind a checksum, which goes
    track_size, track_length = _coded(data, track)
    end = track + track_length + track_size
    inner = data[track + track_length : end] + added
    rest = data[end : at + length + size]
    made = ebml("1654ae6b", ebml("ae", inner), rest)
    changed = bytearray(data[: at - 4] + made + data[at + length + size :])
    segment = data.index(bytes.fromhex("18538067")) + 4
    assert data[segment] == 1, "FFmpeg writes this size in eight bytes"
    whole = int.from_bytes(data[segment + 1 : segment + 8], "big") + len(changed) - len(data)
    changed[segment + 1 : segment + 8] = whole.to_bytes(7, "big")
    target.write_bytes(changed)
    return target


def _coded(data: bytes, at: int) -> tuple[int, int]:
    length = 9 - data[at].bit_length()
    value = int.from_bytes(data[at : at + length], "big") & ((1 << (7 * length)) - 1)
    return value, length


KEY = ("-encryption_key", "00112233445566778899aabbccddeeff", "-encryption_kid", "00112233445566778899aabbccddeeff")


def encrypted_mp4(folder: Path) -> Path:
    return film(folder / "a.mp4", "-encryption_scheme", "cenc-aes-ctr", *KEY, seconds=1)


def encrypted_scheme(folder: Path) -> Path:
    """Another scheme, by its four letters."""
    source = encrypted_mp4(folder)
    source.write_bytes(source.read_bytes().replace(b"cenc", b"cbcs"))
    return source


def encrypted_by_itunes(folder: Path) -> Path:
    source = film(folder / "a.mov", seconds=1)
    source.write_bytes(source.read_bytes().replace(b"avc1\0\0\0\0\0\0\0\1", b"drmi\0\0\0\0\0\0\0\1"))
    return source


def encrypted_mkv(folder: Path) -> Path:
    plain = film(folder / "plain.mkv", seconds=1)
    encryption = ebml("5035", ebml("47e1", b"\5"), ebml("47e2", bytes(16)))
    encoding = ebml("6240", ebml("5031", b"\0"), ebml("5032", b"\1"), ebml("5033", b"\1"), encryption)
    return in_track(plain, folder / "a.mkv", ebml("6d80", encoding))


def encrypted_wmv(folder: Path) -> Path:
    """The codec list gives its place to an object that stands for DRM."""
    source = samples.make(folder, "plain.wmv", seconds=1)
    codecs = bytes.fromhex("4052d1861d31d011a3a400a0c90348f6")
    data = source.read_bytes()
    assert codecs in data
    target = folder / "a.wmv"
    target.write_bytes(data.replace(codecs, bytes.fromhex("fbb31122 23bdd211b4b700a0c955fc6e".replace(" ", ""))))
    return target


def scrambled_stream(folder: Path) -> Path:
    source = film(folder / "plain.ts", seconds=1)
    data = bytearray(source.read_bytes())
    for at in range(0, len(data), 188):
        pid = int.from_bytes(data[at + 1 : at + 3], "big") & 0x1FFF
        data[at + 3] |= 0xC0 if pid >= 0x100 and pid != 0x1000 else 0
    target = folder / "a.ts"
    target.write_bytes(data)
    return target


def sample_aes_stream(folder: Path) -> Path:
    """HTTP Live Streaming's own way: another type of stream in the table."""
    source = film(folder / "plain.ts", seconds=1, sound=False)
    target = folder / "a.ts"
    target.write_bytes(source.read_bytes().replace(b"\x1b\xe1\x00\xf0", b"\xdb\xe1\x00\xf0"))
    return target


def filtered_flv(folder: Path) -> Path:
    source = film(folder / "plain.flv", seconds=1)
    data = bytearray(source.read_bytes())
    at = 13
    while at < len(data):
        size = int.from_bytes(data[at + 1 : at + 4], "big")
        data[at] |= 0x20 if data[at] == 9 else 0
        at += 15 + size
    target = folder / "a.flv"
    target.write_bytes(data)
    return target


ENCRYPTED: dict[str, Callable[[Path], Path]] = {
    "cenc": encrypted_mp4,
    "cbcs": encrypted_scheme,
    "iTunes": encrypted_by_itunes,
    "Matroska": encrypted_mkv,
    "Windows Media": encrypted_wmv,
    "scrambled": scrambled_stream,
    "SAMPLE-AES": sample_aes_stream,
    "Flash": filtered_flv,
}


@pytest.mark.parametrize("how", ENCRYPTED)
def test_a_protected_video(how: str, tmp_path: Path, context: Contexts) -> None:
    """The sentence says that it is protected, however that is written, and no picture is made of noise."""
    assert refusal(Probe(), context, ENCRYPTED[how](tmp_path)) == ("protected", {})


def test_marked_as_encrypted_and_in_the_clear(tmp_path: Path, context: Contexts) -> None:
    """A track that may be encrypted and whose default is not to be so can be shown."""
    source = film(tmp_path / "a.mov", seconds=1, sound=False)
    data = bytearray(source.read_bytes())
    # The same sample entry under another name, with a description of its encryption in the place of its colours.
    at = data.index(b"avc1\0\0\0\0\0\0\0\1")
    start, size = at - 4, int.from_bytes(data[at - 4 : at], "big")
    schi = box(b"schi", box(b"tenc", bytes(8), bytes(16)))
    sinf = box(b"sinf", box(b"frma", b"avc1"), box(b"schm", bytes(4), b"cenc", b"\0\1\0\0"), schi)
    entry = box(b"encv", bytes(data[start + 8 : start + size]), sinf)
    grown = len(entry) - size
    data[start : start + size] = entry
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd"):
        place = data.index(kind) - 4
        data[place : place + 4] = (int.from_bytes(data[place : place + 4], "big") + grown).to_bytes(4, "big")
    source.write_bytes(data)
    assert Probe().run(context(source))["width"] == 64


def dolby_box(profile: int, compatibility: int, *, has_base: bool = True) -> bytes:
    return bytes([1, 0, profile << 1, 4 << 3 | 4 | has_base, compatibility << 4]) + bytes(19)


@pytest.mark.parametrize(
    ("profile", "compatibility", "has_base", "is_shown"),
    [(5, 0, True, False), (8, 1, True, True), (8, 4, True, True), (4, 0, False, False), (7, 6, True, True)],
)
def test_dolby_vision(
    profile: int, compatibility: int, has_base: bool, is_shown: bool, tmp_path: Path, context: Contexts
) -> None:
    """A base layer that usual decoders show is what counts; without one the sentence names the codec."""
    plain = film(tmp_path / "plain.mkv", seconds=1)
    record = dolby_box(profile, compatibility, has_base=has_base)
    source = in_track(plain, tmp_path / "a.mkv", ebml("41e4", ebml("41e7", b"dvcC"), ebml("41ed", record)))
    if is_shown:
        assert Probe().run(context(source))["video_codec"] == "h264"
    else:
        expected = ("codec_unsupported", {"codec": f"Dolby Vision {profile}"})
        assert refusal(Probe(), context, source) == expected


def test_a_codec_that_ffmpeg_at_hand_lacks(tmp_path: Path, context: Contexts) -> None:
    """VVC: the library may decode it, and the program that makes the results does not."""
    source = tmp_path / "a.mp4"
    bundled = ffmpeg.find("bundled")
    command = [bundled, "-v", "error", "-f", "lavfi", "-i", f"{SMALL}=0.2", "-c:v", "libvvenc", str(source)]
    if subprocess.run(command, capture_output=True, check=False, timeout=120).returncode:
        pytest.skip("this FFmpeg makes no VVC")
    code, params = refusal(Probe(), context, source)
    assert (code, params["codec"]) == ("codec_unsupported", "vvc")


# Which track

BIG = ("-f", "lavfi", "-i", "testsrc2=size=640x480:rate=1:duration=1")


@pytest.mark.parametrize("extension", ["mp4", "mkv"])
@pytest.mark.parametrize("codec", ["mjpeg", "libx264", "png"])
def test_a_still_before_the_video(codec: str, extension: str, tmp_path: Path, context: Contexts) -> None:
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
def test_of_two_videos_the_default(default: int, tmp_path: Path, context: Contexts) -> None:
    """And of two that are alike in that, the larger one."""
    source = tmp_path / "a.mkv"
    two = ("-f", "lavfi", "-i", f"{SMALL}=1", "-f", "lavfi", "-i", "testsrc2=size=128x96:rate=25:duration=1")
    marks = (f"-disposition:v:{default}", "default", f"-disposition:v:{1 - default}", "0")
    samples.run(*two, "-map", "0:v", "-map", "1:v", *marks, str(source))
    assert Probe().run(context(source))["width"] == (64, 128)[default]


@pytest.mark.parametrize(("codec", "extension"), [("png", "mkv"), ("mjpeg", "mp4"), ("mjpeg", "avi")])
def test_only_a_picture(codec: str, extension: str, tmp_path: Path, context: Contexts) -> None:
    """A picture beside sound, not marked as a cover, is no video."""
    source = tmp_path / f"a.{extension}"
    tone = ("-f", "lavfi", "-i", "sine=duration=1")
    samples.run(*BIG, *tone, "-c:v", codec, "-frames:v", "1", str(source))
    assert refusal(Probe(), context, source) == ("only_pictures", {})


def test_a_poster_of_clean_frames(tmp_path: Path, context: Contexts) -> None:
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


# Durations


@pytest.mark.parametrize("extension", ["mp4", "mov", "mkv", "flv", "ts"])
@pytest.mark.parametrize("offset", [90_000, 3])
def test_a_start_that_is_not_zero(extension: str, offset: int, tmp_path: Path, context: Contexts) -> None:
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


@pytest.mark.parametrize("kind", CUT)
@pytest.mark.parametrize("share", [0.4, 0.6])
def test_a_file_that_was_cut(kind: str, share: float, tmp_path: Path, context: Contexts) -> None:
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


# Other containers


@pytest.mark.parametrize("extension", samples.MORE_FORMATS)
def test_other_containers(extension: str, samples_folder: Path, context: Contexts) -> None:
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
