"""What may be copied: only what a browser can begin at every key frame, judged by units and times, and decoded."""

from collections.abc import Sequence
from pathlib import Path

import av
import pytest

from server import media_types
from server.pipeline.media import copy_scan, h264
from server.pipeline.media.copy_scan import CopyScan
from tests import samples
from tests.pipeline import media
from tests.pipeline.conftest import Contexts
from tests.pipeline.test_mp4 import make, was_copied

pytestmark = pytest.mark.turns(3)  # a step and odd videos

_VIDEO = ("-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25:duration=4")
_SOUND = ("-f", "lavfi", "-i", "sine=duration=4")
_OPEN = ("-x264-params", "open-gop=1:keyint=30:bframes=3:scenecut=0")
_CLOSED = ("-x264-params", "keyint=30:bframes=3:scenecut=0")


def encode(target: Path, *options: str, sound: Sequence[str] = ("-c:a", "aac")) -> Path:
    """H.264 with sound."""
    if not target.exists():
        samples.run(*_VIDEO, *_SOUND, "-c:v", "libx264", "-pix_fmt", "yuv420p", *options, *sound, str(target))
    return target


def cut(source: Path, target: Path, seconds: float) -> Path:
    """From the last key frame before that time on, as people cut: an edit list says where to begin."""
    samples.run("-ss", str(seconds), "-i", str(source), "-c", "copy", str(target))
    return target


def scan(path: Path, *, sound: int | None = None) -> CopyScan:
    """What the scan says of the first stream, and of one of sound."""
    media_type = media_types.by_name(path.name)
    assert media_type is not None
    found = CopyScan(str(path), media_type.demuxer, 0, 8192 * 8192, sound=sound)
    found.start()
    found.join()
    return found


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", ["open.mp4", "open.mkv", "open.flv", "open.mov"])
def test_open_gops_are_encoded(name: str, samples_folder: Path, context: Contexts) -> None:
    """A group of pictures whose first ones need the group before it: a seek to it kills a browser's player."""
    source = encode(samples_folder / name, *_OPEN)
    assert not scan(source).can_copy
    assert not was_copied(make(context, source))


def test_a_start_without_idr_is_encoded(samples_folder: Path, context: Contexts) -> None:
    """A cut that begins at a picture which is no IDR does not load in a browser."""
    source = cut(encode(samples_folder / "open.mp4", *_OPEN), samples_folder / "open-cut.mp4", 1.5)
    assert not was_copied(make(context, source))


def test_intra_refresh_is_encoded(samples_folder: Path) -> None:
    """Without key frames, where the picture is renewed in stripes, no place can be sought."""
    assert not scan(encode(samples_folder / "refresh.mkv", "-x264-params", "intra-refresh=1:keyint=30")).can_copy


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", ["closed.mp4", "closed.mkv", "closed.mov", "closed.flv"])
def test_closed_gops_are_copied(name: str, samples_folder: Path) -> None:
    """With an IDR picture at each key frame and B pictures between them."""
    found = scan(encode(samples_folder / name, *_CLOSED))
    assert (found.can_copy, found.has_remarks) == (True, False)


def test_a_cut_with_an_edit_list_is_copied(samples_folder: Path, context: Contexts) -> None:
    """A cut that begins at an IDR picture, of which the first pictures are not shown."""
    source = cut(encode(samples_folder / "closed.mp4", *_CLOSED), samples_folder / "closed-cut.mp4", 1.5)
    assert was_copied(make(context, source))


def test_b_frames_without_times_are_encoded(samples_folder: Path, context: Contexts) -> None:
    """AVI says when pictures are decoded, not when they are shown."""
    sound = ("-c:a", "libmp3lame")
    source = encode(samples_folder / "b-pictures.avi", "-bf", "3", sound=sound)
    assert not was_copied(make(context, source))
    assert scan(encode(samples_folder / "none.avi", "-bf", "0", sound=sound)).can_copy


def damage(source: Path, target: Path, share: float, content: bytes) -> Path:
    """Overwrite bytes of one packet in the middle; units keep their lengths."""
    data = bytearray(source.read_bytes())
    at = data.index(b"mdat") + int((len(data) - data.index(b"mdat")) * share)
    data[at : at + len(content)] = content
    target.write_bytes(data)
    return target


@pytest.mark.parametrize("content", [b"\xff" * 40, bytes(40), bytes(range(90, 130))])
def test_damaged_pictures_are_encoded(content: bytes, samples_folder: Path, tmp_path: Path, context: Contexts) -> None:
    """What decodes with errors is decoded here, where errors can be passed over, and not in front of a viewer."""
    whole = encode(samples_folder / "pictures-only.mp4", *_CLOSED, sound=("-an",))
    source = damage(whole, tmp_path / "damaged.mp4", 0.5, content)
    assert not scan(source).can_copy
    assert not was_copied(make(context, source))


