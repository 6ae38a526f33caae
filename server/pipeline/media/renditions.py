"""Which renditions are made of a video, and how: from facts to a plan.

Rule: pure. Facts come in, plans go out as data; it touches no file and knows no FFmpeg. Nothing is ever enlarged:
a rendition is at most as large as its source is shown.
"""

from dataclasses import dataclass
from typing import Literal

from server.pipeline.media.orientation import UPRIGHT, Orientation

MAX_FRAME_RATE = 60
"""The most frames a second of a rendition; of faster sources every second, third, ... frame is taken."""

AUDIO_RATE = 128_000
"""Bits a second of a rendition's sound, AAC in stereo."""

KEY_FRAME_SECONDS = 2
"""Time between two key frames of an encoded rendition, the same frames in all of its sizes."""

SEGMENT_SECONDS = 4
"""Length of one segment of HLS; a multiple of the time between key frames."""

_RUNGS = (240, 360, 480, 720, 1080, 1440, 2160)
_NEXT_RUNG = 0.8  # a size is left out when it is hardly smaller than the largest one
_LONG_EDGE = 4096  # pixels; what decoders in hardware take, unless the setting allows more

# Bits a second at most for 1920 x 1080 at up to 35 frames a second; the rest follows from the area.
_RATE = 5_000_000
_RATE_PIXELS = 1920 * 1080
_RATE_POWER = 0.75
_FAST, _FAST_FACTOR = 35.0, 1.4
_LEAST_RATE = 150_000

# ITU-T H.264 table A-1: level, macroblocks a second, macroblocks a frame, kbit a second.
_LEVELS = (
    (30, 40_500, 1_620, 10_000),
    (31, 108_000, 3_600, 14_000),
    (32, 216_000, 5_120, 20_000),
    (40, 245_760, 8_192, 20_000),
    (42, 522_240, 8_704, 50_000),
    (51, 983_040, 36_864, 240_000),
    (52, 2_073_600, 36_864, 240_000),
    (60, 4_177_920, 139_264, 240_000),
    (62, 16_711_680, 139_264, 800_000),
)
_COPIED_LEVEL = 52

_COPIED_PROFILES = frozenset({"Baseline", "Constrained Baseline", "Main", "High"})
_COPIED_FORMATS = frozenset({"yuv420p", "yuvj420p"})  # 8 bits; the second has all 256 values
_COPIED_AUDIO_PROFILES = frozenset({"LC", "HE-AAC", "HE-AACv2"})
_COPIED_CHANNELS = 6
_COPIED_RATES = range(8_000, 48_001)

_LARGE_FILE = 32 << 20  # bytes
# A packet's size, two times, place and mark, each in a table of its own (ISO/IEC 14496-12 section 8.6 and 8.7).
_INDEX_BYTES, _INDEX_ROOM = 4 + 8 + 8 + 8 + 4, 64 << 10

# A result may have so many times its source's size at most, and so much besides: whatever the source claims, a small
# file cannot fill a disk.
_GROWTH, _ROOM = 20, 256 << 20


@dataclass(frozen=True)
class Audio:
    """The sound that is taken: `index` among all streams, FFmpeg's names of codec and profile, Hz.

    With `is_mixed` the channels are mixed by their numbers, since FFmpeg does not know where they belong.
    """

    index: int
    codec: str
    profile: str | None
    channels: int
    sample_rate: int
    is_mixed: bool = False


