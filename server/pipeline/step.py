"""What a step of the pipeline is, and what it is given.

Rule: a step gets everything it needs in its `StepContext`, writes only below `context.output`, and returns the
columns of the file's row that it found out. It ends in one of four ways: a mapping, `StepError` (the file is to
blame; trying again will not help), `Cancelled`, or any other exception (the machine is to blame; the runner may
try again).
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from server.errors import StepError
from server.media_types import MediaType

MAX_PIXELS = 8192 * 8192
"""Pixels of the largest frame that is decoded: room for 8K (7680 x 4320), not for a decompression bomb."""


class Cancelled(Exception):  # noqa: N818  # it is no error: somebody wished it
    """The task was cancelled while the step ran; every process of the step is gone."""


@dataclass(frozen=True)
class Limits:
    """What one run of a child may use: `seconds` of wall clock, `memory` bytes of address space for each of its
    processes, `file_size` bytes for each file that it writes."""

    seconds: float
    memory: int
    file_size: int = 64 << 20


@dataclass(frozen=True)
class StepContext:
    """One file in one attempt.

    `output` is an existing directory that belongs to this attempt and file alone. `ffmpeg` is the path of the
    binary. `poster_size` is in pixels. `facts` has the results of the earlier steps of this file. `report`
    takes the percent (0 to 100) of this step that is done; it may raise, and the step ends with that.
    """

    source: Path
    output: Path
    media_type: MediaType
    limits: Limits
    ffmpeg: str
    poster_size: int
    facts: Mapping[str, object]
    cancelled: threading.Event
    report: Callable[[int], None]


class Step(Protocol):
    """A step of the pipeline. Steps have no state: one object serves every file and thread."""

    @property
    def name(self) -> str:
        """Its name in logs and events."""

    @property
    def weight(self) -> int:
        """Its share of a file's progress, compared with the other steps that apply."""

    def applies_to(self, media_type: MediaType | None) -> bool:
        """Whether the step has anything to do for such a file; None is a file that is no video."""

    def run(self, context: StepContext) -> Mapping[str, object]:
        """Do the work; return columns of the file's row. Raises as the module's rule says."""


def require_source(context: StepContext) -> str:
    """The absolute path of the original for a child process; `StepError` original_missing if it is gone."""
    if not context.source.is_file():
        raise StepError("original_missing")
    return str(context.source.absolute())
