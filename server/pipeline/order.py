"""The order of the steps.

Rule: a step may rely on the facts of those before it. Nothing is made of a file before scan has passed it, and probe
comes before all that look inside. Nothing else names the steps.
"""

from server.pipeline.hls import Hls
from server.pipeline.mp4 import Mp4
from server.pipeline.poster import Poster
from server.pipeline.probe import Probe
from server.pipeline.scan import Scan
from server.pipeline.step import Step
from server.pipeline.storyboard import Storyboard

STEPS: tuple[Step, ...] = (Scan(), Probe(), Poster(), Mp4(), Hls(), Storyboard())
