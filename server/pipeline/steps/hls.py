"""The step `hls`: playlists with several sizes, for players that choose by the speed of their line.

Rule: `hls/index.m3u8` and all files that it names are there whole or not at all; all sizes have their key frames at
the same frames, and none is larger than its source.
"""

from collections.abc import Mapping

from server.pipeline import costs
from server.pipeline.costs import Cost, Material
from server.pipeline.steps.transcode import Transcode
from server.settings import Settings


class Hls(Transcode):
    """Makes the folder `hls`; `has_hls` is its column."""

    name = "hls"
    job = "server.pipeline.jobs.hls:make"

    def is_wanted(self, settings: Settings) -> bool:
        """As the setting `transcode` says."""
        return settings.transcode in ("hls", "both")

    def cost(self, material: Material, settings: Settings) -> Cost:
        """As `costs.py` says."""
        return costs.hls(material, max_edge=settings.transcode_max_height, preset=settings.transcode_preset)

    def columns(self) -> Mapping[str, object]:
        """The column after success."""
        return {"has_hls": True, "playable": True}
