"""The job of the poster step, run in a child process: FFmpeg takes single frames, the one with most detail stays.

Rule: FFmpeg gets the demuxer by option, may open files only, and sees names it cannot mistake for anything else.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.errors import StepError
from server.pipeline.jobs import PROGRAM
from server.pipeline.media import ffmpeg_facts, programs, source, tone_mapping
from server.pipeline.media.decoders import PICTURE_DECODERS
from server.pipeline.media.ffmpeg_command import upright
from server.pipeline.media.orientation import Orientation

_SHARES = (0.10, 0.25, 0.50, 0.75)  # of the duration
_TIME_SHARE = 1 / 3  # of the step's time for one frame; if all frames hang, the step runs out of time first
_AT_ONCE_SHARE = 1 / 6  # the same, for the frames of all together
# Several decoders at once of larger frames, or of a thousand tracks of sound, take gigabytes.
_LIGHT_PIXELS, _LIGHT_TRACKS = 4096 * 2304, 16
# FFmpeg's warnings about a frame that it shows all the same: damaged, or decoded from missing frames.
_DAMAGED = re.compile(rb"corrupt decoded frame|first frame is no keyframe|reference picture missing|Could not find ref")
_EARLY = (0.0, 1.0, 3.0, 10.0)  # seconds; where to look when the duration is not known


def make(arguments: Mapping[str, Any], report: Callable[[int], None]) -> Mapping[str, object]:
    """Write the poster `name` into `output`. Raises `StepError` poster_failed if there is no frame anywhere."""
    output = Path(arguments["output"])
    track = _track(arguments)
    duration = arguments["duration"]
    times = [share * duration for share in _SHARES] if duration else list(_EARLY)
    wanted = [_Wanted(seconds, output / f"candidate-{number}.jpg") for number, seconds in enumerate(times)]
    found = _at_once(arguments, track, wanted, report) if track.is_light else None
    if found is None:
        found = []
        for number, one in enumerate(wanted):
            found.append(_frame(arguments, track, one))
            report(100 * (number + 1) // len(wanted))
    if not any(one.is_clean for one in found):
        # For a duration that is far off, a video of one frame, or an index with frames that need others: the start can
        # be shown, and so can frames that the decoder itself takes for key frames.
        found.append(_frame(arguments, track, _Wanted(0.0, output / "candidate-start.jpg")))
        for number, seconds in enumerate(times):
            key = _Wanted(seconds, output / f"candidate-key-{number}.jpg", only_keys=True)
            found.append(_frame(arguments, track, key))
    best = max((one for one in found if one.size), key=lambda one: (one.is_clean, one.size), default=None)
    if best is None:
        raise StepError("poster_failed")
    best.path.replace(output / arguments["name"])
    return {}


def take(arguments: Mapping[str, Any], report: Callable[[int], None]) -> Mapping[str, object]:
    """Write the frame `at` so many seconds as `name` into `output`. Raises `StepError` poster_failed without one."""
    output = Path(arguments["output"])
    track = _track(arguments)
    wanted = [_Wanted(arguments["at"], output / "candidate-0.jpg")]
    # What has no frame at its very end has one shortly before.
    wanted += [_Wanted(max(0.0, arguments["at"] - back), output / f"candidate-{back}.jpg") for back in (1, 3)]
    for one in wanted:
        if _frame(arguments, track, one).size:
            one.path.replace(output / arguments["name"])
            report(100)
            return {}
    raise StepError("poster_failed")


@dataclass(frozen=True)
class _Wanted:
    """The frame at so many seconds, or the next key frame, as a JPEG at `path`."""

    seconds: float
    path: Path
    only_keys: bool = False


@dataclass(frozen=True)
class _Candidate:
    """A JPEG of `size` bytes, 0 if there is none; `is_clean` if no frame that it needs was damaged or missing."""

    path: Path
    size: int
    is_clean: bool


@dataclass(frozen=True)
class _Track:
    """The video's track; `is_light` if a program may open the file several times at once."""

    index: int
    orientation: Orientation
    mapping: list[str]
    is_light: bool = False


def _track(arguments: Mapping[str, Any]) -> _Track:
    """The track that the other steps take, too, and its rotation."""
    try:
        if arguments.get("by") == PROGRAM:
            facts = ffmpeg_facts.read(arguments)
            coded = facts.frame.coded
            return _Track(facts.video.index, facts.frame.orientation, tone_mapping.for_jpeg(arguments["ffmpeg"], coded))
        seen = source.glance(arguments["path"], arguments["demuxer"], arguments["max_pixels"])
        mapping = tone_mapping.for_jpeg(arguments["ffmpeg"], seen.coded)
        is_light = seen.pixels <= _LIGHT_PIXELS and seen.tracks <= _LIGHT_TRACKS
        return _Track(seen.index, seen.orientation, mapping, is_light)
    except StepError as error:
        raise StepError("poster_failed") from error


