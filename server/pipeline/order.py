"""The order of the steps.

Rule: a step may rely on the facts of those before it. Nothing is made from a file before scan has passed it, and probe
comes before all steps that open the video. What people wait for comes first: a playable result with its poster, then
the sizes of HLS, then the storyboard. No other module names the steps.
"""

from collections.abc import Sequence

from server.pipeline.step import Step
from server.pipeline.steps.hls import Hls
from server.pipeline.steps.mp4 import Mp4
from server.pipeline.steps.poster import Poster
from server.pipeline.steps.probe import Probe
from server.pipeline.steps.scan import Scan
from server.pipeline.steps.storyboard import Storyboard

STEPS: tuple[Step, ...] = (Scan(), Probe(), Mp4(), Poster(), Hls(), Storyboard())


def groups(steps: Sequence[Step]) -> Sequence[Sequence[Step]]:
    """These steps in order; those of one group run side by side."""
    found: list[list[Step]] = []
    for step in steps:
        if found and step.beside is not None and step.beside == found[-1][0].name:
            found[-1].append(step)
        else:
            found.append([step])
    return found
