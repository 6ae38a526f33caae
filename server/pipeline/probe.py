"""The first step: is the file a playable video, and what kind?

Rule: the parent never loads a decoder; `probe_job.py` does, in a child, with the demuxer of the verified type.
"""

from collections.abc import Mapping

from server.errors import StepError
from server.media_types import MediaType
from server.pipeline import child
from server.pipeline.step import MAX_PIXELS, StepContext, require_source

# The columns that the job fills, and what each may be besides None.
_COLUMNS: Mapping[str, type] = {
    "duration": float,  # seconds
    "width": int,  # pixels, after rotation
    "height": int,  # pixels, after rotation
    "frame_rate": float,  # frames a second, on average
    "video_codec": str,
    "audio_codec": str,  # None without sound
}


class Probe:
    """Finds out `duration`, `width`, `height`, `frame_rate`, `container`, `video_codec`, `audio_codec`."""

    name = "probe"
    weight = 1

    def applies_to(self, media_type: MediaType | None) -> bool:
        """Every video."""
        return media_type is not None

    def run(self, context: StepContext) -> Mapping[str, object]:
        """The columns; None is what cannot be known. A file of which no frame can be decoded is not_playable,
        one without moving pictures (sound only, cover art) is no_video_stream, both as `StepError`."""
        found = child.run(
            "server.pipeline.probe_job:probe",
            {
                "path": require_source(context),
                "demuxer": context.media_type.demuxer,
                "max_pixels": MAX_PIXELS,
            },
            limits=context.limits,
            cancelled=context.cancelled,
            report=context.report,
        )
        context.report(100)
        return {"container": context.media_type.name} | _checked(found)


def _checked(found: Mapping[str, object]) -> dict[str, object]:
    """Exactly the columns, each of its type: a child that a video took over could say anything."""
    columns = {name: found.get(name) for name in _COLUMNS}
    for name, kind in _COLUMNS.items():
        if columns[name] is not None and type(columns[name]) is not kind:
            raise StepError("step_crashed")
    return columns
