"""What the steps `mp4` and `hls` share: the parent's side of a transcode.

Rule: the parent names what is to be made and within which bounds; the job in the child looks at the video and decides
how. A full disk is never the video's fault.
"""

import errno
import os
import shutil
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from server.errors import StepError
from server.messages import REMARKS
from server.pipeline.sandbox import fallback
from server.pipeline.step import MAX_PIXELS, Limits, Step, StepContext, require_source
from server.settings import Settings

_ROOM = 64 << 20  # bytes; with less than this the disk is full, whatever FFmpeg says
_MAX_THREADS = 8  # of one program; more make hardly faster and take much memory
_ADDED = 512 << 20  # bytes for a file besides what the job allows for; the job's own bound comes first
_GROWTH = 20


class Transcode(Step):
    """A step that makes something to be played."""

    weight = 60
    job: ClassVar[str]
    """`module:function` that does it in the child."""

    def limits(self, settings: Settings) -> Limits:
        """Encoding has a time limit of its own."""
        return replace(super().limits(settings), seconds=settings.transcode_time_limit)

    def run(self, context: StepContext) -> Mapping[str, object]:
        """Make it below the output directory. `StepError` transcode_failed, transcode_too_large, or as a child's job
        may end; `OSError` ENOSPC when the disk is full."""
        source = require_source(context)
        try:
            found = fallback.run(
                self.job,
                self._arguments(context, source),
                limits=replace(context.limits, file_size=context.size * _GROWTH + _ADDED),
                cancelled=context.cancelled,
                report=context.report,
            )
        except StepError:
            if shutil.disk_usage(context.output).free < _ROOM:
                raise OSError(errno.ENOSPC, "no room for a rendition") from None
            raise
        if found.get("disk_is_full"):
            raise OSError(errno.ENOSPC, "no room for a rendition")
        context.report(100)
        remarks = _checked_remarks(found.get("remarks"))
        return {**self.columns(), "remarks": remarks} if remarks else self.columns()

    @abstractmethod
    def columns(self) -> Mapping[str, object]:
        """What is true of the file now."""

    def _arguments(self, context: StepContext, source: str) -> dict[str, object]:
        settings = context.settings
        return {
            "path": source,
            "size": context.size,
            "demuxer": context.demuxer,
            "max_pixels": MAX_PIXELS,
            "ffmpeg": context.ffmpeg,
            "output": str(context.output.absolute()),
            "max_edge": settings.transcode_max_height,
            "preset": settings.transcode_preset,
            "threads": min(_MAX_THREADS, len(os.sched_getaffinity(0))),
            "seconds": context.limits.seconds,
            "facts": {name: context.facts.get(name) for name in ("duration", "variable_frame_rate")},
        }


def _checked_remarks(told: object) -> list[str]:
    """Codes that we know: a child that a video took over could say anything."""
    codes = told if isinstance(told, list) else []
    return [code for code in codes if isinstance(code, str) and code in REMARKS]
