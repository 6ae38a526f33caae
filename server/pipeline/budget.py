"""How much a video may cost: pixels of all its frames, and the time that its steps get.

Rule: pure. A few kilobytes can describe hours of huge frames, so neither the bytes nor the size of one frame bounds the
cost. Both bounds are far above what cameras and screen recorders make.
"""

import math
from collections.abc import Mapping

from server.errors import StepError

_GIGA = 1e9

# The pixels that a file may have for its bytes. A still screen recorded for an hour (1080p, 30 frames a second) has
# 2,500 pixels a byte at 20 kB/s, and 25,000 at 2 kB/s. Without bytes: five minutes of 1080p.
_PIXELS_PER_BYTE, _FREE_PIXELS = 50_000, 20e9

# Encoding 1080p by the preset `veryfast` takes about 50 million pixels a second of one processor. The budget assumes a
# tenth of it and less: slower presets, all sizes of HLS, a machine that does other work. Copies are bounded by bytes.
_PIXELS_PER_SECOND, _BYTES_PER_SECOND = 3e6, 100_000
_UNKNOWN_BYTES_PER_SECOND = 20_000  # where the length of the video is not known
_LEAST = 120.0  # seconds that every step gets


def pixels(facts: Mapping[str, object], frames: int = 0) -> float | None:
    """Width x height x frames; None where the file does not say how long it is.

    `facts` are the columns `width`, `height`, `duration` (seconds) and `frame_rate` of the probe; `frames` is how many
    the file's index has, which counts when it is more.
    """
    width, height, duration, rate = (_number(facts.get(name)) for name in ("width", "height", "duration", "frame_rate"))
    count = max(duration * rate, frames)
    return width * height * count if count and width and height else None


def check(found: float | None, size: int, limit: float) -> None:
    """Raise `StepError` too_many_pixels for a video of `found` pixels in `size` bytes; `limit` is in gigapixels."""
    most = min(limit * _GIGA, _FREE_PIXELS + size * _PIXELS_PER_BYTE)
    if found is not None and found > most:
        raise StepError("too_many_pixels", pixels=_rounded(found), limit=_rounded(most))


def seconds(facts: Mapping[str, object], size: int, limit: float) -> float:
    """Seconds that one step of a video of `size` bytes gets: what its facts justify, at most `limit`."""
    found = pixels(facts)
    if found is None:
        return min(limit, _LEAST + size / _UNKNOWN_BYTES_PER_SECOND)
    return min(limit, math.ceil(_LEAST + max(found / _PIXELS_PER_SECOND, size / _BYTES_PER_SECOND)))


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) and value > 0 else 0.0


def _rounded(value: float) -> float:
    """In gigapixels, with at most two decimals."""
    giga = round(value / _GIGA, 2)
    return int(giga) if giga >= 100 or giga == int(giga) else giga
