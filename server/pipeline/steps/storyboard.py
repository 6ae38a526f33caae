"""The last step: small pictures of the whole video, for scrubbing.

Rule: `storyboard.vtt` names for each stretch of the video the part of `storyboard.jpg` that shows it. Playback does not
need it, so a video without one has not failed.
"""

from collections.abc import Mapping

from server.pipeline import costs
from server.pipeline.costs import Cost, Material
from server.pipeline.step import Step, StepContext
from server.pipeline.steps import media_job
from server.settings import Settings

_ROOM = 4 << 20  # bytes; more than a sheet of the most pictures takes


class Storyboard(Step):
    """Makes the pictures; `has_storyboard` is its column."""

    name = "storyboard"
    is_required = False

    def is_wanted(self, settings: Settings) -> bool:
        """Whether the setting enables it."""
        return settings.storyboard == "on"

    def cost(self, material: Material, settings: Settings) -> Cost:  # noqa: ARG002  # others ask the settings
        """As `costs.py` says."""
        return costs.storyboard(material)

    def run(self, context: StepContext) -> Mapping[str, object]:
        """Write `storyboard.jpg` and `storyboard.vtt`; `StepError` storyboard_failed if no picture can be decoded."""
        job, duration = "server.pipeline.jobs.storyboard:draw", context.facts.get("duration")
        media_job.make(context, job, {"duration": duration}, room=_ROOM, has_program=False)
        context.report(100)
        return {"has_storyboard": True}
