"""The step `poster`: a JPEG of a meaningful frame.

Rule: `poster.jpg` is upright, as wide as it is shown, never larger than the video nor than the setting, and is
there whole or not at all.
"""

import errno
import shutil
from collections.abc import Mapping
from typing import ClassVar

from server.errors import StepError
from server.pipeline.sandbox import fallback
from server.pipeline.step import MAX_PIXELS, MAX_STREAMS, Step, StepContext, require_source

FILE_NAME = "poster.jpg"
"""The poster's name below the output directory."""

_ROOM = 16 << 20  # bytes; candidates of the largest posters and some


class Poster(Step):
    """Takes the poster; `has_poster` is its column."""

    name = "poster"
    weight = 4
    job: ClassVar[str] = "server.pipeline.jobs.poster:make"
    """`module:function` that does it in the child."""
    beside = "mp4"  # a copy takes a second, an encode hours: neither waits for the other

    def run(self, context: StepContext) -> Mapping[str, object]:
        """Write `poster.jpg` into the output directory; `StepError` poster_failed if no frame can be had."""
        source = require_source(context)
        try:
            fallback.run(
                self.job,
                {
                    "path": source,
                    "demuxer": context.demuxer,
                    "max_pixels": MAX_PIXELS,
                    "max_streams": MAX_STREAMS,
                    "ffmpeg": context.ffmpeg,
                    "output": str(context.output.absolute()),
                    "name": FILE_NAME,
                    "edge": context.settings.poster_size,
                    "duration": context.facts.get("duration"),
                    "seconds": context.limits.seconds,
                },
                limits=context.limits,
                cancelled=context.cancelled,
                report=context.report,
            )
        except StepError:
            # FFmpeg does not tell a full disk from a broken video, and the video must not be blamed for it.
            if shutil.disk_usage(context.output).free < _ROOM:
                raise OSError(errno.ENOSPC, "no room for a poster") from None
            raise
        finally:
            for candidate in context.output.glob("candidate-*.jpg"):
                candidate.unlink(missing_ok=True)
        context.report(100)
        return {"has_poster": True}
