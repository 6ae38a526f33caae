"""When the tracks of a file begin and end, counted from their packets. For the child process only.

Rule: headers are not trusted. Reading all packets costs little beside decoding them, and only existing packets can be
played. Times are seconds from the start of the file.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import av
import av.error

from server.pipeline.media import pyav
from server.pipeline.media import source as sources
from server.pipeline.media.renditions import Source

_NOTICED = 0.1  # seconds between the ends of two tracks that disturb a player
_AT_ONCE = 0.03  # seconds between pictures and sound that cannot be noticed
_RATE = 25.0  # frames a second where a file does not say
_PAUSE = 0.25  # seconds between two pictures that are filled
_FILLED_RATE = 5.0  # frames a second of HLS at least


@dataclass(frozen=True)
class Span:
    """A track: when its first packet is shown, when its last is, when that ends, and its longest pause."""

    start: float
    last: float
    end: float
    pause: float = 0.0


def measure(path: str, demuxer: str, max_pixels: int, indexes: Collection[int]) -> Mapping[int, Span]:
    """The spans of these tracks, as far as they have packets; of a damaged file as far as it can be read."""
    found: dict[int, Span] = {}
    try:
        with sources.open_container(path, demuxer, max_pixels) as container:
            pyav.invent_no_times(container)
            origin = (container.start_time or 0) / av.time_base
            wanted = [stream for stream in container.streams if stream.index in indexes]
            for packet in container.demux(wanted):
                stamp = packet.pts if packet.pts is not None else packet.dts
                if packet.size == 0 or packet.is_discard or stamp is None or packet.time_base is None:
                    continue
                start = float(stamp * packet.time_base) - origin
                end = start + float((packet.duration or 0) * packet.time_base)
                known = found.get(packet.stream.index, Span(start, start, end))
                pause = max(known.pause, start - known.last)
                found[packet.stream.index] = Span(
                    min(start, known.start), max(start, known.last), max(end, known.end), pause
                )
    except (av.error.FFmpegError, ValueError):
        pass
    return found


def with_ends(source: Source, spans: Mapping[int, Span]) -> Source:
    """The source with the changes that keep its last picture for as long as it should be shown."""
    pictures = spans.get(source.index)
    if pictures is None:
        return source
    return _held(source, pictures, pictures.end)


def with_even_tracks(source: Source, spans: Mapping[int, Span]) -> Source:
    """The source with the changes that make pictures and sound begin at 0 and end together.

    Players of HLS buffer both tracks, and wait for ever where one of them has nothing. They also seek and find gaps by
    usual frame rates: slow pictures are repeated, so that there are at least 5 a second.
    """
    pictures = spans.get(source.index)
    if pictures is None:
        return source
    rate = source.made_rate
    if rate is not None and rate < _FILLED_RATE:
        repeats = -(-_FILLED_RATE // rate)
        source = replace(source, frame_rate=rate * repeats, is_variable=False, is_filled=True)
    elif pictures.pause > max(_PAUSE, 1.5 / (rate or _RATE)):
        # FFmpeg's muxer begins a segment where the last one ended, and would show its first picture too early.
        source = replace(source, frame_rate=source.frame_rate or _RATE, is_variable=False, is_filled=True)
    if pictures.start > _AT_ONCE and not source.is_variable:
        source = replace(source, is_late=True)
    elif pictures.start > 0:
        source = replace(source, is_moved=True)
    sound = spans.get(source.audio.index) if source.audio else None
    total = max(pictures.end, sound.end if sound else 0.0)
    return _held(source, pictures, total)


def _held(source: Source, pictures: Span, total: float) -> Source:
    frame = 1 / (source.made_rate or _RATE)
    lacking = total - pictures.last - frame
    if lacking <= max(_NOTICED, frame / 2):
        return replace(source, until=total)
    return replace(source, until=total, held=lacking)
