"""Videos that mean no good, and some that only look like it.

Rule: each is a function of a folder that returns a new file in it. Boxes of MP4 (ISO/IEC 14496-12) are written by
hand, since no muxer would write these.
"""

import struct
import zipfile
from pathlib import Path

from tests import samples

PRIVATE = (
    *("-movflags", "use_metadata_tags"),
    *("-metadata", "location=+50.1234+008.5678/"),
    *("-metadata", "com.apple.quicktime.location.ISO6709=+51.4321+007.8765/"),
    *("-metadata", "com.apple.quicktime.model=Geheimkamera"),
)
"""FFmpeg's output options for a file that says where and with what it was recorded."""

PRIVATE_WORDS = ("+50.1234", "+51.4321", "Geheimkamera")

FTYP = b"\0\0\0\x18ftypisom\0\0\2\0isommp42"
BILLION = 1_000_000_000
EDGE = 65535  # pixels; the most that 16 bits can say


def box(kind: bytes, *content: bytes) -> bytes:
    """A box of MP4."""
    data = b"".join(content)
    return struct.pack(">I4s", 8 + len(data), kind) + data


def one_byte(folder: Path) -> Path:
    """The least that an upload can be."""
    return _write(folder / "one.mp4", b"\0")


def archive(folder: Path) -> Path:
    """A zip that calls itself a video."""
    target = folder / "archive.mp4"
    with zipfile.ZipFile(target, "w") as made:
        made.writestr("film.mp4", samples.make(folder, "inner.mp4").read_bytes())
    return target


def truncated(folder: Path) -> Path:
    """An MP4 whose index never arrived."""
    whole = samples.make(folder, "whole.mp4").read_bytes()
    return _write(folder / "truncated.mp4", whole[: whole.index(b"moov") - 4])


def playlist(folder: Path, text: str, *, as_video: bool) -> Path:
    """A playlist or script under a video's name; `as_video` with first bytes that let it in as a video."""
    return _write(folder / "playlist.mp4", (FTYP if as_video else b"") + text.encode())


def no_frames(folder: Path) -> Path:
    """A whole MP4 in which the video track is empty."""
    stsd = _stsd(_small(folder, "codec.mp4"))
    empty = b"".join(box(kind, bytes(8)) for kind in (b"stts", b"stsc", b"stco")) + box(b"stsz", bytes(12))
    return _write(folder / "empty.mp4", FTYP + _moov(stsd + empty) + box(b"mdat"))


def no_fragments(folder: Path) -> Path:
    """The beginning of a fragmented MP4 and nothing behind it."""
    stsd = _stsd(_small(folder, "codec.mp4"))
    empty = b"".join(box(kind, bytes(8)) for kind in (b"stts", b"stsc", b"stco")) + box(b"stsz", bytes(12))
    extends = box(b"mvex", box(b"trex", bytes(4), struct.pack(">5I", 1, 1, 512, 0, 0)))
    return _write(folder / "begun.mp4", FTYP + _moov(stsd + empty, extends))


def huge_header(folder: Path) -> Path:
    """A small H.264 video whose boxes say that it is 65535 by 65535."""
    data = bytearray(_small(folder, "lie.mp4"))
    edges = struct.pack(">HH", EDGE, EDGE)
    entry = data.index(b"avc1", data.index(b"stsd")) + 28
    assert data[entry : entry + 4] == struct.pack(">HH", 64, 48)
    data[entry : entry + 4] = edges
    header = data.index(b"tkhd") + 4 + 76  # 16.16 each
    assert data[header : header + 8] == struct.pack(">HHHH", 64, 0, 48, 0)
    data[header : header + 8] = struct.pack(">HHHH", EDGE, 0, EDGE, 0)
    return _write(folder / "huge.mp4", bytes(data))


def huge_pictures(folder: Path, edge: int = EDGE) -> Path:
    """A motion JPEG whose every size says `edge` by `edge`, those of its pictures, too."""
    data = samples.make(folder, "a.mov", codec="mjpeg", audio=False, seconds=0.2).read_bytes()
    wrong = struct.pack(">HH", edge, edge)
    assert data.count(b"\xff\xc0\x00\x11\x08\x00\xf0\x01\x40") == 5  # 240 x 320
    data = data.replace(b"\xff\xc0\x00\x11\x08\x00\xf0\x01\x40", b"\xff\xc0\x00\x11\x08" + wrong)
    entry = data.index(b"jpeg", data.index(b"stsd")) + 28
    assert data[entry : entry + 4] == struct.pack(">HH", 320, 240)
    return _write(folder / f"bomb-{edge}.mov", data[:entry] + wrong + data[entry + 4 :])


def many_times(folder: Path) -> Path:
    """A table of times for a billion frames; there are fifty."""
    data = bytearray(_small(folder, "times.mp4"))
    _set(data, b"stts", 8, BILLION)
    return _write(folder / "times.mp4", bytes(data))


