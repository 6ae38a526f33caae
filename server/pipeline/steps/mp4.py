"""The step `mp4`: one file that every browser and phone plays.

Rule: `video.mp4` is H.264 in 8 bits with AAC or no sound, its index at the beginning; it is there whole or not at all.
"""

from collections.abc import Mapping

from server.pipeline import costs
from server.pipeline.costs import Cost, Material
from server.pipeline.steps.transcode import Transcode
from server.settings import Settings


class Mp4(Transcode):
    """Makes `video.mp4`, by copying where the video allows it; `has_mp4` is its column."""

    name = "mp4"
    job = "server.pipeline.jobs.mp4:make"

    def is_wanted(self, settings: Settings) -> bool:
        """As the setting `transcode` says."""
        return settings.transcode in ("mp4", "both")

    def cost(self, material: Material, settings: Settings) -> Cost:
        """As `costs.py` says."""
        return costs.mp4(material, max_edge=settings.transcode_max_height, preset=settings.transcode_preset)

    def columns(self) -> Mapping[str, object]:
        """The column after success."""
        return {"has_mp4": True, "playable": True}
