"""How a stored picture becomes the picture that is shown: quarter turns and mirroring, from a display matrix.

Rule: pure. Every result of a video (status, poster, MP4, HLS, storyboard) takes the orientation from here, and FFmpeg
never decides by itself: its versions differ about a matrix that is not a quarter turn.
"""

import math
import struct
from dataclasses import dataclass

_SIZE = 36  # bytes: nine integers of 32 bits (ISO/IEC 14496-12 section 6.2.2), of the machine's byte order in FFmpeg
_TOLERANCE = math.sin(math.radians(0.5))  # a matrix that is rounded is still a quarter turn
_CLOCKWISE = {(1, 0, 0, 1): 0, (0, 1, -1, 0): 90, (-1, 0, 0, -1): 180, (0, -1, 1, 0): 270}
_FILTERS = {0: (), 90: ("transpose=clock",), 180: ("hflip", "vflip"), 270: ("transpose=cclock",)}


@dataclass(frozen=True)
class Orientation:
    """`degrees` (0, 90, 180 or 270) clockwise, after left and right were exchanged if `is_mirrored`.

    `is_odd` means that the file has a matrix which is none of these (zeros, 45 degrees, a perspective). Players differ
    about it, so the picture is shown as it is stored.
    """

    degrees: int = 0
    is_mirrored: bool = False
    is_odd: bool = False

    @property
    def swaps(self) -> bool:
        """Whether width and height are exchanged."""
        return self.degrees % 180 == 90

    @property
    def copied_degrees(self) -> int | None:
        """The rotation that a copy of the video declares; None if players would not agree, so it cannot be copied."""
        return None if self.is_mirrored or self.is_odd else self.degrees

    @property
    def filters(self) -> tuple[str, ...]:
        """FFmpeg's filters that turn a stored frame upright, with FFmpeg's own rotation switched off."""
        return (*(("hflip",) if self.is_mirrored else ()), *_FILTERS[self.degrees])


UPRIGHT = Orientation()
_ODD = Orientation(is_odd=True)


def of_matrix(data: bytes | None) -> Orientation:
    """The orientation of a display matrix as FFmpeg returns it; None is a video without one."""
    if data is None:
        return UPRIGHT
    if len(data) < _SIZE:
        return _ODD
    a, b, _, c, d, *_ = struct.unpack("=9i", data[:_SIZE])
    # A matrix may scale as well: that changes the shape of the pixels, which FFmpeg reports by itself.
    first, second = math.hypot(a, c), math.hypot(b, d)
    if not first or not second:
        return _ODD
    exact = (a / first, b / second, c / first, d / second)
    rounded = tuple(round(value) for value in exact)
    if any(abs(value - whole) > _TOLERANCE for value, whole in zip(exact, rounded, strict=True)):
        return _ODD
    a, b, c, d = rounded
    if rounded in _CLOCKWISE:
        return Orientation(_CLOCKWISE[rounded])
    if (-a, -b, c, d) in _CLOCKWISE:
        return Orientation(_CLOCKWISE[-a, -b, c, d], is_mirrored=True)
    return _ODD
