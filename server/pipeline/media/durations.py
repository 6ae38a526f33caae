"""How long a video really is, and whether its file was cut. For child processes only.

Rule: a header's duration is only one source. The times of the first and the last packet are another, the file size that
the container declares is the third. Times are seconds.
"""

import struct
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import av
import av.error
from av.container import InputContainer
from av.index import IndexEntries
from av.stream import Discard, Stream

from server.pipeline.media import boxes
from server.pipeline.media.boxes import Element

_LONGEST = 366 * 86400.0  # a duration beyond a year is a broken header
_TOLERANCE, _SHARE = 0.1, 0.002  # how much a header may be off: seconds, and a share of the duration
_OFFSET = 1.0  # a start later than this is an offset, an earlier one a codec's delay
_PATIENCE = 15.0  # for reading a file from start to end where its duration cannot be found otherwise
_TAIL = 2.0  # before the declared end: where reading the last packets begins

# Demuxers whose headers count samples: what is declared and missing was cut off. Others may declare a long last frame.
_EXACT = ("flv", "mxf")

_MEDIA_BOXES = (b"mdat", b"moof")
_SEGMENT = b"\x18\x53\x80\x67"
_ASF_FILE = uuid.UUID("8CABDCA1-A947-11CF-8EE4-00C00C205365").bytes_le
_ASF_FILE_SIZE = 16 + 8 + 16  # bytes from the object's name to the size of the file
_HEAD = 64 << 10


@dataclass(frozen=True)
class Length:
    """`seconds` from the first picture or sound to the end of the last, None if that cannot be known; and whether the
    file was cut, so that there should be more."""

    seconds: float | None
    is_truncated: bool


@dataclass(frozen=True)
class Declared:
    """FFmpeg's reading of the headers: when the file starts by its own clock, and for how long it goes on, or 0."""

    start: float
    duration: float


def length(
    path: str, demuxer: str, streams: Sequence[int], by: Declared, reopen: Callable[[], InputContainer]
) -> Length:
    """The length over the tracks with these indexes; `reopen` opens the file."""
    start, declared = by.start, _usable(by.duration)
    is_cut = _is_cut(path, demuxer)
    end = _end(path, streams, declared, reopen, thoroughly=is_cut or declared is None)
    there = _usable(end - start) if end is not None else None
    if declared is None or there is None:
        return Length(there or _without_start(declared, start), is_cut and there is not None)
    # Some containers declare the time of the end, others the time from the start.
    said = min((declared, _without_start(declared, start) or declared), key=lambda one: abs(one - there))
    is_short = said - there > max(_TOLERANCE, said * _SHARE)
    is_fragmented = _is_fragmented(path, demuxer)
    # FFmpeg adds up the fragments that are there, so nothing that is declared is missing.
    if (is_cut and is_fragmented) or (is_short and (is_cut or is_fragmented or demuxer in _EXACT)):
        return Length(there, is_truncated=True)
    return Length(max(said, there), is_truncated=False)


def _usable(seconds: float) -> float | None:
    return seconds if 0 < seconds < _LONGEST else None


def _without_start(declared: float | None, start: float) -> float | None:
    if declared is None or start < _OFFSET or declared <= start:
        return declared
    return declared - start


def _end(
    path: str,
    streams: Sequence[int],
    declared: float | None,
    reopen: Callable[[], InputContainer],
    *,
    thoroughly: bool,
) -> float | None:
    """When the last existing packet ends, by the file's own clock; None if that takes too long to find out."""
    deadline = time.monotonic() + _PATIENCE
    with reopen() as container:
        wanted = _wanted(container, streams)
        target = _last_whole(wanted, Path(path).stat().st_size)
        if target is None:
            target = (declared or 0.0) + (container.start_time or 0) / av.time_base
        if declared is not None and _seek(container, target - _TAIL):
            end = _read(container, wanted, deadline)
            if end is not None:
                return end
        if not thoroughly:
            return None
    with reopen() as container:
        return _read(container, _wanted(container, streams), deadline)


