"""The job of the poster step, run in a child process: FFmpeg takes single frames, the most telling one stays.

Rule: FFmpeg is told the demuxer, may open files only, and sees names it cannot mistake for anything else.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.errors import StepError
from server.pipeline.jobs import PROGRAM
from server.pipeline.media import ffmpeg_facts, programs, source, tone_mapping
from server.pipeline.media.decoders import DECODERS
from server.pipeline.media.ffmpeg_command import upright
from server.pipeline.media.orientation import Orientation

_SHARES = (0.10, 0.25, 0.50, 0.75)  # of the duration
_TIME_SHARE = 1 / 3  # of the step's time for one frame; if all hang, the step runs out of time before they do
# What FFmpeg says of a frame that it shows all the same: flagged as damaged, or made from frames that are not there.
_DAMAGED = re.compile(rb"corrupt decoded frame|first frame is no keyframe|reference picture missing|Could not find ref")
_EARLY = (0.0, 1.0, 3.0, 10.0)  # seconds; where to look when the duration is not known


def make(arguments: Mapping[str, Any], report: Callable[[int], None]) -> Mapping[str, object]:
    """Write the poster `name` into `output`. Raises `StepError` poster_failed if there is no frame anywhere."""
    output = Path(arguments["output"])
    track = _track(arguments)
    duration = arguments["duration"]
    times = [share * duration for share in _SHARES] if duration else list(_EARLY)
    found: list[_Candidate] = []
    for number, seconds in enumerate(times):
        found.append(_frame(arguments, track, seconds, output / f"candidate-{number}.jpg"))
        report(100 * (number + 1) // len(times))
    if not any(one.is_clean for one in found):
        # A duration that is far off, a video of one frame, or an index that names frames which need others: the start
        # can be shown, and so can frames that the decoder itself takes for key frames.
        found.append(_frame(arguments, track, 0.0, output / "candidate-start.jpg"))
        for number, seconds in enumerate(times):
            found.append(_frame(arguments, track, seconds, output / f"candidate-key-{number}.jpg", only_keys=True))
    best = max((one for one in found if one.size), key=lambda one: (one.is_clean, one.size), default=None)
    if best is None:
        raise StepError("poster_failed")
    best.path.replace(output / arguments["name"])
    return {}


@dataclass(frozen=True)
class _Candidate:
    """A JPEG of `size` bytes, 0 if there is none; `is_clean` if no frame that it needs was damaged or missing."""

    path: Path
    size: int
    is_clean: bool


@dataclass(frozen=True)
class _Track:
    index: int
    orientation: Orientation
    mapping: list[str]


def _track(arguments: Mapping[str, Any]) -> _Track:
    """The track that the other steps take, too, and how it is turned."""
    try:
        if arguments.get("by") == PROGRAM:
            facts = ffmpeg_facts.read(arguments)
            coded = facts.frame.coded
            return _Track(facts.video.index, facts.frame.orientation, tone_mapping.for_jpeg(arguments["ffmpeg"], coded))
        index, orientation, coded = source.glance(arguments["path"], arguments["demuxer"], arguments["max_pixels"])
        return _Track(index, orientation, tone_mapping.for_jpeg(arguments["ffmpeg"], coded))
    except StepError as error:
        raise StepError("poster_failed") from error


def _frame(
    arguments: Mapping[str, Any], track: _Track, seconds: float, target: Path, *, only_keys: bool = False
) -> _Candidate:
    """The frame at so many seconds, or the next key frame.

    At one quality a JPEG is the larger the more there is to see: black and blurred frames are the smallest.
    """
    line = _command(arguments, track, seconds, target, only_keys=only_keys)
    # One spot that cannot be decoded does not cost the others their time.
    outcome = programs.follow(line, arguments["seconds"] * _TIME_SHARE, folder=arguments["output"], look=lambda _: None)
    size = _jpeg_size(target) if outcome.succeeded else 0
    return _Candidate(target, size, is_clean=size > 0 and not _DAMAGED.search(outcome.errors))


def _jpeg_size(path: Path) -> int:
    """Bytes of a whole JPEG, else 0: after the end of a video FFmpeg succeeds and writes nothing."""
    data = path.read_bytes() if path.is_file() else b""
    return len(data) if data.startswith(b"\xff\xd8") and data.endswith(b"\xff\xd9") else 0


def _command(
    arguments: Mapping[str, Any], track: _Track, seconds: float, target: Path, *, only_keys: bool
) -> list[str]:
    filters = [*upright(track.orientation), _filter(arguments["edge"], track.mapping)]
    return [
        arguments["ffmpeg"],
        # Warnings tell of frames that were shown although they are damaged.
        *("-hide_banner", "-nostdin", "-nostats", "-loglevel", "warning", "-y"),
        # The input: one file, one demuxer, one thread, no bomb. Seeking before -i decodes from a key frame on.
        *("-protocol_whitelist", "file", "-f", arguments["demuxer"], "-format_whitelist", arguments["demuxer"]),
        *("-codec_whitelist", DECODERS),
        *("-threads", "1", "-max_pixels", str(arguments["max_pixels"])),
        *(("-skip_frame", "nokey") if only_keys else ()),
        *("-max_streams", str(arguments["max_streams"]), "-noautorotate"),
        *("-ss", f"{seconds:.3f}", "-i", f"file:{arguments['path']}"),
        *("-map", f"0:{track.index}", "-an", "-sn", "-dn", "-map_metadata", "-1", "-frames:v", "1"),
        *(
            "-filter_threads",
            "1",
            "-vf",
            ",".join(filters),
        ),
        # mjpeg takes the name as it is, image2 would expand a `%` in it.
        *("-threads", "1", "-c:v", "mjpeg", "-q:v", "3", "-flags", "+bitexact", "-f", "mjpeg"),
        f"file:{target}",
    ]


def _filter(edge: int, mapping: Sequence[str]) -> str:
    """Scale to square pixels with the longest edge at most `edge`, never up. The frame is upright before, and `mapping`
    brings down high tones after."""
    factor = f"min(1,{edge}/max(iw*sar,ih))"
    width, height = f"max(1,round(iw*sar*{factor}))", f"max(1,round(ih*{factor}))"
    return ",".join([f"scale=w='{width}':h='{height}',setsar=1", *(mapping or ["format=yuvj420p"])])
