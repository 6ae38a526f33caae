"""The job of the storyboard step, run in a child process: PyAV takes pictures at even times into one sheet.

Rule: the work depends on the number of pictures, not on the length of the video. It goes from key frame to key frame,
and where those are rare it decodes on, for a share of the step's time. As in `jobs/probe.py`, one
file is opened with one demuxer, both given.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from av.video.stream import VideoStream

from server.errors import StepError
from server.pipeline.media import tone_mapping, track_choice
from server.pipeline.media.decoders import DECODERS
from server.pipeline.media.orientation import Orientation
from server.pipeline.media.source import open_container, orientation_of

SHEET = "storyboard.jpg"
CUES = "storyboard.vtt"

_MOST = 100  # pictures, so one sheet has room for all
_PACE = 1.0  # seconds between two pictures, while that does not make too many
_TOLERANCE = 0.001  # seconds; times are rounded to the time base of the file
_EDGE = 160  # pixels of a picture's longer edge
_COLUMNS = 10
_BLIND_SEEK = 10.0  # seconds; without known key frames, a nearer picture is reached by decoding
_LATE_INDEX = "matroska"  # a demuxer that reads the index, which follows the video, at the first seek
_MEASURE_SHARE, _DRAW_SHARE = 0.25, 0.5  # of the step's time
_FORMAT = "gbrp"  # three planes of the same size, which can be rotated and placed as they are
_HDR_FORMAT = "yuv444p"  # the same, with the colours as they are coded, which are mapped on the sheet


@dataclass(frozen=True)
class _Picture:
    """A small picture in planes of `width` times `height` bytes."""

    width: int
    height: int
    planes: tuple[bytes, ...]


def draw(arguments: Mapping[str, Any], report: Callable[[int], None]) -> Mapping[str, object]:
    """Write the sheet and its cues into `output`. Raises `StepError` storyboard_failed if there is no picture."""
    output, seconds = Path(arguments["output"]), float(arguments["seconds"])
    try:
        duration = arguments["duration"] or _measure(arguments, seconds * _MEASURE_SHARE)
        count = max(1, min(_MOST, math.ceil(duration / _PACE)))
        with _open(arguments) as container:
            stream = _track(container, arguments)
            film = _Film(container, stream, str(arguments["max_pixels"]))
            pictures = _next_picture(film, duration / count, count, seconds * _DRAW_SHARE / count, report)
        if not pictures:
            raise StepError("storyboard_failed")
        columns = min(len(pictures), _COLUMNS)
        _write(_sheet(pictures, columns, film.format), film.coded, str(arguments["ffmpeg"]), output / SHEET)
    except MemoryError:  # PyAV's is an FFmpegError too, and it is the limit, not the file
        raise
    except av.error.FFmpegError as error:  # any other error is the library's, not the file's
        raise StepError("storyboard_failed") from error
    cues = _cues(duration, duration / count, len(pictures), columns, pictures[0])
    (output / CUES).write_text(cues, encoding="utf-8")
    return {}


def _open(arguments: Mapping[str, Any]) -> InputContainer:
    return open_container(str(arguments["path"]), str(arguments["demuxer"]), int(arguments["max_pixels"]))


def _track(container: InputContainer, arguments: Mapping[str, Any]) -> VideoStream:
    """The track that the other steps take, too."""
    try:
        return track_choice.video(container, lambda: _open(arguments))
    except StepError as error:
        raise StepError("storyboard_failed") from error


def _measure(arguments: Mapping[str, Any], seconds: float) -> float:
    """The duration of a video whose header lacks it, in seconds, as far as it can be measured in that time."""
    deadline, end = time.monotonic() + seconds, 0.0
    with _open(arguments) as container:
        for packet in container.demux(_track(container, arguments)):
            if packet.pts is not None and packet.time_base:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if time.monotonic() > deadline:
                break
        return max(end - _origin(container), 0.001)


def _origin(container: InputContainer) -> float:
    """The time that a player calls zero, in seconds."""
    return (container.start_time or 0) / av.time_base


class _Film:
    """The frames of a video, forward, with seeks. Times are seconds from its start."""

    def __init__(self, container: InputContainer, stream: VideoStream, max_pixels: str) -> None:
        self._container = container
        self._stream = stream
        decoder = self._stream.codec_context
        decoder.thread_count = 1
        decoder.options = {"max_pixels": max_pixels, "codec_whitelist": DECODERS}
        self._origin = _origin(container)
        self._frames = self._decode()
        if container.format.name.startswith(_LATE_INDEX):
            self._seek(self._stream.start_time or 0)
        self.coded: tone_mapping.Range | None = None
        """How high tones are coded; and the format of the small pictures. Known after the first frame."""
        self.format = ""
        self.time = -1.0
        """The time of the last frame."""
        rate = self._stream.average_rate or self._stream.guessed_rate
        self._frame_seconds = 1 / float(rate) if rate else 0.04
        shape = self._stream.sample_aspect_ratio or decoder.sample_aspect_ratio
        self.pixel_shape = float(shape) if shape and 1 / 16 <= shape <= 16 else 1.0  # other values are broken headers

    def next(self) -> VideoFrame | None:
        """The next frame that can be decoded; None at the end."""
        frame = next(self._frames, None)
        if frame is not None:
            # Some packets of AVI have no time.
            self.time = self.time + self._frame_seconds if frame.pts is None else frame.time - self._origin
        return frame

    def note(self, frame: VideoFrame) -> str:
        """The format for a small picture of this frame; the first one decides for all."""
        if not self.format:
            self.coded = tone_mapping.of_frame(self._stream, frame)
            self.format = _HDR_FORMAT if self.coded else _FORMAT
        return self.format

    def leap(self, seconds: float) -> None:
        """Seek to the last key frame before that time, if it is ahead; otherwise stay."""
        base = self._stream.time_base
        if base is None:
            return
        target = round((seconds + self._origin) / base)
        index = self._stream.index_entries
        # An index may grow while the file is read, and then lacks the entries ahead.
        if len(index) and index[-1].timestamp >= target:
            found = index.search_timestamp(target)
            if found < 0 or float(index[found].timestamp * base) - self._origin <= self.time:
                return
        elif seconds - self.time < _BLIND_SEEK:
            return
        self._seek(target)

    def _seek(self, target: int) -> None:
        try:
            self._container.seek(target, stream=self._stream)
        except (av.error.FFmpegError, ValueError):
            return  # a file without seeking is read on
        self._frames = self._decode()

    def _decode(self) -> Iterator[VideoFrame]:
        for packet in self._container.demux(self._stream):
            try:
                decoded = packet.decode()
            except av.error.InvalidDataError:
                continue  # damaged; the next one may be whole
            for frame in decoded:
                if isinstance(frame, VideoFrame):
                    yield frame


def _next_picture(
    film: _Film, pace: float, count: int, patience: float, report: Callable[[int], None]
) -> list[_Picture]:
    """At most `count` pictures, one for each stretch of `pace` seconds; fewer if the video ends.

    A stretch whose picture is not reached within `patience` seconds gets the last frame that was.
    """
    pictures: list[_Picture] = []
    frame: VideoFrame | None = None
    shape: tuple[int, int] | None = None
    for number in range(count):
        # The first frame is the first picture, whatever its time.
        start = number * pace - _TOLERANCE if number else -math.inf
        if frame is not None and film.time < start:
            film.leap(start + pace / 2)
        deadline = time.monotonic() + patience
        while frame is None or (film.time < start and time.monotonic() < deadline):
            frame = film.next()
            if frame is None:
                return pictures
        shape = shape or _shape(frame, film.pixel_shape)
        pictures.append(_small(frame, *shape, film.note(frame)))
        report(100 * (number + 1) // count)
    return pictures


def _shape(frame: VideoFrame, pixel_shape: float) -> tuple[int, int]:
    """Width and height of every picture, as shown: upright, with square pixels, even, and never enlarged."""
    width, height = frame.width * pixel_shape, float(frame.height)
    if orientation_of(frame).swaps:
        width, height = height, width
    factor = min(1.0, _EDGE / max(width, height))
    return max(2, 2 * round(width * factor / 2)), max(2, 2 * round(height * factor / 2))


def _small(frame: VideoFrame, width: int, height: int, pixel_format: str) -> _Picture:
    orientation = orientation_of(frame)
    stored = (height, width) if orientation.swaps else (width, height)
    scaled = frame.reformat(*stored, format=pixel_format, interpolation=Interpolation.AREA, threads=1)
    planes = []
    for plane in scaled.planes:
        data, stride = bytes(plane), plane.line_size
        packed = b"".join(data[row * stride : row * stride + stored[0]] for row in range(stored[1]))
        planes.append(_turned(packed, stored[0], orientation))
    return _Picture(width, height, tuple(planes))


def _turned(plane: bytes, width: int, orientation: Orientation) -> bytes:
    if orientation.is_mirrored:
        plane = b"".join(plane[start : start + width][::-1] for start in range(0, len(plane), width))
    match orientation.degrees:
        case 90:
            return b"".join(plane[column::width][::-1] for column in range(width))
        case 180:
            return plane[::-1]
        case 270:
            return b"".join(plane[column::width] for column in reversed(range(width)))
    return plane


def _sheet(pictures: Sequence[_Picture], columns: int, pixel_format: str) -> VideoFrame:
    """All pictures, row by row."""
    width, height = pictures[0].width, pictures[0].height
    sheet = VideoFrame(columns * width, math.ceil(len(pictures) / columns) * height, pixel_format)
    for number, plane in enumerate(sheet.planes):
        stride = plane.line_size
        data = bytearray(plane.buffer_size)
        for place, picture in enumerate(pictures):
            left, top = place % columns * width, place // columns * height
            for row in range(height):
                at = (top + row) * stride + left
                data[at : at + width] = picture.planes[number][row * width : (row + 1) * width]
        plane.update(bytes(data))
    return sheet


def _write(sheet: VideoFrame, coded: tone_mapping.Range | None, ffmpeg: str, target: Path) -> None:
    """The sheet as a JPEG; FFmpeg's program maps high tones, where it can."""
    if coded is None or not tone_mapping.draw(ffmpeg, sheet, coded, target):
        target.write_bytes(_jpeg(sheet))


