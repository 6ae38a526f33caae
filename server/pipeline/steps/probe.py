"""The first step: is the file a playable video, and what kind?

Rule: the parent never loads a decoder; `jobs/probe.py` does, in a child, with the demuxer of the verified type.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from server.errors import StepError
from server.pipeline import budget, costs
from server.pipeline.costs import Cost, Material
from server.pipeline.step import Limits, Step, StepContext
from server.pipeline.steps import media_job
from server.settings import Settings

_MEMORY = 1536 << 20  # bytes of address space: room for a frame of 8K and its neighbours, or for a thousand tracks

# The columns that the job fills, and the type of each besides None.
_COLUMNS: Mapping[str, type] = {
    "duration": float,  # seconds
    "width": int,  # pixels, after rotation
    "height": int,  # pixels, after rotation
    "frame_rate": float,  # frames a second, on average
    "video_codec": str,
    "audio_codec": str,  # of the first audio track; None without sound
    "audio_tracks": int,  # number
    "hdr": bool,
    "variable_frame_rate": bool,  # None when too few frames can be looked at
}


class Probe(Step):
    """Finds out `container` and the columns above. Place and device of a video are never read."""

    name = "probe"
    job: ClassVar[str] = "server.pipeline.jobs.probe:probe"
    """`module:function` of the job in the child."""

    def cost(self, material: Material, settings: Settings) -> Cost:  # noqa: ARG002  # others ask the settings
        """As `costs.py` says."""
        return costs.probe(material)

    def limits(self, settings: Settings) -> Limits:
        """Less memory than the other steps: a file whose huge index passes here passes there, too."""
        limits = super().limits(settings)
        return replace(limits, memory=min(limits.memory, _MEMORY))

    def run(self, context: StepContext) -> Mapping[str, object]:
        """The columns; None is what cannot be known. A file of which no frame can be decoded is not_playable,
        one without moving pictures (sound only, cover art) is no_video_stream, one whose frames together are too large
        is too_many_pixels, one that is longer than its grant allows is video_too_long, all as `StepError`."""
        found = media_job.run(context, self.job, {})
        columns = _checked(found)
        _check_duration(columns["duration"], context.max_duration)
        frames = found.get("frames")
        counted = budget.pixels(columns, frames if isinstance(frames, int) else 0)
        budget.check(counted, context.size, context.settings.max_pixels)
        context.report(100)
        key_seconds = found.get("key_seconds")
        hints = {"key_seconds": key_seconds} if isinstance(key_seconds, float) else {}
        return {"container": context.media_type.name if context.media_type else None} | columns | hints


def _check_duration(seconds: object, most: float | None) -> None:
    if most is not None and isinstance(seconds, float) and seconds > most:
        raise StepError("video_too_long", seconds=round(seconds, 1), limit=f"{most:g}")


def _checked(found: Mapping[str, object]) -> dict[str, object]:
    """Exactly the columns, each of its type: a compromised child could send anything."""
    columns = {name: found.get(name) for name in _COLUMNS}
    for name, kind in _COLUMNS.items():
        if columns[name] is not None and type(columns[name]) is not kind:
            raise StepError("step_crashed")
    return columns | media_job.remarks(found)