def spoil_sound(source: Path, target: Path, content: bytes) -> Path:
    """Overwrite a packet of sound in the middle; its container stays whole."""
    with av.open(str(source)) as container:
        packets = list(container.demux(container.streams.audio[0]))
    packet = bytes(packets[len(packets) // 2])
    data = source.read_bytes()
    assert data.count(packet) == 1
    target.write_bytes(data.replace(packet, (content * len(packet))[: len(packet)]))
    return target


@pytest.mark.sampled(2)
@pytest.mark.parametrize("extension", ["mp4", "mkv", "flv", "ts"])
def test_whole_sound_is_copied(extension: str, samples_folder: Path) -> None:
    """Also where each packet has a header of its own, and in surround."""
    for number, layout in enumerate(((), ("-ac", "6"), ("-ac", "1", "-ar", "22050"))):
        source = encode(samples_folder / f"sound-{number}.{extension}", *_CLOSED, *layout)
        assert scan(source, sound=1).can_copy_sound, layout


@pytest.mark.sampled(3)
@pytest.mark.parametrize("extension", ["mp4", "mkv", "flv"])
@pytest.mark.parametrize("content", [bytes(1), b"\xff", bytes(range(3, 200, 7))])
def test_damaged_sound_is_encoded(
    extension: str, content: bytes, samples_folder: Path, tmp_path: Path, context: Contexts
) -> None:
    """One packet that cannot be decoded ends the playing in a browser; the pictures are copied all the same."""
    whole = encode(samples_folder / f"closed.{extension}", *_CLOSED)
    source = spoil_sound(whole, tmp_path / f"a.{extension}", content)
    made = make(context, source)
    assert was_copied(made)
    media.check_plays(made)
    assert (scan(whole, sound=1).can_copy_sound, scan(source, sound=1).can_copy_sound) == (True, False)


def test_late_sound_is_decoded_where_it_looks_damaged(
    samples_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a long video the beginning of the sound is decoded, and what has been filled up with zeros."""
    monkeypatch.setattr(copy_scan, "_SOUNDS", 20)
    whole = encode(samples_folder / "closed.mp4", *_CLOSED)
    assert scan(whole, sound=1).can_copy_sound
    found = scan(spoil_sound(whole, tmp_path / "a.mp4", bytes(1)), sound=1)
    assert (found.can_copy, found.can_copy_sound) == (True, False)


def test_changing_parameters_are_encoded(samples_folder: Path, tmp_path: Path) -> None:
    """Two recordings of different size in one track: an MP4 tells the size once."""
    parts = []
    for number, size in enumerate(("320x240", "640x480")):
        parts.append(tmp_path / f"{number}.h264")
        picture = ("-f", "lavfi", "-i", f"testsrc2=size={size}:duration=1")
        samples.run(*picture, "-c:v", "libx264", "-bf", "0", str(parts[-1]))
    joined, source = tmp_path / "joined.h264", tmp_path / "joined.avi"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    samples.run("-f", "h264", "-i", str(joined), "-c", "copy", str(source))
    assert not scan(source).can_copy


def test_a_long_video_is_sampled(samples_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a long one some groups are decoded, the first and others in even distances, and the units of all are read."""
    monkeypatch.setattr(copy_scan, "_PIXELS", 320 * 240 * 40)
    assert scan(encode(samples_folder / "closed.mp4", *_CLOSED)).can_copy
    assert not scan(encode(samples_folder / "open.mp4", *_OPEN)).can_copy


@pytest.mark.parametrize(
    ("data", "width"),
    [
        (b"", 4),
        (b"\0\0\0\1", 4),
        (b"\0\0\0\0\0\0\0\2\x65\x88", 4),
        (b"\0\0\0\xff\x65\x88\x80", 4),
        (b"\0\0\0\3\xe5\x88\x80", 4),
        (b"\0\0\0\3\x62\x88\x80", 4),
        (b"\0\0\0\3\x78\x88\x80", 4),
        (b"\0\0\0\3\x06\x05\x00", 4),
        (b"\0\0\0\3\x65\x88\x80\0\0\0\3\x41\x9a\x00", 4),
        (b"\0\0\0\x0e\x65" + bytes(13), 4),
        (b"no start code", 0),
        (b"\0\0\1\x09\x10", 0),
    ],
)
def test_invalid_h264_units_are_not_copied(data: bytes, width: int) -> None:
    """Lengths that do not fit, forbidden bits, unknown types, no picture, half an IDR picture."""
    with pytest.raises(ValueError, match=r"."):
        h264.read(data, width)


def test_h264_units_are_read_by_length_and_by_start_code() -> None:
    """IDR or not, B or not, and the sets; by lengths and by start codes."""
    idr, b, sps = b"\x65\x88\x80", b"\x01\x9e\x40", b"\x67\x42\x00\x1e"
    for picture, expected in ((idr, (True, False)), (b, (False, True))):
        with_lengths = b"".join(len(unit).to_bytes(2, "big") + unit for unit in (sps, picture))
        with_codes = b"".join(b"\0\0\0\1" + unit for unit in (sps, picture))
        for data, width in ((with_lengths, 2), (with_codes, 0)):
            found = h264.read(data, width)
            assert (found.is_idr, found.has_b) == expected
            assert list(found.sets) == [sps]
