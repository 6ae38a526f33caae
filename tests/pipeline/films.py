"""Small films for tests of odd files, and how a step refuses one."""

from pathlib import Path

import pytest

from server.errors import StepError
from server.pipeline.step import Step
from tests import samples
from tests.pipeline.conftest import Contexts

SMALL = "testsrc2=size=64x48:rate=25:duration"
"""An input of FFmpeg's lavfi, but for the seconds."""


def refusal(step: Step, context: Contexts, source: Path) -> tuple[str, dict[str, object]]:
    """The code and the parameters of the error that a step must end with."""
    with pytest.raises(StepError) as caught:
        step.run(context(source))
    return caught.value.code, dict(caught.value.params)


def film(target: Path, *output: str, seconds: float = 4, sound: bool = True) -> Path:
    """A small video with a key frame each second."""
    tone = ("-f", "lavfi", "-i", f"sine=frequency=440:duration={seconds}") if sound else ()
    codecs = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-pix_fmt", "yuv420p", "-c:a", "aac")
    samples.run("-f", "lavfi", "-i", f"{SMALL}={seconds}", *tone, *codecs, *output, str(target))
    return target
