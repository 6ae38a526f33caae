"""What a step costs for one file: from the facts of a video to seconds.

Rule: pure. The numbers are those of one machine that does nothing else, so they only compare one step with another:
`worker/learned_costs.py` corrects each kind by the last steps of this machine. What is not known yet is guessed from
the size and type of the file, and marked as a guess.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass

from server.pipeline.media import renditions
from server.pipeline.media.renditions import MAX_FRAME_RATE

# Measured on two processors of a cloud machine with FFmpeg 5.1 (decision 27), and of one processor: what a decoder
# takes, in millions of pixels and of bytes a second, and x264, in millions of pixels by its preset.
_DECODED, _DECODED_BYTES = 500.0, 45.0
_ENCODED = 70.0
_PRESETS = {"ultrafast": 2.6, "superfast": 1.6, "veryfast": 1.0, "faster": 0.6, "fast": 0.45, "medium": 0.35}
_SLOWEST_PRESET = 0.2
_SHARED = 0.9  # each further processor gives a little less
_MOST_PROCESSORS = 8

_START = 0.25  # seconds until a child has opened its file
_COPIED_BYTES, _COPIED_PACKETS = 150e6, 25_000.0  # a second
_SOUND_PACKETS = 47.0  # a second of AAC at 48 kHz
_ENCODED_SOUND = 90.0  # seconds of sound a second
_SCANNED_BYTES = 20e6  # a second

_POSTER_FRAMES = 4
_PICTURES = 100  # of a storyboard, at most one a second
_PICTURE = 0.008  # seconds to seek, scale and place one of them

# The usual upload, from a phone: H.264 at 8 Mbit/s.
_GUESSED_BYTES, _GUESSED_SIZE, _GUESSED_RATE = 1e6, (1920, 1080), 30.0
_GUESSED_KEY_SECONDS = 2.0
_GUESSED_COPIES = frozenset({"mp4", "mov", "m4v", "mkv", "flv", "ts", "3gp"})
_INDEXED = frozenset({"mp4", "mov", "m4v", "3gp", "mkv", "webm"})  # where a seek is one look
_ENCODED_CONTAINERS = frozenset({"avi"})  # copies there lack times more often than not


@dataclass(frozen=True, kw_only=True)
class Material:
    """One file as work: `size` in bytes, `duration` in seconds, `width` and `height` in pixels as shown, `rate` in
    frames a second, `key_seconds` between two key frames. With `is_guess` it was not looked at yet."""

    size: int
    container: str | None
    duration: float
    width: int
    height: int
    rate: float
    video_codec: str | None
    audio_codec: str | None
    is_hdr: bool
    key_seconds: float
    is_guess: bool

    @property
    def frames(self) -> float:
        """The number of pictures."""
        return max(1.0, self.duration * self.rate)

    @property
    def megapixels(self) -> float:
        """Of one picture."""
        return self.width * self.height / 1e6


@dataclass(frozen=True)
class Cost:
    """What one step takes: `seconds` on the machine of the measurements, alone. Steps of one `kind` are alike, so that
    the last ones tell about the next. With `is_heavy` it uses all processors, and shares them with others."""

    kind: str
    seconds: float
    is_heavy: bool = False


def material(facts: Mapping[str, object], size: int, container: str | None) -> Material:
    """A file as work, from the columns of its row, and `key_seconds` where the probe has found it."""
    width, height = int(_number(facts.get("width"))), int(_number(facts.get("height")))
    codec, sound = facts.get("video_codec"), facts.get("audio_codec")
    is_guess = not (width and height)
    guessed = "h264" if container in _GUESSED_COPIES else "mpeg4"
    return Material(
        size=size,
        container=container,
        duration=_number(facts.get("duration")) or max(1.0, size / _GUESSED_BYTES),
        width=width or _GUESSED_SIZE[0],
        height=height or _GUESSED_SIZE[1],
        rate=_number(facts.get("frame_rate")) or _GUESSED_RATE,
        video_codec=codec if isinstance(codec, str) else guessed if is_guess else None,
        audio_codec=sound if isinstance(sound, str) else "aac" if is_guess else None,
        is_hdr=facts.get("hdr") is True,
        key_seconds=_number(facts.get("key_seconds")) or _GUESSED_KEY_SECONDS,
        is_guess=is_guess,
    )


def scan(of: Material) -> Cost:
    """Every byte goes through the scanner."""
    return Cost("scan", 0.1 + of.size / _SCANNED_BYTES)


def probe(_of: Material) -> Cost:
    """The begin and the end of the file."""
    return Cost("probe", _START)


def poster(of: Material) -> Cost:
    """A few pictures, each decoded from the key frame before it."""
    frames = min(of.frames, _POSTER_FRAMES * (1 + of.rate * min(of.key_seconds, of.duration) / 2))
    return Cost("poster", _START + _decoding(of, frames))


def storyboard(of: Material) -> Cost:
    """Pictures at even times: key frames, and where those are rarer than the pictures, the frames on the way."""
    pictures = max(1.0, min(_PICTURES, math.ceil(of.duration)))
    pace = of.duration / pictures
    frames = pictures + of.frames * max(0.0, 1 - pace / of.key_seconds)
    kind = "storyboard" if of.container in _INDEXED else "storyboard, no index"
    return Cost(kind, _START + pictures * _PICTURE + _decoding(of, min(of.frames, frames)))


def mp4(of: Material, *, max_edge: int, preset: str) -> Cost:
    """A copy, or an encode of one size. `max_edge` and `preset` are the settings."""
    if not _is_copied(of, max_edge):
        return Cost("mp4 encoded", _encoding(of, [_edge(of, max_edge)], preset), is_heavy=True)
    packets = of.duration * (of.rate + (_SOUND_PACKETS if of.audio_codec else 0))
    seconds = _START + of.size / _COPIED_BYTES + packets / _COPIED_PACKETS
    if of.audio_codec in (None, "aac"):
        return Cost("mp4 copied", seconds)
    return Cost("mp4 sound", seconds + of.duration / _ENCODED_SOUND)


def hls(of: Material, *, max_edge: int, preset: str) -> Cost:
    """An encode of every size."""
    top = _edge(of, max_edge)
    return Cost("hls", _encoding(of, [*renditions.smaller_edges(top), top], preset), is_heavy=True)


def processors() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0))


def _is_copied(of: Material, max_edge: int) -> bool:
    """Whether the pictures probably stay as they are; the job in the child decides, and knows more."""
    return (
        of.video_codec == "h264"
        and of.container not in _ENCODED_CONTAINERS
        and not of.is_hdr
        and min(of.width, of.height) <= max_edge
        and of.rate <= MAX_FRAME_RATE * 1.01
    )


def _decoding(of: Material, frames: float) -> float:
    """Seconds of one processor; frames of many bytes take longer."""
    return frames * of.megapixels / _DECODED + of.size / 1e6 * frames / of.frames / _DECODED_BYTES


def _edge(of: Material, max_edge: int) -> int:
    return max(1, min(of.width, of.height, max_edge))


def _encoding(of: Material, edges: list[int], preset: str) -> float:
    short = max(1, min(of.width, of.height))
    made = sum((edge / short) ** 2 for edge in edges) * of.megapixels
    frames = of.duration * min(of.rate, MAX_FRAME_RATE)
    speed = math.pow(min(processors(), _MOST_PROCESSORS), _SHARED)
    work = _decoding(of, of.frames) + frames * made / (_ENCODED * _PRESETS.get(preset, _SLOWEST_PRESET))
    sound = of.duration / _ENCODED_SOUND if of.audio_codec else 0.0
    return _START + (work + sound) / speed


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) and value > 0 else 0.0
