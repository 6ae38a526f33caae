"""What the numbers of a picture mean as colours, where the video does not say all of it.

Rule: a result says it all. A player guesses what a file does not say, and browsers guess one thing for a file and
another for HLS; then the same video has two kinds of green.
"""

from collections.abc import Mapping

from av.video.frame import VideoFrame

_UNTOLD = frozenset({0, 2, 3})  # ITU-T H.273; 0 of a matrix is RGB, whose pictures are converted
_HD = 720  # pixels high; by convention colours changed with the size of television
_SD_NAME, _HD_NAME = "smpte170m", "bt709"
_FAMILIES: Mapping[int, str] = {1: _HD_NAME, 5: _SD_NAME, 6: _SD_NAME}
"""Matrices of table 4 that players know by themselves; primaries and transfer of their families go with them."""


def untold(frame: VideoFrame, height: int) -> str:
    """Options of FFmpeg's filter `setparams` for what the frame, shown `height` pixels high, does not say.

    They are empty if it says all, and for a matrix of wide colours.
    """
    matrix = int(frame.colorspace)
    family = (_HD_NAME if height >= _HD else _SD_NAME) if matrix in _UNTOLD else _FAMILIES.get(matrix)
    if family is None:
        return ""
    known = {"color_primaries": frame.color_primaries, "color_trc": frame.color_trc, "colorspace": matrix}
    return ":".join(f"{name}={family}" for name, value in known.items() if int(value) in _UNTOLD)