@dataclass(frozen=True)
class Source:
    """The facts of a video.

    `width` and `height` are pixels as shown: upright, and square. `index` is its place among all streams. `frame_rate`
    is frames a second on average, None if it is not known. `rotation` is degrees that a player has to turn it, None if
    that is not a quarter turn (a mirrored picture, say). `is_late` means that sound comes before pictures. `hdr` is how
    bright tones are coded beyond the usual range. `start` is the time of the first packet in seconds, mostly 0.
    `packets` are those of pictures and sound together, None if the file does not say. `other_audio` are further tracks
    that could be heard instead, `unknown_audio` is the number of those that cannot be decoded.
    `orientation` is how a stored frame becomes the one that is shown, `untold_colours` is what the video does not say
    of its colours (`colours.py`).

    What a plan adds (`track_spans.py`): `is_filled` repeats pictures up to `frame_rate`; `is_moved` shows the first one
    from the start; `held` is for how many seconds the last one stays longer than a frame; `until` is when all ends.
    """

    index: int
    width: int
    height: int
    codec: str
    profile: str | None
    level: int | None
    pixel_format: str
    frame_rate: float | None
    is_variable: bool
    is_interlaced: bool
    is_late: bool
    rotation: int | None
    hdr: Literal["pq", "hlg"] | None
    duration: float | None
    start: float
    packets: int | None
    audio: Audio | None
    orientation: Orientation = UPRIGHT
    other_audio: tuple[Audio, ...] = ()
    unknown_audio: int = 0
    untold_colours: str = ""
    is_filled: bool = False
    is_moved: bool = False
    held: float = 0.0
    until: float | None = None

    @property
    def short_edge(self) -> int:
        """The short edge in pixels, which names a size, so that an upright 720p equals a landscape one."""
        return min(self.width, self.height)

    @property
    def made_rate(self) -> float | None:
        """Frames a second of a rendition, on average."""
        if self.frame_rate is None or self.frame_rate <= MAX_FRAME_RATE * 1.01:
            return self.frame_rate
        # Whole frames only: of 90 a second every second one, so that motion stays even.
        return self.frame_rate / -(-self.frame_rate // (MAX_FRAME_RATE * 1.01))


@dataclass(frozen=True)
class Rendition:
    """One size. `level` is that of H.264 times ten, `max_rate` the bits a second that its video may need at most."""

    name: str
    width: int
    height: int
    level: int
    max_rate: int


def single(source: Source, max_edge: int) -> Rendition:
    """The one size of an MP4; `max_edge` bounds its short edge."""
    return _rendition(source, _top(source, max_edge))


def ladder(source: Source, max_edge: int) -> tuple[Rendition, ...]:
    """The sizes of HLS, smallest first: the largest that is possible, and the usual ones that are clearly smaller."""
    top = _top(source, max_edge)
    return tuple(_rendition(source, edge) for edge in [*smaller_edges(top), top])


def smaller_edges(top: int) -> list[int]:
    """The short edges of the usual sizes that are clearly smaller than the largest one, smallest first."""
    return [rung for rung in _RUNGS if rung <= top * _NEXT_RUNG]


def can_copy_video(source: Source, max_edge: int) -> bool:
    """Whether the pictures can stay as they are: what every browser and phone decodes, and not too large."""
    return (
        source.codec == "h264"
        and source.profile in _COPIED_PROFILES
        and source.pixel_format in _COPIED_FORMATS
        and source.level is not None
        and source.level <= _COPIED_LEVEL
        and source.short_edge <= max_edge
        and max(source.width, source.height) <= _long_edge(max_edge)
        and not source.is_interlaced
        and source.hdr is None
        and source.rotation is not None
        and source.made_rate == source.frame_rate
    )


def can_copy_audio(audio: Audio) -> bool:
    """Whether the sound can stay as it is."""
    return (
        audio.codec == "aac"
        and audio.profile in _COPIED_AUDIO_PROFILES
        and audio.channels <= _COPIED_CHANNELS
        and audio.sample_rate in _COPIED_RATES
    )


def index_bytes(source: Source, size: int) -> int | None:
    """Bytes to reserve for the index of a copy of a source of `size` bytes; None where it is not worth it."""
    if size < _LARGE_FILE or not source.packets:
        return None
    return source.packets * _INDEX_BYTES + _INDEX_ROOM


def copied_bytes(size: int) -> int:
    """Bytes that a copy of a source of so many bytes may have: another container, and perhaps encoded sound."""
    return size + size // 4 + _ROOM


def encoded_bytes(made: tuple[Rendition, ...], duration: float | None, size: int) -> int:
    """Bytes that these renditions of a source of `size` bytes may have in all; `duration` in seconds."""
    most = size * _GROWTH + _ROOM
    if duration is None:
        return most
    rate = sum(one.max_rate + AUDIO_RATE for one in made)
    return min(most, int(rate * duration / 8 * 1.25) + _ROOM)


def _top(source: Source, max_edge: int) -> int:
    """The short edge of the largest size."""
    long = max(source.width, source.height)
    return max(1, min(source.short_edge, max_edge, source.short_edge * _long_edge(max_edge) // long))


def _rendition(source: Source, edge: int) -> Rendition:
    factor = edge / source.short_edge
    width, height = _even(source.width * factor), _even(source.height * factor)
    max_rate = _max_rate(width * height, source.made_rate)
    return Rendition(f"{edge}p", width, height, _level(width, height, source, max_rate), max_rate)


def _long_edge(max_edge: int) -> int:
    return max(_LONG_EDGE, 2 * max_edge)


def _even(pixels: float) -> int:
    """The next even number below, since colours are kept for pairs of pixels; never larger than the source."""
    return max(2, int(pixels + 1e-6) // 2 * 2)


def _max_rate(pixels: int, frame_rate: float | None) -> int:
    factor = _FAST_FACTOR if frame_rate is not None and frame_rate > _FAST else 1.0
    rate: float = _RATE * (pixels / _RATE_PIXELS) ** _RATE_POWER * factor
    return max(_LEAST_RATE, round(rate / 10_000) * 10_000)


def _level(width: int, height: int, source: Source, max_rate: int) -> int:
    """The lowest level of at least 3 that fits; devices decide by it whether they can play the video at all."""
    columns, rows = -(-width // 16), -(-height // 16)
    blocks = columns * rows
    rate = MAX_FRAME_RATE if source.is_variable or source.made_rate is None else source.made_rate
    for level, a_second, a_frame, kilobits in _LEVELS:
        fits = blocks <= a_frame and max(columns, rows) ** 2 <= 8 * a_frame
        # High profile may have a quarter more than the table.
        if fits and blocks * rate <= a_second and max_rate <= kilobits * 1250:
            return level
    return _LEVELS[-1][0]
