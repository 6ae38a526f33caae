"""The step `poster`: a JPEG of a meaningful frame.

Rule: `poster.jpg` is upright, as wide as it is shown, never larger than the video nor than the setting, and is
there whole or not at all. A video that can be played and has no frame for a poster has not failed.
"""

from collections.abc import Mapping
from typing import ClassVar

from server.pipeline import costs
from server.pipeline.costs import Cost, Material
from server.pipeline.step import Step, StepContext
from server.pipeline.steps import media_job
from server.settings import Settings

FILE_NAME = "poster.jpg"
"""The poster's name below the output directory."""

_ROOM = 16 << 20  # bytes; candidates of the largest posters and some


class Poster(Step):
    """Takes the poster; `has_poster` is its column."""

    name = "poster"
    is_required = False
    job: ClassVar[str] = "server.pipeline.jobs.poster:make"
    """`module:function` of the job in the child."""
    beside = "mp4"  # a copy takes a second, an encode hours: neither waits for the other

    def cost(self, material: Material, settings: Settings) -> Cost:  # noqa: ARG002  # others ask the settings
        """As `costs.py` says."""
        return costs.poster(material)

    def run(self, context: StepContext) -> Mapping[str, object]:
        """Write `poster.jpg` into the output directory; `StepError` poster_failed if no frame can be decoded."""
        try:
            media_job.make(
                context,
                self.job,
                {
                    "name": FILE_NAME,
                    "edge": context.settings.poster_size,
                    "duration": context.facts.get("duration"),
                },
                room=_ROOM,
            )
        finally:
            for candidate in context.output.glob("candidate-*.jpg"):
                candidate.unlink(missing_ok=True)
        context.report(100)
        # Of a file that is processed again, any poster that its owner chose is gone.
        return {"has_poster": True, "poster_from": None}
