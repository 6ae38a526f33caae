"""A poster that an owner chooses: a frame of the video, an own picture, or again the one that a step would take.

Rule: as in the step, all decoding is done by a child in the sandbox, and `poster.jpg` is there whole or not at all.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from server.errors import StepError
from server.pipeline.media import ffmpeg
from server.pipeline.sandbox import child, fallback
from server.pipeline.sandbox.spare_children import NONE
from server.pipeline.step import MAX_PIXELS, MAX_STREAMS, Limits
from server.pipeline.steps.poster import FILE_NAME
from server.settings import Settings

MOST_SECONDS = 60.0
"""For one poster: its owner waits."""

_SIGNS = (
    (b"\xff\xd8\xff", 0, "jpeg_pipe"),
    (b"\x89PNG\r\n\x1a\n", 0, "png_pipe"),
    (b"WEBP", 8, "webp_pipe"),
)


@dataclass(frozen=True)
class Source:
    """A video file: its path, the demuxer that may open it, and how many seconds it has, if that is known."""

    path: Path
    demuxer: str
    duration: float | None


def demuxer_of(picture: bytes) -> str | None:
    """The demuxer of a JPEG, PNG or WebP, by its first bytes; None for anything else."""
    return next((name for sign, place, name in _SIGNS if picture[place : place + len(sign)] == sign), None)


def from_frame(source: Source, at: float, output: Path, settings: Settings, stop: threading.Event) -> None:
    """Write the frame `at` so many seconds into the folder `output`. Raises `StepError`, `Cancelled`, `StartError`.

    Blocking.
    """
    _of_video("server.pipeline.jobs.poster:take", source, {"at": at}, output, settings, stop)


def automatic(source: Source, output: Path, settings: Settings, stop: threading.Event) -> None:
    """The same for the frame that the step `poster` takes."""
    _of_video("server.pipeline.jobs.poster:make", source, {"duration": source.duration}, output, settings, stop)


def from_picture(picture: Path, demuxer: str, output: Path, settings: Settings, stop: threading.Event) -> None:
    """The same from a picture, which may be in that folder."""
    arguments = _arguments(picture, demuxer, output, settings)
    child.run(
        "server.pipeline.jobs.picture:convert",
        arguments,
        limits=_limits(settings),
        cancelled=stop,
        report=lambda _: None,
        spares=NONE,
    )


def _of_video(
    job: str, source: Source, more: Mapping[str, object], output: Path, settings: Settings, stop: threading.Event
) -> None:
    fallback.run(
        job,
        {**_arguments(source.path, source.demuxer, output, settings), **more},
        limits=_limits(settings),
        cancelled=stop,
        report=lambda _: None,
        spares=NONE,
    )


def _arguments(path: Path, demuxer: str, output: Path, settings: Settings) -> dict[str, object]:
    if not path.is_file():
        raise StepError("original_missing")
    return {
        "path": str(path.absolute()),
        "demuxer": demuxer,
        "max_pixels": MAX_PIXELS,
        "max_streams": MAX_STREAMS,
        "ffmpeg": ffmpeg.find(settings.ffmpeg),
        "output": str(output.absolute()),
        "name": FILE_NAME,
        "edge": settings.poster_size,
        "seconds": _limits(settings).seconds,
    }


def _limits(settings: Settings) -> Limits:
    return Limits(min(MOST_SECONDS, settings.step_time_limit), int(settings.step_memory_limit))
