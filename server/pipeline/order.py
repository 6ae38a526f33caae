"""The order of the steps.

Rule: a step may rely on the facts of those before it, so probe is first. Nothing else names the steps.
"""

from server.pipeline.poster import Poster
from server.pipeline.probe import Probe
from server.pipeline.step import Step

STEPS: tuple[Step, ...] = (Probe(), Poster())