def _jpeg(sheet: VideoFrame) -> bytes:
    # A JPEG's colours are of this matrix and range (JFIF), whatever the video's are.
    frame = sheet.reformat(
        format="yuvj420p", dst_colorspace=Colorspace.ITU601, dst_color_range=ColorRange.JPEG, threads=1
    )
    frame.pts = 0
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = frame.width, frame.height, "yuvj420p"
    encoder.time_base = Fraction(1)
    encoder.thread_count = 1
    encoder.qmin = encoder.qmax = 4
    packets = [*encoder.encode(frame), *encoder.encode(None)]
    return b"".join(bytes(packet) for packet in packets)


def _cues(duration: float, pace: float, count: int, columns: int, picture: _Picture) -> str:
    """WebVTT whose cues point into the sheet (media fragments, `xywh` in pixels), from zero to the end without a gap.

    Where the video ends before its header says, the last picture fills the rest.
    """
    ends = [*(_stamp(number * pace) for number in range(1, count)), _stamp(max(duration, 0.001))]
    lines, start = ["WEBVTT"], _stamp(0)
    for place, end in enumerate(ends):
        left, top = place % columns * picture.width, place // columns * picture.height
        lines += ["", f"{start} --> {end}", f"{SHEET}#xywh={left},{top},{picture.width},{picture.height}"]
        start = end
    return "\n".join(lines) + "\n"


def _stamp(seconds: float) -> str:
    whole, milliseconds = divmod(round(seconds * 1000), 1000)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}.{milliseconds:03}"
