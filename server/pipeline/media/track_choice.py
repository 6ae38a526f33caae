"""Which of a file's tracks is the video. For child processes only.

Rule: every step takes the track that is chosen here, and none simply takes the first one: covers, thumbnails and
stills come before the video in many files.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import av.error
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from server.errors import StepError
from server.pipeline.media import pyav

# Tracks of pictures that are never the video: covers, thumbnails, and frames that only help to decode others.
_PICTURES = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image | Disposition.dependent
# Codecs of still images: a track of one frame of these is a picture, whatever its container says.
_IMAGE_CODECS = frozenset({"mjpeg", "png", "bmp", "gif", "tiff", "webp", "jpeg2000", "jpegxl", "ppm", "targa", "svg"})
_LOOKED_AT = 400, 16 << 20  # packets, and their bytes, that distinguish several tracks
_FEW = 2  # packets of a track that has ended before it became a video


def video(container: InputContainer, reopen: Callable[[], InputContainer]) -> VideoStream:
    """The best video track that can be decoded: a moving one, the default, the largest, the longest.

    `reopen` opens the same file once more, to count packets, when there is a choice. Raises `StepError`
    no_video_stream, only_pictures, or codec_unsupported with the name of the `codec`.
    """
    found = list(container.streams.video)
    if not found:
        raise StepError("no_video_stream")
    moving = [stream for stream in found if not stream.disposition & _PICTURES]
    counts = _counts(moving, reopen)
    moving = [stream for stream in moving if not _is_image(stream, counts[stream.index])]
    if not moving:
        raise StepError("only_pictures")
    decodable = [stream for stream in moving if pyav.decoder(stream) is not None]
    if not decodable:
        raise StepError("codec_unsupported", codec=_name(moving[0]))
    return max(decodable, key=lambda stream: _rank(stream, counts[stream.index]))


def _counts(streams: Sequence[VideoStream], reopen: Callable[[], InputContainer]) -> Counter[int]:
    """Frames of each track, by its index: all in the file's index, or those among the first packets."""
    counts = Counter({stream.index: max(stream.frames, len(stream.index_entries)) for stream in streams})
    # A single track of a video codec needs no counting.
    if all(counts[s.index] > _FEW or (len(streams) == 1 and s.name not in _IMAGE_CODECS) for s in streams):
        return counts
    seen: Counter[int] = Counter()
    with reopen() as container:
        _count_packets(container, [stream.index for stream in streams], seen)
    return Counter({stream.index: max(counts[stream.index], seen[stream.index]) for stream in streams})


def _count_packets(container: InputContainer, indexes: Sequence[int], seen: Counter[int]) -> None:
    most, size = _LOOKED_AT
    try:
        for packet in container.demux([container.streams[index] for index in indexes]):
            seen[packet.stream_index] += packet.size > 0
            size -= packet.size
            if seen.total() >= most or size < 0:
                return
    except av.error.FFmpegError:
        return  # the count up to the damage is enough for a choice


def _is_image(stream: VideoStream, count: int) -> bool:
    return stream.name in _IMAGE_CODECS and count <= 1


def _rank(stream: VideoStream, count: int) -> tuple[bool, bool, int, float, int]:
    context = stream.codec_context
    seconds = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
    is_default = bool(stream.disposition & Disposition.default)
    # Of equal tracks the first: that with the highest negated index.
    return (count > _FEW, is_default, context.width * context.height, seconds, -stream.index)


def _name(stream: VideoStream) -> str:
    return stream.name or "?"
