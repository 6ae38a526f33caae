"""The facts of a video that a plan needs, read with PyAV. For the child process only.

Rule: as in `jobs/probe.py`: one file, one demuxer, both given. A few frames are decoded, since only frames show the
most important facts (rotation, fields, tones) reliably.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import av
import av.error
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from server.errors import StepError
from server.pipeline.media import colours, orientation, pyav, tone_mapping, track_choice
from server.pipeline.media.decoders import DECODERS, PICTURE_DECODERS
from server.pipeline.media.orientation import Orientation
from server.pipeline.media.renditions import Audio, Source

_FRAMES = 4  # read from the start
_MAX_PACKETS = 1000
_MAX_STREAMS = "1200"  # as MAX_STREAMS in step.py
_LONGEST = 366 * 86400.0  # seconds; a duration beyond a year is a broken header
_LATE = 0.1  # seconds between the start of all and that of the pictures that a viewer does not notice
_UNEVEN = 1.02  # frames come unevenly when the average differs more from the most common distance
_TRANSFERS: Mapping[int, Literal["pq", "hlg"]] = {16: "pq", 18: "hlg"}  # ITU-T H.273 table 3


def read(path: str, demuxer: str, max_pixels: int, facts: Mapping[str, Any]) -> Source:
    """The facts of a source. `facts` are columns that earlier steps found out.

    Raises `StepError` original_missing, no_video_stream or not_playable, and `MemoryError`.
    """
    if not Path(path).is_file():
        raise StepError("original_missing")
    try:
        with open_container(path, demuxer, max_pixels) as container:
            stream = track_choice.video(container, lambda: open_container(path, demuxer, max_pixels))
            return _describe(container, stream, max_pixels, facts)
    except MemoryError:
        raise
    except av.error.FFmpegError as error:  # any other error is the library's, and FFmpeg's program is used instead
        raise StepError("not_playable") from error


def open_container(path: str, demuxer: str, max_pixels: int, *, decoders: str = DECODERS) -> InputContainer:
    """Open a file; the first bytes of its streams are analysed, with these decoders (`codec_whitelist`)."""
    options = {"protocol_whitelist": "file", "threads": "1", "max_pixels": str(max_pixels), "max_streams": _MAX_STREAMS}
    options |= {"format_whitelist": demuxer, "codec_whitelist": decoders}
    if demuxer == "mov":
        options |= {"enable_drefs": "0", "use_absolute_path": "0"}
    return av.open(f"file:{path}", "r", format=demuxer, options=options, metadata_errors="replace")


@dataclass(frozen=True)
class Glance:
    """The index of the video's track, how its first frame is turned, how its tones are coded, how many pixels it has;
    and how many tracks the file has."""

    index: int
    orientation: Orientation
    coded: tone_mapping.Range | None
    pixels: int
    tracks: int


def glance(path: str, demuxer: str, max_pixels: int) -> Glance:
    """Read the first frame that can be decoded, without the sound.

    Raises as `read`, and `StepError` not_playable if there is no frame.
    """

    def opened() -> InputContainer:
        return open_container(path, demuxer, max_pixels, decoders=PICTURE_DECODERS)

    try:
        with opened() as container:
            stream = track_choice.video(container, opened)
            first = next(frames(container, stream, max_pixels), None)
            if first is None:
                raise StepError("not_playable")
            coded, pixels = tone_mapping.of_frame(stream, first), first.width * first.height
            return Glance(stream.index, orientation_of(first), coded, pixels, len(container.streams))
    except MemoryError:
        raise
    except av.error.FFmpegError as error:
        raise StepError("not_playable") from error


def frames(container: InputContainer, stream: VideoStream, max_pixels: int) -> Iterator[VideoFrame]:
    """Frames from the container's position; damaged packets are skipped, up to a bound."""
    decoder = stream.codec_context
    if not decoder.is_open:
        decoder.thread_count = 1
        decoder.options = {"max_pixels": str(max_pixels), "codec_whitelist": DECODERS}
    for number, packet in enumerate(container.demux(stream)):
        try:
            for frame in packet.decode():
                if isinstance(frame, VideoFrame):
                    yield frame
        except av.error.InvalidDataError:
            pass
        if number >= _MAX_PACKETS:
            return


