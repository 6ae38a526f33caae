"""Looking at pictures: the colours of a JPEG or of a video's first frame."""

from pathlib import Path

import av

Colour = tuple[int, int, int]


class Picture:
    """A decoded picture in RGB."""

    def __init__(self, path: Path) -> None:
        # The image2 demuxer would expand a `%` in the name; this one takes what it is given.
        with path.open("rb") as file, av.open(file, "r", format="jpeg_pipe") as container:
            frame = next(container.decode(container.streams.video[0]))
            self.width, self.height = frame.width, frame.height
            plane = frame.reformat(format="rgb24").planes[0]
            self._line, self._data = plane.line_size, bytes(plane)

    def at(self, x: float, y: float) -> Colour:
        """The colour at shares (0 to 1) of width and height."""
        column, row = int(x * (self.width - 1)), int(y * (self.height - 1))
        start = row * self._line + column * 3
        red, green, blue = self._data[start : start + 3]
        return red, green, blue


def is_red(colour: Colour) -> bool:
    return colour[0] > 200 and colour[1] < 60 and colour[2] < 60


def is_blue(colour: Colour) -> bool:
    return colour[2] > 200 and colour[0] < 60 and colour[1] < 60
