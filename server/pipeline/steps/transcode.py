"""Shared by the steps `mp4` and `hls`: the parent's side of a transcode.

Rule: the parent says what is to be made and within which bounds; the job in the child looks at the video and decides
how. A full disk is never the video's fault.
"""

import errno
import os
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from server.pipeline.step import Limits, Step, StepContext
from server.pipeline.steps import media_job
from server.settings import Settings

_ROOM = 64 << 20  # bytes; with less than this the disk is full, whatever FFmpeg says
_MAX_THREADS = 8  # of one program; more make hardly faster and take much memory
_ADDED = 512 << 20  # bytes for a file besides what the job allows for; the job's own bound comes first
_GROWTH = 20


class Transcode(Step):
    """A step with a playable result."""

    job: ClassVar[str]
    """`module:function` of the job in the child."""

    def limits(self, settings: Settings) -> Limits:
        """Encoding has a time limit and a priority of its own."""
        is_idle = settings.encode_priority == "idle"
        return replace(super().limits(settings), seconds=settings.transcode_time_limit, is_idle=is_idle)

    def run(self, context: StepContext) -> Mapping[str, object]:
        """Make it below the output directory. `StepError` transcode_failed, transcode_too_large, or as a child's job
        may end; `OSError` ENOSPC when the disk is full."""
        limits = replace(context.limits, file_size=context.size * _GROWTH + _ADDED)
        found = media_job.make(context, self.job, self._arguments(context), room=_ROOM, limits=limits)
        if found.get("disk_is_full"):
            raise OSError(errno.ENOSPC, "no room for a rendition")
        context.report(100)
        return {**self.columns(), **media_job.remarks(found)}

    @abstractmethod
    def columns(self) -> Mapping[str, object]:
        """The columns after success."""

    def _arguments(self, context: StepContext) -> dict[str, object]:
        settings = context.settings
        return {
            "size": context.size,
            "max_edge": settings.transcode_max_height,
            "preset": settings.transcode_preset,
            "threads": min(_MAX_THREADS, len(os.sched_getaffinity(0))),
            "facts": {name: context.facts.get(name) for name in ("duration", "variable_frame_rate")},
        }
