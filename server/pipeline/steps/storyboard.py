"""The last step: small pictures of the whole video, for scrubbing.

Rule: `storyboard.vtt` says for each stretch of the video which part of `storyboard.jpg` shows it. Playback does not
need it, so a video without one has not failed.
"""

import errno
import shutil
from collections.abc import Mapping

from server.errors import StepError
from server.pipeline.sandbox import child
from server.pipeline.step import MAX_PIXELS, Step, StepContext, require_source
from server.settings import Settings

_ROOM = 4 << 20  # bytes; more than a sheet of the most pictures takes


class Storyboard(Step):
    """Makes the pictures; `has_storyboard` is its column."""

    name = "storyboard"
    weight = 8
    is_required = False

    def is_wanted(self, settings: Settings) -> bool:
        """Whether the setting asks for it."""
        return settings.storyboard == "on"

    def run(self, context: StepContext) -> Mapping[str, object]:
        """Write `storyboard.jpg` and `storyboard.vtt`; `StepError` storyboard_failed if no picture can be had."""
        source = require_source(context)
        try:
            child.run(
                "server.pipeline.jobs.storyboard:draw",
                {
                    "path": source,
                    "demuxer": context.demuxer,
                    "max_pixels": MAX_PIXELS,
                    "ffmpeg": context.ffmpeg,
                    "output": str(context.output.absolute()),
                    "duration": context.facts.get("duration"),
                    "seconds": context.limits.seconds,
                },
                limits=context.limits,
                cancelled=context.cancelled,
                report=context.report,
            )
        except StepError:
            # A child that could not write has crashed, and the video must not be blamed for a full disk.
            if shutil.disk_usage(context.output).free < _ROOM:
                raise OSError(errno.ENOSPC, "no room for a storyboard") from None
            raise
        context.report(100)
        return {"has_storyboard": True}
