"""The job of a poster that its owner has sent as a picture, run in a child process: a new JPEG is made of it.

Rule: nothing of the file that came is ever served. FFmpeg gets the demuxer by option and may use three decoders.
"""

import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from server.errors import StepError
from server.pipeline.jobs.poster import fitted, jpeg_size
from server.pipeline.media import programs
from server.pipeline.media.ffmpeg_command import upright
from server.pipeline.media.orientation import UPRIGHT, Orientation

_DECODERS = {"jpeg_pipe": "mjpeg", "png_pipe": "png", "webp_pipe": "webp"}
# Exif 2.32, section 4.6.4 A: the tag Orientation.
_ORIENTATIONS = {
    1: UPRIGHT,
    2: Orientation(0, is_mirrored=True),
    3: Orientation(180),
    4: Orientation(180, is_mirrored=True),
    5: Orientation(270, is_mirrored=True),
    6: Orientation(90),
    7: Orientation(90, is_mirrored=True),
    8: Orientation(270),
}
_TAG, _MOST_TAGS, _MOST_SEGMENTS = 0x0112, 500, 100


def convert(arguments: Mapping[str, Any], report: Callable[[int], None]) -> Mapping[str, object]:
    """Write the picture at `path` as `name` into `output`. Raises `StepError` poster_failed if it cannot be decoded."""
    target = Path(arguments["output"]) / arguments["name"]
    demuxer = arguments["demuxer"]
    orientation = _orientation(Path(arguments["path"]).read_bytes()) if demuxer == "jpeg_pipe" else UPRIGHT
    # What is transparent becomes black, whatever colour the file has there.
    opaque = [] if demuxer == "jpeg_pipe" else ["format=gbrap", "premultiply=inplace=1"]
    line = [
        *(arguments["ffmpeg"], "-hide_banner", "-nostdin", "-nostats", "-loglevel", "error", "-y"),
        *("-filter_threads", "1", "-protocol_whitelist", "file", "-f", demuxer, "-format_whitelist", demuxer),
        *("-codec_whitelist", _DECODERS[demuxer], "-threads", "1", "-max_pixels", str(arguments["max_pixels"])),
        *("-noautorotate", "-i", f"file:{arguments['path']}"),
        *("-map", "0:v:0", "-map_metadata", "-1", "-frames:v", "1"),
        *("-vf", ",".join([*opaque, *upright(orientation), fitted(arguments["edge"], [])])),
        *("-threads", "1", "-c:v", "mjpeg", "-q:v", "3", "-flags", "+bitexact", "-f", "mjpeg", f"file:{target}"),
    ]
    outcome = programs.follow(line, arguments["seconds"], folder=arguments["output"], look=lambda _: None)
    if not outcome.succeeded or not jpeg_size(target):
        raise StepError("poster_failed")
    report(100)
    return {}


def _orientation(data: bytes) -> Orientation:
    """How a JPEG is to be turned, by its Exif data; upright where they say nothing that can be understood."""
    try:
        return _ORIENTATIONS.get(_tag(_exif(data)), UPRIGHT)
    except (struct.error, IndexError):
        return UPRIGHT


def _exif(data: bytes) -> bytes:
    """The TIFF structure in the segment APP1; empty without one."""
    place = 2
    for _ in range(_MOST_SEGMENTS):
        mark, kind, length = struct.unpack_from(">BBH", data, place)
        if mark != 0xFF or kind == 0xDA or length < 2:  # the picture itself begins
            return b""
        content = data[place + 4 : place + 2 + length]
        if kind == 0xE1 and content.startswith(b"Exif\0\0"):
            return content[6:]
        place += 2 + length
    return b""


def _tag(tiff: bytes) -> int:
    """The value of the tag Orientation; 1 without it."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    (place,) = struct.unpack_from(order + "I", tiff, 4)
    (count,) = struct.unpack_from(order + "H", tiff, place)
    for number in range(min(count, _MOST_TAGS)):
        tag, kind, _, value = struct.unpack_from(order + "HHIH", tiff, place + 2 + 12 * number)
        if tag == _TAG and kind == 3:
            return int(value)
    return 1
