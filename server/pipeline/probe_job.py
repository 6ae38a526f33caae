"""The job of the probe step, run in a child process: open the file with PyAV and decode one frame.

Rule: FFmpeg opens exactly one file with exactly one demuxer, both given to it. Nothing in the content can make
it open a second file or a connection.
"""

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from server.errors import StepError

# A recording that was cut may begin up to a few seconds before its first key frame.
_MAX_PACKETS = 1000
_LONGEST = 366 * 86400.0  # seconds; a duration beyond a year is a broken header


def probe(arguments: Mapping[str, Any], report: Callable[[int], None]) -> Mapping[str, object]:
    """Facts about the video at `path`, opened with `demuxer`, frames of at most `max_pixels`.

    Raises `StepError` not_playable, no_video_stream or original_missing, `MemoryError`, and `OSError` if the
    file cannot be read at all.
    """
    path = str(arguments["path"])
    _require_readable(path)
    try:
        with _open(path, str(arguments["demuxer"]), str(arguments["max_pixels"])) as container:
            report(30)
            return _describe(container, str(arguments["max_pixels"]))
    except MemoryError:  # PyAV's is both, and it is the limit, not the file
        raise
    except (av.error.FFmpegError, ValueError) as error:
        raise StepError("not_playable") from error


def _require_readable(path: str) -> None:
    """Tell a disk that fails from a file that is broken, which FFmpeg reports alike."""
    try:
        with Path(path).open("rb") as file:
            file.read(1)
    except FileNotFoundError:
        raise StepError("original_missing") from None


def _open(path: str, demuxer: str, max_pixels: str) -> InputContainer:
    options = {
        "protocol_whitelist": "file",
        # Decoders that run while streams are analysed obey these too.
        "threads": "1",
        "max_pixels": max_pixels,
    }
    if demuxer == "mov":
        # Tracks of QuickTime files may point at other files; off by default, and said here to stay off.
        options |= {"enable_drefs": "0", "use_absolute_path": "0"}
    # "file:" in front, since a name may hold a colon. Metadata in any encoding must not stop us.
    return av.open(f"file:{path}", "r", format=demuxer, options=options, metadata_errors="replace")


def _describe(container: InputContainer, max_pixels: str) -> Mapping[str, object]:
    # Cover art is a stream of one picture, and no video. FFmpeg's `V` (poster.py) picks the same stream.
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        raise StepError("no_video_stream")
    stream = streams[0]
    video_codec = _codec(stream)
    if video_codec is None:
        raise StepError("not_playable")
    frame = _first_frame(container, stream, max_pixels)
    width, height = frame.width, frame.height
    if round(frame.rotation / 90) % 2:
        width, height = height, width
    return {
        "duration": _duration(container, stream),
        "width": width,
        "height": height,
        "frame_rate": _frame_rate(stream),
        "video_codec": video_codec,
        "audio_codec": next(map(_codec, container.streams.audio), None),
    }


def _first_frame(container: InputContainer, stream: VideoStream, max_pixels: str) -> VideoFrame:
    """The first frame that can be decoded; damaged packets before it are passed over."""
    decoder = stream.codec_context
    decoder.thread_count = 1
    decoder.options = {"max_pixels": max_pixels}
    for number, packet in enumerate(container.demux(stream)):
        try:
            for frame in packet.decode():
                if isinstance(frame, VideoFrame):
                    return frame
        except av.error.InvalidDataError:
            continue
        if number >= _MAX_PACKETS:
            break
    raise StepError("not_playable")


def _duration(container: InputContainer, stream: VideoStream) -> float | None:
    """Seconds; the file's own word, else the stream's, else None (recordings that were streamed)."""
    seconds = 0.0
    if container.duration:
        seconds = container.duration / av.time_base
    elif stream.duration and stream.time_base:
        seconds = float(stream.duration * stream.time_base)
    return round(seconds, 3) if 0 < seconds < _LONGEST else None


def _frame_rate(stream: VideoStream) -> float | None:
    rate: Fraction | None = stream.average_rate or stream.guessed_rate
    value = float(rate) if rate else 0.0
    return round(value, 3) if math.isfinite(value) and value > 0 else None


def _codec(stream: Stream) -> str | None:
    """The codec's name (not its decoder's); None if there is no decoder for it."""
    # PyAV's annotations deny it, but without a decoder `codec_context` is None.
    codec = getattr(stream.codec_context, "codec", None)
    return codec.canonical_name if codec is not None else None
