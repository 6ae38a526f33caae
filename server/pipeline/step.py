"""The contract of a step of the pipeline, and its context.

Rule: a step gets everything it needs in its `StepContext`, writes only below `context.output`, and returns columns of
the file's row, besides `HINTS`. Both are published together at its end: the columns in the row, and each file or folder
of `output` in the file's place among the results. Until then nothing is visible, and it may be run again from the
start, by another process.

It ends in one of five ways: a mapping; `StepError` (the file is to blame, trying again will not help); `TryLaterError`
(something that the step needs is away); `Cancelled`; or any other exception (the machine is to blame). After the third
and the last it is tried again, after growing pauses.
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from server.errors import Param, StepError
from server.media_types import MediaType
from server.pipeline.costs import Cost, Material
from server.pipeline.sandbox import spare_children
from server.pipeline.sandbox.spare_children import SpareChildren
from server.settings import Settings

MAX_PIXELS = 8192 * 8192
"""Pixels of the largest frame that is decoded: room for 8K (7680 x 4320), not for a decompression bomb."""

MAX_STREAMS = 1200
"""Tracks of a file that FFmpeg accepts (`-max_streams`): each takes memory. One more counts as out of memory."""


HINTS = frozenset({"key_seconds"})
"""Facts that a step may return for the later steps and for estimates, and that have no column."""


class TryLaterError(Exception):
    """A service that the step needs is away: the task is postponed, and tried again after a pause.

    `code` and `params` are shown to people meanwhile. With `counts`, the step is given up after as many failures as
    `task_max_attempts`; without, it waits for as long as it takes.
    """

    def __init__(self, code: str, *, counts: bool = True, **params: Param) -> None:
        super().__init__(code, params)
        self.code = code
        self.params = params
        self.counts = counts


class Cancelled(Exception):  # noqa: N818  # not an error: a person cancelled the task
    """The task was cancelled while the step ran; every process of the step is gone."""


@dataclass(frozen=True)
class Limits:
    """What one run of a child may use: `seconds` of wall clock, `memory` bytes of address space for each of its
    processes, `file_size` bytes for each file that it writes. With `is_idle` it runs when nothing else wants to."""

    seconds: float
    memory: int
    file_size: int = 64 << 20
    is_idle: bool = False


@dataclass(frozen=True)
class StepContext:
    """One step of one file in one attempt.

    `source` is the original, `size` its bytes. `output` is an existing directory that belongs to this step in this
    attempt alone. `media_type` is None for a file that is not a known video. `ffmpeg` is the path of the binary.
    `facts` has the columns that the earlier steps of this file found out. `report` takes the percent (0 to 100) of
    this step that is done; it may raise, which ends the step. `spares` are children that may wait for a job.
    `max_duration` are the most seconds that the grant of the upload allows, None for any number.
    """

    source: Path
    size: int
    output: Path
    media_type: MediaType | None
    settings: Settings
    limits: Limits
    ffmpeg: str
    facts: Mapping[str, object]
    cancelled: threading.Event
    report: Callable[[int], None]
    spares: SpareChildren = spare_children.NONE
    max_duration: float | None = None

    @property
    def demuxer(self) -> str:
        """The demuxer of a file that is a video."""
        if self.media_type is None:
            raise StepError("not_playable")
        return self.media_type.demuxer


class Step(ABC):
    """A step of the pipeline. Steps have no state: one object serves every file and thread."""

    name: ClassVar[str]
    """In rows, logs and events; at most 16 characters."""

    is_required: ClassVar[bool] = True
    """Whether the file has failed when the step has. Otherwise only this result is missing."""

    beside: ClassVar[str | None] = None
    """The step that it may run beside, when both are to run: neither needs what the other finds out."""

    def applies_to(self, media_type: MediaType | None) -> bool:
        """Whether the step has work for such a file; None is a file that is not a video."""
        return media_type is not None

    def is_wanted(self, settings: Settings) -> bool:  # noqa: ARG002  # a step that can be switched off looks
        """Whether the settings enable it; otherwise it is recorded as skipped."""
        return True

    @abstractmethod
    def cost(self, material: Material, settings: Settings) -> Cost:
        """What it takes for such a file, for the progress and the remaining time."""

    def limits(self, settings: Settings) -> Limits:
        """The limits of one run."""
        return Limits(settings.step_time_limit, int(settings.step_memory_limit))

    @abstractmethod
    def run(self, context: StepContext) -> Mapping[str, object]:
        """Do the work; return columns of the file's row. Raises as the module's rule describes."""


def require_source(context: StepContext) -> str:
    """The absolute path of the original for a child process; `StepError` original_missing if it is gone."""
    if not context.source.is_file():
        raise StepError("original_missing")
    return str(context.source.absolute())