def orientation_of(frame: VideoFrame) -> Orientation:
    """The orientation in which the frame is shown."""
    return orientation.of_matrix(pyav.display_matrix(frame))


def turn(frame: VideoFrame) -> int | None:
    """Degrees clockwise by which every player turns the frame; None when players may not agree on it."""
    return orientation_of(frame).copied_degrees


def _describe(container: InputContainer, stream: VideoStream, max_pixels: int, facts: Mapping[str, Any]) -> Source:
    seen = [frame for frame, _ in zip(frames(container, stream, max_pixels), range(_FRAMES), strict=False)]
    if not seen:
        raise StepError("not_playable")
    context, first = stream.codec_context, seen[0]
    width, height = _shown(stream, first)
    rate = stream.average_rate or stream.guessed_rate
    sounds = _sounds(container)
    audio = sounds[0] if sounds else None
    return Source(
        index=stream.index,
        width=width,
        height=height,
        codec=pyav.decoder(stream) or "?",
        profile=context.profile,
        level=context.level if context.level > 0 else None,
        pixel_format=first.format.name,
        frame_rate=float(rate) if rate else None,
        is_variable=bool(facts.get("variable_frame_rate")) or _is_variable(stream),
        is_interlaced=any(frame.interlaced_frame for frame in seen),
        is_late=_is_late(container, stream),
        rotation=turn(first),
        orientation=orientation_of(first),
        hdr=tone_mapping.of_frame(stream, first),
        untold_colours=colours.untold(first, height),
        duration=_duration(container, facts),
        start=(container.start_time or 0) / av.time_base,
        packets=_packets(container, stream, audio),
        audio=audio,
        other_audio=tuple(sounds[1:]),
        unknown_audio=len(container.streams.audio) - len(sounds),
    )


def _shown(stream: VideoStream, frame: VideoFrame) -> tuple[int, int]:
    """Width and height as a player shows them."""
    width, height = float(frame.width), float(frame.height)
    shape = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    if shape and 1 / 16 <= shape <= 16:  # other values are broken headers
        width *= float(shape)
    if orientation_of(frame).swaps:
        width, height = height, width
    return max(1, round(width)), max(1, round(height))


def _is_variable(stream: VideoStream) -> bool:
    average, base = stream.average_rate, stream.base_rate
    if not average or not base:
        return True
    return max(average / base, base / average) > _UNEVEN


def _is_late(container: InputContainer, stream: VideoStream) -> bool:
    if stream.start_time is None or not stream.time_base:
        return False
    return float(stream.start_time * stream.time_base) - (container.start_time or 0) / av.time_base > _LATE


def _duration(container: InputContainer, facts: Mapping[str, Any]) -> float | None:
    """Seconds; None where the file does not say."""
    declared = facts.get("duration")
    seconds = float(declared) if declared else (container.duration or 0) / av.time_base
    return seconds if 0 < seconds < _LONGEST else None


def _packets(container: InputContainer, stream: VideoStream, audio: Audio | None) -> int | None:
    counts = [stream.frames, *([container.streams[audio.index].frames] if audio else [])]
    return sum(counts) if all(counts) else None


def _sounds(container: InputContainer) -> list[Audio]:
    """The tracks that can be decoded; the default one first."""
    found = [audio for audio in map(_track, container.streams.audio) if audio is not None]
    default = {s.index for s in container.streams.audio if s.disposition & Disposition.default}
    return sorted(found, key=lambda audio: audio.index not in default)


def _track(stream: AudioStream) -> Audio | None:
    context = stream.codec_context
    codec = pyav.decoder(stream)
    if codec is None or not context.sample_rate or not (channels := pyav.channels(stream)):
        return None
    return Audio(stream.index, codec, context.profile, channels, context.sample_rate)
