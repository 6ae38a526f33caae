"""Facts of a video from the text of FFmpeg's program: the fallback after the library crashed.

Rule: it reads the text that both FFmpeg 5 and 9 write for people, and uses nothing that it cannot check: numbers
are numbers in bounds, a frame was decoded. What the text lacks is None, and no such video is copied.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from server.errors import StepError
from server.pipeline.media import programs
from server.pipeline.media.decoders import DECODERS
from server.pipeline.media.orientation import UPRIGHT, Orientation
from server.pipeline.media.renditions import Audio, Source

_SECONDS = 60.0  # for one run of the program
_TEXT = 256 << 10  # bytes of it that are kept
_FRAMES = 4
_LATE = 0.1  # seconds, as in source.py
_LONGEST = 366 * 86400.0
_UNEVEN = 1.02

_LENGTH = re.compile(r"^  Duration: (?:(\d+):(\d\d):(\d\d(?:\.\d+)?)|N/A)(?:, start: (-?\d+\.\d+))?", re.MULTILINE)
_TRACK = re.compile(
    r"^ +Stream #0:(?P<index>\d+)(?:\[0x[0-9a-f]+\])?(?:\(\w*\))?: (?P<kind>Video|Audio): (?P<codec>\w+)"
    r"(?: \((?P<profile>[^()/]+)\))?(?: \((?P<tag>.{4}) / 0x[0-9A-Fa-f]+\))?(?P<rest>.*)$",
    re.MULTILINE,
)
_SIZE = re.compile(r", (\d+)x(\d+)")
_RATE = re.compile(r", (\d+(?:\.\d+)?)(k?) fps")
_BASE = re.compile(r", (\d+(?:\.\d+)?)(k?) tbr")
_SOUND = re.compile(r", (\d+) Hz, ([^,]+)")
_PICTURE = re.compile(r"\((?:attached pic|timed thumbnails|still image|dependent)\)")
_FRAME = re.compile(r" n: *\d+ pts: *\S+ pts_time:(\S+) .*fmt:(\w+) .*sar:(\d+)/(\d+) s:(\d+)x(\d+) i:(.) ")
_TRANSFER = re.compile(r" color_trc:(\S+)")
_ROTATION = re.compile(r"(?:displaymatrix|Display Matrix): rotation of (\S+) degrees")
_TONES: Mapping[str, Literal["pq", "hlg"]] = {"smpte2084": "pq", "arib-std-b67": "hlg"}
_LAYOUTS = {"mono": 1, "stereo": 2, "downmix": 2, "quad": 4, "hexagonal": 6, "octagonal": 8, "cube": 8}
_LAYOUTS |= {"hexadecagonal": 16}


@dataclass(frozen=True)
class Track:
    """A track of pictures or sound; `codec` is None where FFmpeg has no decoder for it."""

    index: int
    kind: str
    codec: str | None
    profile: str | None
    tag: str
    rest: str

    @property
    def is_default(self) -> bool:
        """Whether the file marks it as default."""
        return "(default)" in self.rest

    @property
    def area(self) -> int:
        """The number of pixels."""
        size = _SIZE.search(self.rest)
        return int(size[1]) * int(size[2]) if size else 0


@dataclass(frozen=True)
class Frame:
    """The first frame: `time` in seconds from the start, size in pixels as stored, `shape` of a pixel."""

    time: float
    pixel_format: str
    shape: float
    width: int
    height: int
    is_interlaced: bool
    transfer: str
    orientation: Orientation

    @property
    def coded(self) -> Literal["pq", "hlg"] | None:
        """How high tones are coded."""
        return _TONES.get(self.transfer)


@dataclass(frozen=True)
class Facts:
    """All facts. `start` and `duration` are seconds."""

    start: float
    duration: float | None
    video: Track
    audio: Sequence[Track]
    frame: Frame

    @property
    def rate(self) -> float | None:
        """Frames a second, on average."""
        return _number(_RATE, self.video.rest)

    @property
    def size(self) -> tuple[int, int]:
        """Pixels after rotation, as stored otherwise."""
        width, height = self.frame.width, self.frame.height
        return (height, width) if self.frame.orientation.swaps else (width, height)


def read(arguments: Mapping[str, Any]) -> Facts:
    """The facts of the video at `path` with `demuxer` and `max_pixels`, by `ffmpeg`. Raises `StepError` not_playable,
    no_video_stream, only_pictures or codec_unsupported."""
    text = _say(arguments)
    start, duration = _times(text)
    found = [
        Track(
            int(match["index"]),
            match["kind"],
            None if match["codec"] == "none" else match["codec"],
            match["profile"],
            match["tag"] or "",
            match["rest"],
        )
        # The outputs begin where the inputs end, and look alike.
        for match in _TRACK.finditer(text.partition("\nOutput #")[0])
    ]
    if not found and "Duration:" not in text:
        raise StepError("not_playable")
    video = _best([track for track in found if track.kind == "Video"])
    frame = _frame(_say(arguments, "-map", f"0:{video.index}", "-frames:v", str(_FRAMES), *_SHOWN))
    return Facts(start, duration, video, [track for track in found if track.kind == "Audio"], frame)


_SHOWN = ("-an", "-sn", "-dn", "-vf", "showinfo", "-f", "null", "-")


def columns(arguments: Mapping[str, Any]) -> Mapping[str, object]:
    """The answer of the probe step."""
    facts = read(arguments)
    width, height = facts.size
    return {
        "duration": round(facts.duration, 3) if facts.duration else None,
        "width": width,
        "height": height,
        "frame_rate": round(facts.rate, 3) if facts.rate else None,
        "video_codec": facts.video.codec,
        "audio_codec": facts.audio[0].codec if facts.audio else None,
        "audio_tracks": len(facts.audio),
        "hdr": facts.frame.transfer in _TONES or facts.video.tag.startswith("dv"),
        "variable_frame_rate": None,
        "remarks": [],
    }


def source(arguments: Mapping[str, Any]) -> Source:
    """The facts that a plan needs; they allow no copy. Raises as `read`."""
    facts = read(arguments)
    frame, rate, base = facts.frame, facts.rate, _number(_BASE, facts.video.rest)
    width, height = frame.width * frame.shape, float(frame.height)
    if frame.orientation.swaps:
        width, height = height, width
    declared = arguments["facts"].get("duration")
    return Source(
        index=facts.video.index,
        width=max(1, round(width)),
        height=max(1, round(height)),
        codec=facts.video.codec or "?",
        profile=facts.video.profile,
        level=None,
        pixel_format=frame.pixel_format,
        frame_rate=rate,
        is_variable=bool(arguments["facts"].get("variable_frame_rate"))
        or not (rate and base)
        or max(rate / base, base / rate) > _UNEVEN,
        is_interlaced=frame.is_interlaced,
        is_late=frame.time > _LATE,
        rotation=None,
        hdr=frame.coded,
        duration=float(declared) if declared else facts.duration,
        start=facts.start,
        packets=None,
        audio=_audio(facts.audio),
        orientation=frame.orientation,
    )


def _say(arguments: Mapping[str, Any], *output: str) -> str:
    line = [
        *(arguments["ffmpeg"], "-hide_banner", "-nostdin", "-nostats", "-protocol_whitelist", "file"),
        *("-f", arguments["demuxer"], "-format_whitelist", arguments["demuxer"], "-codec_whitelist", DECODERS),
        *(("-enable_drefs", "0", "-use_absolute_path", "0") if arguments["demuxer"] == "mov" else ()),
        *("-threads", "1", "-max_pixels", str(arguments["max_pixels"]), "-max_streams", "1200"),
        *("-noautorotate", "-i", f"file:{arguments['path']}", *output),
    ]
    outcome = programs.follow(line, _SECONDS, folder="/", look=lambda _: None, keep=_TEXT)
    return outcome.errors.decode("utf-8", "replace")


def _times(text: str) -> tuple[float, float | None]:
    found = _LENGTH.search(text)
    if found is None or found[1] is None:
        return 0.0, None
    start = float(found[4] or 0)
    seconds = int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3])
    if 1.0 < start < seconds:
        seconds -= start
    return start, seconds if 0 < seconds < _LONGEST else None


def _best(tracks: Sequence[Track]) -> Track:
    """As `track_choice.video` chooses, as far as the text allows."""
    if not tracks:
        raise StepError("no_video_stream")
    moving = [track for track in tracks if not _PICTURE.search(track.rest)]
    if not moving:
        raise StepError("only_pictures")
    decodable = [track for track in moving if track.codec]
    if not decodable:
        raise StepError("codec_unsupported", codec=moving[0].tag or "?")
    return max(decodable, key=lambda track: (track.is_default, track.area, -track.index))


def _frame(text: str) -> Frame:
    found = _FRAME.search(text)
    if found is None:
        raise StepError("not_playable")
    time, pixel_format, above, below, width, height, fields = found.groups()
    shape = int(above) / int(below) if int(above) and int(below) else 1.0
    transfer, rotation = _TRANSFER.search(text), _ROTATION.search(text)
    return Frame(
        time=float(time) if time != "NOPTS" else 0.0,
        pixel_format=pixel_format,
        shape=shape if 1 / 16 <= shape <= 16 else 1.0,
        width=int(width),
        height=int(height),
        is_interlaced=fields in "TB",
        transfer=transfer[1] if transfer else "",
        orientation=_orientation(rotation[1]) if rotation else UPRIGHT,
    )


def _orientation(counterclockwise: str) -> Orientation:
    angle = float(counterclockwise)
    if not math.isfinite(angle) or abs(angle - 90 * round(angle / 90)) > 0.5:
        return Orientation(is_odd=True)
    return Orientation(-90 * round(angle / 90) % 360)


def _audio(tracks: Sequence[Track]) -> Audio | None:
    found = [audio for audio in map(_sound, tracks) if audio is not None]
    default = {track.index for track in tracks if track.is_default}
    return next((audio for audio in found if audio.index in default), found[0] if found else None)


def _sound(track: Track) -> Audio | None:
    found = _SOUND.search(track.rest)
    if track.codec is None or found is None or not int(found[1]):
        return None
    return Audio(track.index, track.codec, track.profile, _channels(found[2]), int(found[1]))


def _channels(layout: str) -> int:
    """Channels of a layout by its name: `stereo`, `5.1(side)`, `9 channels`."""
    name = layout.partition("(")[0].strip()
    if name in _LAYOUTS:
        return _LAYOUTS[name]
    count = re.match(r"(\d+) channels", name)
    if count:
        return int(count[1])
    return sum(int(part) for part in name.split(".") if part.isdigit()) or 2


def _number(pattern: re.Pattern[str], text: str) -> float | None:
    found = pattern.search(text)
    value = float(found[1]) * (1000 if found[2] else 1) if found else 0.0
    return value if value > 0 else None
