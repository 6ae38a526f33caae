"""The nested elements of ISO-BMFF (MP4, MOV, 3GP) and of EBML (Matroska, WebM), without their payload.

Rule: pure reading with bounds: at most `_MOST` elements of a level and `_SMALL` bytes of content, whatever a header
declares. An element that cannot be read ends the walk; FFmpeg judges a damaged file.
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_MOST = 100_000  # elements of one level: a fragmented recording of days
_SMALL = 64 << 10  # bytes
_MATRIX_AT, _MATRIX_AT_LONG = 40, 52  # of the content of `tkhd`, by its version (ISO/IEC 14496-12 section 8.3.2)
_UNITY = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)


@dataclass(frozen=True)
class Element:
    """One element: its `kind` (a box's four letters, an EBML id), and where its content is in the file.

    `end` is None when the element declares no size; `is_whole` is false when the file ends before it.
    """

    kind: bytes
    start: int
    end: int | None
    is_whole: bool


def size_of(file: BinaryIO) -> int:
    """Bytes of the file."""
    return os.fstat(file.fileno()).st_size


def content(file: BinaryIO, element: Element, most: int = _SMALL) -> bytes:
    """The first bytes of an element's content."""
    end = element.start + most if element.end is None else min(element.end, element.start + most)
    file.seek(element.start)
    return file.read(max(0, end - element.start))


def boxes(file: BinaryIO, start: int, end: int | None) -> Iterator[Element]:
    """The boxes between two places (ISO/IEC 14496-12 section 4.2), in order; `end` None is the end of the file."""
    whole = size_of(file)
    most = whole if end is None else min(end, whole)
    for _ in range(_MOST):
        file.seek(start)
        head = file.read(16)
        if start + 8 > most or len(head) < 8:
            return
        size, header = int.from_bytes(head[:4], "big"), 8
        if size == 1 and len(head) == 16:
            size, header = int.from_bytes(head[8:16], "big"), 16
        elif size == 0:
            size = most - start
        if size < header:
            return
        yield Element(head[4:8], start + header, start + size, start + size <= whole)
        start += size


def box(file: BinaryIO, inside: Element, *path: bytes) -> Iterator[Element]:
    """Every box on the path of these kinds."""
    for found in boxes(file, inside.start, inside.end):
        if found.kind == path[0]:
            if len(path) == 1:
                yield found
            else:
                yield from box(file, found, *path[1:])


def elements(file: BinaryIO, start: int, end: int | None) -> Iterator[Element]:
    """The EBML elements between two places (RFC 8794 section 4), in order."""
    whole = size_of(file)
    most = whole if end is None else min(end, whole)
    for _ in range(_MOST):
        if start >= most:
            return
        file.seek(start)
        head = file.read(12)
        kind_length = _length(head, 4)
        if not kind_length:
            return
        size_length = _length(head[kind_length:], 8)
        if not size_length or len(head) < kind_length + size_length:
            return
        coded = int.from_bytes(head[kind_length : kind_length + size_length], "big")
        size = coded & ((1 << (7 * size_length)) - 1)
        start += kind_length + size_length
        # All ones is an element of unknown size, as in a live recording.
        stop = None if size == (1 << (7 * size_length)) - 1 else start + size
        yield Element(head[:kind_length], start, stop, stop is None or stop <= whole)
        if stop is None:
            return
        start = stop


def element(file: BinaryIO, inside: Element, *path: bytes) -> Iterator[Element]:
    """Every EBML element on the path of these ids."""
    for found in elements(file, inside.start, inside.end):
        if found.kind == path[0]:
            if len(path) == 1:
                yield found
            else:
                yield from element(file, found, *path[1:])


def number(data: bytes) -> int:
    """An unsigned integer, most significant byte first."""
    return int.from_bytes(data, "big")


def little(data: bytes, at: int) -> int:
    """64 bits, least significant byte first; 0 beyond the end."""
    return int(struct.unpack_from("<Q", data, at)[0]) if len(data) >= at + 8 else 0


def make_upright(path: Path) -> None:
    """Remove the rotation from every track of an MP4 whose pictures were turned upright before.

    FFmpeg 5 copies the matrix of the source into its output, unless it has rotated the pictures by itself.
    """
    with path.open("r+b") as file:
        for header in list(box(file, Element(b"", 0, None, is_whole=True), b"moov", b"trak", b"tkhd")):
            at = header.start + (_MATRIX_AT_LONG if content(file, header, 1) == b"\1" else _MATRIX_AT)
            if header.end is not None and at + len(_UNITY) <= header.end:
                file.seek(at)
                file.write(_UNITY)


def _length(head: bytes, most: int) -> int:
    """Bytes of a number whose first set bit declares its length; 0 if it has none."""
    length = 9 - head[0].bit_length() if head else 0
    return length if 1 <= length <= most else 0