def _at_once(
    arguments: Mapping[str, Any], track: _Track, wanted: Sequence[_Wanted], report: Callable[[int], None]
) -> list[_Candidate] | None:
    """All frames by one program, whose start takes longer than a frame does.

    None if it fails or reports damage: it does not say which frame it means, and one error ends all frames.
    """
    report(25)  # the file was opened; the program reports nothing until it ends
    outcome = _follow(arguments, _command(arguments, track, wanted), _AT_ONCE_SHARE)
    if not outcome.succeeded or _DAMAGED.search(outcome.errors):
        return None
    for percent in (50, 75, 100):
        report(percent)
    sizes = [jpeg_size(one.path) for one in wanted]
    return [_Candidate(one.path, size, is_clean=size > 0) for one, size in zip(wanted, sizes, strict=True)]


def _frame(arguments: Mapping[str, Any], track: _Track, wanted: _Wanted) -> _Candidate:
    """One frame by a program of its own.

    At one quality a JPEG is larger the more detail it has: black and blurred frames are the smallest.
    """
    # One position that cannot be decoded does not use up the others' time.
    outcome = _follow(arguments, _command(arguments, track, [wanted]), _TIME_SHARE)
    size = jpeg_size(wanted.path) if outcome.succeeded else 0
    return _Candidate(wanted.path, size, is_clean=size > 0 and not _DAMAGED.search(outcome.errors))


def _follow(arguments: Mapping[str, Any], line: Sequence[str], share: float) -> programs.Outcome:
    return programs.follow(line, arguments["seconds"] * share, folder=arguments["output"], look=lambda _: None)


def jpeg_size(path: Path) -> int:
    """Bytes of a whole JPEG, else 0: after the end of a video FFmpeg succeeds and writes nothing."""
    data = path.read_bytes() if path.is_file() else b""
    return len(data) if data.startswith(b"\xff\xd8") and data.endswith(b"\xff\xd9") else 0


def _command(arguments: Mapping[str, Any], track: _Track, wanted: Sequence[_Wanted]) -> list[str]:
    # Warnings report frames that were shown although they are damaged.
    line = [arguments["ffmpeg"], "-hide_banner", "-nostdin", "-nostats", "-loglevel", "warning", "-y"]
    line += ["-filter_threads", "1"]
    for one in wanted:
        line += _input(arguments, one)
    for number, one in enumerate(wanted):
        line += _output(arguments, track, number, one.path)
    return line


def _input(arguments: Mapping[str, Any], wanted: _Wanted) -> list[str]:
    """One file, one demuxer, one thread, no decompression bomb. Seeking before -i decodes from a key frame on."""
    return [
        *("-protocol_whitelist", "file", "-f", arguments["demuxer"], "-format_whitelist", arguments["demuxer"]),
        *("-codec_whitelist", PICTURE_DECODERS),  # a thousand tracks of sound would take 700 MB
        *("-threads", "1", "-max_pixels", str(arguments["max_pixels"])),
        *(("-skip_frame", "nokey") if wanted.only_keys else ()),
        *("-max_streams", str(arguments["max_streams"]), "-noautorotate"),
        *("-ss", f"{wanted.seconds:.3f}", "-i", f"file:{arguments['path']}"),
    ]


def _output(arguments: Mapping[str, Any], track: _Track, number: int, target: Path) -> list[str]:
    """One frame of the input with this number."""
    filters = [*upright(track.orientation), fitted(arguments["edge"], track.mapping)]
    return [
        *("-map", f"{number}:{track.index}", "-an", "-sn", "-dn", "-map_metadata", "-1", "-frames:v", "1"),
        *("-vf", ",".join(filters)),
        # mjpeg takes the name as it is, image2 would expand a `%` in it.
        *("-threads", "1", "-c:v", "mjpeg", "-q:v", "3", "-flags", "+bitexact", "-f", "mjpeg"),
        f"file:{target}",
    ]


def fitted(edge: int, mapping: Sequence[str]) -> str:
    """The filter that scales to square pixels with the longest edge at most `edge`, never up.

    The frame is upright before, and `mapping` brings down high tones after.
    """
    factor = f"min(1,{edge}/max(iw*sar,ih))"
    width, height = f"max(1,round(iw*sar*{factor}))", f"max(1,round(ih*{factor}))"
    return ",".join([f"scale=w='{width}':h='{height}',setsar=1", *(mapping or ["format=yuvj420p"])])
