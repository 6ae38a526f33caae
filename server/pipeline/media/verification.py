"""Is FFmpeg's output really playable? A cheap check of the result, with PyAV. For the child process only.

Rule: an exit code of 0 proves nothing. The result is opened, and frames are decoded where they cost little.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import av
import av.error
from av.container import InputContainer
from av.video.stream import VideoStream

from server.pipeline.media import source as sources
from server.pipeline.media.renditions import Source

_LATE = 0.9  # of the duration: where a second frame is tried
_TOLERANCE, _SHARE = 1.0, 0.02  # seconds, and of the duration, that a copy may differ in length
_MAX_PIXELS = 8192 * 8192
_PACKETS = 200  # of a copy, whose times are checked


def plays(path: Path, source: Source, *, is_copy: bool) -> bool:
    """Whether the MP4 at `path` can be played from its start; a copy also to its end, as long as its source."""
    if not path.is_file():
        return False
    try:
        with sources.open_container(str(path), "mov", _MAX_PIXELS) as container:
            stream = container.streams.video[0]
            first = next(sources.frames(container, stream, _MAX_PIXELS), None)
            if first is None or first.is_corrupt or not _has_sound_as(container, source):
                return False
            return not is_copy or (
                sources.turn(first) == source.rotation
                and _is_as_long(container, source)
                and _has_times(container, stream)
                and _shows_its_end(container, stream)
            )
    except (av.error.FFmpegError, ValueError, IndexError):
        return False


def starts(init: Path, segment: Path) -> bool:
    """Whether a segment of HLS, after its initialization, begins with a frame that can be shown."""
    try:
        with _joined(init, segment) as container:
            return next(sources.frames(container, container.streams.video[0], _MAX_PIXELS), None) is not None
    except (av.error.FFmpegError, IndexError, FileNotFoundError):
        return False


def length(init: Path, segment: Path) -> float:
    """Seconds from the first of its samples to the end of its last. Raises `ValueError` when it cannot be read."""
    times: list[float] = []
    try:
        with _joined(init, segment) as container:
            for packet in container.demux(container.streams[0]):
                if packet.pts is not None and packet.time_base is not None:
                    start, base = packet.pts, float(packet.time_base)
                    times += [start * base, (start + (packet.duration or 0)) * base]
    except (av.error.FFmpegError, IndexError, FileNotFoundError) as error:
        raise ValueError("a segment cannot be read") from error
    if not times:
        raise ValueError("a segment has nothing in it")
    return max(times) - min(times)


@contextlib.contextmanager
def _joined(init: Path, segment: Path) -> Iterator[InputContainer]:
    joined = segment.with_name("joined.mp4")
    try:
        joined.write_bytes(init.read_bytes() + segment.read_bytes())
        with sources.open_container(str(joined), "mov", _MAX_PIXELS) as container:
            yield container
    finally:
        joined.unlink(missing_ok=True)


def _has_sound_as(container: InputContainer, source: Source) -> bool:
    """Whether there is sound if there should be; a track without a packet does not count."""
    if source.audio is None:
        return not container.streams.audio
    return any(track.duration or track.frames for track in container.streams.audio)


def _is_as_long(container: InputContainer, source: Source) -> bool:
    if source.duration is None:
        return True
    made = (container.duration or 0) / av.time_base
    # Some muxers write the time of the end as the duration.
    expected = (source.duration, source.duration - source.start)
    return any(abs(made - one) <= max(_TOLERANCE, one * _SHARE) for one in expected)


def _has_times(container: InputContainer, stream: VideoStream) -> bool:
    """Whether packets have presentation times, and come in the order of their decoding."""
    container.seek(0)
    last = None
    for number, packet in enumerate(container.demux(stream)):
        if packet.size == 0 or number >= _PACKETS:
            break
        if packet.pts is None or packet.dts is None or (last is not None and packet.dts <= last):
            return False
        last = packet.dts
    return last is not None


def _shows_its_end(container: InputContainer, stream: VideoStream) -> bool:
    container.seek(int((container.duration or 0) * _LATE))
    return next(sources.frames(container, stream, _MAX_PIXELS), None) is not None