def many_frames(folder: Path, count: int = BILLION) -> Path:
    """An index of a billion frames of one byte each, in one chunk."""
    data = bytearray(_small(folder, "frames.mp4"))
    _set(data, b"stts", 8, count)
    _set(data, b"stsz", 4, 1)  # the size of each
    _set(data, b"stsz", 8, count)
    _set(data, b"stsc", 12, count)  # in the first chunk
    if b"ctts" in data:
        _set(data, b"ctts", 8, count)
    return _write(folder / f"frames-{count}.mp4", bytes(data))


def many_runs(folder: Path, count: int = 10_000_000) -> Path:
    """A fragment that says of so many frames nothing but that they are there."""
    begun = no_fragments(folder).read_bytes()
    header = box(b"tfhd", b"\0\2\0\x38", struct.pack(">4I", 1, 512, 1, 0))  # duration, size and flags of each
    run = box(b"trun", b"\0\0\0\1", struct.pack(">Ii", count, 0))
    fragment = box(b"moof", box(b"mfhd", bytes(4), struct.pack(">I", 1)), box(b"traf", header, run))
    return _write(folder / "runs.mp4", begun + fragment + box(b"mdat", bytes(64)))


def an_hour_of_black(folder: Path) -> Path:
    """Sixty minutes."""
    return _black(folder, minutes=60)


def ten_hours_of_black(folder: Path) -> Path:
    """Six hundred of them."""
    return _black(folder, minutes=600)


def _black(folder: Path, minutes: int) -> Path:
    """A minute of black, one frame a second, again and again."""
    minute, target = folder / "minute.mp4", folder / "black.mp4"
    black = ("-f", "lavfi", "-i", "color=black:size=64x48:rate=1:duration=60")
    samples.run(*black, "-c:v", "libx264", "-preset", "ultrafast", "-g", "30", "-pix_fmt", "yuv420p", str(minute))
    samples.run("-stream_loop", str(minutes - 1), "-i", str(minute), "-c", "copy", str(target))
    return target


def eight_k(folder: Path) -> Path:
    """Two frames of 7680 by 4320."""
    fast = ("-preset", "ultrafast", "-frames:v", "2")
    return samples.make(folder, "8k.mp4", size="7680x4320", seconds=0.2, audio=False, extra=fast)


def a_hundred_sounds(folder: Path) -> Path:
    """The same as below with fewer."""
    return many_sounds(folder, 100)


def many_sounds(folder: Path, count: int = 1000) -> Path:
    """A short video with so many audio tracks, all of the same sound. FFmpeg would write at most 999."""
    data = samples.make(folder, "sounds.mp4", seconds=0.4, size="64x48").read_bytes()
    start = data.index(b"moov") - 4  # the last box, so that whatever is added moves nothing
    at, boxes = start + 8, []
    while at < len(data):
        (size,) = struct.unpack_from(">I", data, at)
        boxes.append(data[at : at + size])
        at += size
    sound = next(number for number, found in enumerate(boxes) if b"soun" in found)
    tracks = []
    for number in range(count):
        track = bytearray(boxes[sound])
        _set(track, b"tkhd", 12, 2 + number)  # its id
        tracks.append(bytes(track))
    moov = box(b"moov", *boxes[:sound], *tracks, *boxes[sound + 1 :])
    return _write(folder / f"sounds-{count}.mp4", data[:start] + moov)


def _small(folder: Path, name: str) -> bytes:
    """Fifty frames of H.264 in one chunk."""
    return samples.make(folder, name, size="64x48", audio=False).read_bytes()


def _write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def _set(data: bytearray, kind: bytes, offset: int, value: int) -> None:
    """Write 32 bits, so many bytes behind the name of the first box of a kind."""
    start = data.index(kind) + 4 + offset
    data[start : start + 4] = struct.pack(">I", value)


def _stsd(data: bytes) -> bytes:
    """The box that says which codec it is, of a real video."""
    start = data.index(b"stsd") - 4
    (size,) = struct.unpack_from(">I", data, start)
    return data[start : start + size]


def _moov(table: bytes, *more: bytes) -> bytes:
    """An index with one video track, which has this sample table."""
    unity = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    mvhd = box(
        b"mvhd", bytes(12), struct.pack(">IIIH", 1000, 0, 0x10000, 0x100), bytes(10), unity, bytes(24) + b"\0\0\0\2"
    )
    tkhd = box(b"tkhd", b"\0\0\0\3", bytes(8), b"\0\0\0\1", bytes(24), unity, struct.pack(">HHHH", 64, 0, 48, 0))
    mdhd = box(b"mdhd", bytes(12), struct.pack(">IIHH", 12800, 0, 0x55C4, 0))
    hdlr = box(b"hdlr", bytes(8), b"vide", bytes(13))
    dinf = box(b"dinf", box(b"dref", bytes(4), b"\0\0\0\1", box(b"url ", b"\0\0\0\1")))
    minf = box(b"minf", box(b"vmhd", b"\0\0\0\1", bytes(8)), dinf, box(b"stbl", table))
    return box(b"moov", mvhd, box(b"trak", tkhd, box(b"mdia", mdhd, hdlr, minf)), *more)