def _wanted(container: InputContainer, indexes: Sequence[int]) -> list[Stream]:
    for stream in container.streams:
        if stream.index not in indexes:
            stream.discard = Discard.all
    return [container.streams[index] for index in indexes]


def _last_whole(streams: Sequence[Stream], size: int) -> float | None:
    """The time up to which an index has packets that the file has whole; None without an index."""
    times = []
    for stream in streams:
        entries, base = stream.index_entries, stream.time_base
        if not len(entries) or base is None:
            continue
        last = _bisect(entries, size)
        times.append(float(entries[max(0, last)].timestamp * base))
    return max(times, default=None)


def _bisect(entries: IndexEntries, size: int) -> int:
    """The last entry that lies within so many bytes; packets are mostly in the file in the order of their times."""
    low, high = -1, len(entries) - 1
    while low < high:
        middle = (low + high + 1) // 2
        if entries[middle].pos + entries[middle].size <= size:
            low = middle
        else:
            high = middle - 1
    return low


def _seek(container: InputContainer, seconds: float) -> bool:
    try:
        container.seek(max(0, int(seconds * av.time_base)))
    except (av.error.FFmpegError, ValueError, OverflowError):
        return False
    return True


def _read(container: InputContainer, streams: Sequence[Stream], deadline: float) -> float | None:
    """The end of the last whole packet from here on; None if there is none, or too many to be read in time."""
    end: float | None = None
    try:
        for packet in container.demux(list(streams)):
            # AV_PKT_FLAG_CORRUPT: the file ends in the middle of it.
            stamp = packet.pts if packet.pts is not None else packet.dts
            if packet.size == 0 or packet.is_corrupt or stamp is None or packet.time_base is None:
                continue
            until = float((stamp + (packet.duration or 0)) * packet.time_base)
            end = until if end is None else max(end, until)
            if time.monotonic() > deadline:
                return None
    except av.error.FFmpegError:
        pass  # the end of what can be read
    return end


def _is_cut(path: str, demuxer: str) -> bool:
    """Whether the container declares more bytes than the file has."""
    look = _SIZES.get(demuxer)
    if look is None:
        return False
    with Path(path).open("rb") as file:
        return look(file)


def _is_fragmented(path: str, demuxer: str) -> bool:
    """Whether an MP4 is made of fragments, which a header counts before they are written."""
    if demuxer != "mov":
        return False
    with Path(path).open("rb") as file:
        return any(boxes.box(file, Element(b"", 0, None, is_whole=True), b"moov", b"mvex"))


def _mov_is_cut(file: BinaryIO) -> bool:
    return any(not one.is_whole and one.kind in _MEDIA_BOXES for one in boxes.boxes(file, 0, None))


def _matroska_is_cut(file: BinaryIO) -> bool:
    return any(not one.is_whole and one.kind == _SEGMENT for one in boxes.elements(file, 0, None))


def _avi_is_cut(file: BinaryIO) -> bool:
    """One RIFF chunk after the other, each of a gigabyte at most (OpenDML)."""
    whole, at = boxes.size_of(file), 0
    while at + 8 <= whole:
        file.seek(at)
        head = file.read(8)
        if head[:4] != b"RIFF":
            return False
        at += 8 + int.from_bytes(head[4:], "little")
    # Chunks have even length, and some writers leave out the last padding byte.
    return at > whole + 1


def _asf_is_cut(file: BinaryIO) -> bool:
    head = file.read(_HEAD)
    at = head.find(_ASF_FILE)
    return at >= 0 and boxes.little(head, at + _ASF_FILE_SIZE) > boxes.size_of(file)


def _flv_is_cut(file: BinaryIO) -> bool:
    head = file.read(_HEAD)
    at = head.find(b"\x00\x08filesize\x00")
    if at < 0 or len(head) < at + 19:
        return False
    declared = float(struct.unpack_from(">d", head, at + 11)[0])
    return declared > boxes.size_of(file)


_SIZES: Mapping[str, Callable[[BinaryIO], bool]] = {
    "mov": _mov_is_cut,
    "matroska": _matroska_is_cut,
    "avi": _avi_is_cut,
    "asf": _asf_is_cut,
    "flv": _flv_is_cut,
}
