"""Playlists of HLS: reading those that FFmpeg wrote, writing the master (RFC 8216, and its second edition's drafts).

Rule: the master declares what was measured on the segments. FFmpeg's own master would declare what was requested, and
no frame rates.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from server.pipeline.media.ffmpeg_command import AUDIO_FOLDER, PLAYLIST
from server.pipeline.media.renditions import SEGMENT_SECONDS

_FIRST_EDGE = 480  # pixels; players begin with the variant that is listed first
_LENGTH = "#EXTINF:"
_SHORTEST = 0.5  # seconds of a last segment that remains a segment of its own
_AAC = "mp4a.40.2"  # RFC 6381: MPEG-4 audio, low complexity


@dataclass(frozen=True)
class Media:
    """A media playlist, measured: bits a second of its fullest segment and on average, and the segments' names."""

    peak: int
    average: int
    segments: tuple[str, ...]


@dataclass(frozen=True)
class Variant:
    """One size as the master declares it; `codec` as RFC 6381 writes it."""

    name: str
    width: int
    height: int
    codec: str
    frame_rate: float | None
    media: Media


def measure(folder: Path, last_seconds: Callable[[Path], float]) -> Media:
    """Read the media playlist in `folder`, and correct it; `last_seconds` returns the length of a segment.

    FFmpeg measures a segment by the start of the next one, and the last by the frames a second that it expected, which
    is wrong where frames come unevenly. Raises `ValueError` if the playlist is not whole.
    """
    lines = (folder / PLAYLIST).read_text().splitlines()
    if len(lines) < 2 or lines[-1] != "#EXT-X-ENDLIST":
        raise ValueError("the playlist has no end")
    if lines[-2].startswith("#"):
        raise ValueError("the playlist has no segment")
    seconds = last_seconds(folder / lines[-2])
    if seconds < _SHORTEST and len(lines) > 5 and lines[-5].startswith(_LENGTH):
        lines = _without_stump(folder, lines)
        seconds = last_seconds(folder / lines[-2])
    lines = _corrected(lines, seconds)
    (folder / PLAYLIST).write_text("\n".join(lines) + "\n")
    return _measured(folder, lines)


def _without_stump(folder: Path, lines: list[str]) -> list[str]:
    """The playlist with its last segment merged into the one before.

    Sound ends a few milliseconds after the pictures, and players that seek to the end wait for a picture there when
    that has a segment of its own.
    """
    stump = folder / lines[-2]
    with (folder / lines[-4]).open("ab") as file:
        file.write(stump.read_bytes())
    stump.unlink()
    return [*lines[:-3], lines[-1]]


def _corrected(lines: Sequence[str], last_seconds: float) -> list[str]:
    """The playlist with another length of its last segment, and all lengths within the declared target."""
    last = max((number for number, line in enumerate(lines) if line.startswith(_LENGTH)), default=0)
    lengths = [*(_length(line) for line in lines[:last] if line.startswith(_LENGTH)), last_seconds]
    target = f"#EXT-X-TARGETDURATION:{max(1, math.ceil(max(lengths) - 0.5))}"
    found = [target if line.startswith("#EXT-X-TARGETDURATION:") else line for line in lines]
    found[last] = f"{_LENGTH}{last_seconds:.6f},"
    return found


def _length(line: str) -> float:
    return float(line.removeprefix(_LENGTH).rstrip(","))


def _measured(folder: Path, lines: Sequence[str]) -> Media:
    seconds = [_length(line) for line in lines if line.startswith(_LENGTH)]
    names = tuple(line for line in lines if line and not line.startswith("#"))
    if not names or len(names) != len(seconds) or any(not re.fullmatch(r"segment-\d+\.m4s", name) for name in names):
        raise ValueError("the playlist names something else")
    bits = [8 * (folder / name).stat().st_size for name in names]
    # A last segment of one frame would make an absurd peak: short ones count as half of one.
    least = min(max(seconds), SEGMENT_SECONDS) / 2
    peak = max(size / max(length, least) for size, length in zip(bits, seconds, strict=True))
    average = sum(bits) / max(sum(seconds), 0.001)
    return Media(round(max(peak, average)), round(average), names)


def avc_codec(init: bytes) -> str:
    """Profile and level of an initialization segment's H.264 (ISO/IEC 14496-15 section 5.3.3.1), in RFC 6381's form.

    Raises `ValueError` if there is none.
    """
    start = init.index(b"avcC") + 4
    return f"avc1.{init[start + 1 : start + 4].hex()}"


def master(variants: Sequence[Variant], audio: Media | None) -> str:
    """The master playlist."""
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-INDEPENDENT-SEGMENTS", ""]
    if audio is not None:
        place = f'GROUP-ID="{AUDIO_FOLDER}",URI="{AUDIO_FOLDER}/{PLAYLIST}"'
        lines += [f'#EXT-X-MEDIA:TYPE=AUDIO,{place},NAME="Audio",DEFAULT=YES,AUTOSELECT=YES,CHANNELS="2"', ""]
    for one in _in_order(variants):
        lines += [f"#EXT-X-STREAM-INF:{_attributes(one, audio)}", f"{one.name}/{PLAYLIST}"]
    return "\n".join(lines) + "\n"


def _in_order(variants: Sequence[Variant]) -> list[Variant]:
    """A good variant to start with, then the others from small to large."""
    rising = sorted(variants, key=lambda one: one.width * one.height)
    fitting = [one for one in rising if min(one.width, one.height) <= _FIRST_EDGE]
    first = fitting[-1] if fitting else rising[0]
    return [first, *(one for one in rising if one is not first)]


def _attributes(one: Variant, audio: Media | None) -> str:
    found = [
        f"BANDWIDTH={one.media.peak + (audio.peak if audio else 0)}",
        f"AVERAGE-BANDWIDTH={one.media.average + (audio.average if audio else 0)}",
        f"RESOLUTION={one.width}x{one.height}",
        f'CODECS="{one.codec}{"," + _AAC if audio else ""}"',
    ]
    if one.frame_rate:
        found.append(f"FRAME-RATE={one.frame_rate:.3f}")
    if audio:
        found.append(f'AUDIO="{AUDIO_FOLDER}"')
    return ",".join(found)
