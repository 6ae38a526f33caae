"""How much a video may cost: real recordings pass, and a few bytes that describe hours of huge frames do not."""

from pathlib import Path

import pytest

from server.errors import StepError
from server.messages import sentence
from server.pipeline import budget
from server.pipeline.steps.mp4 import Mp4
from server.pipeline.steps.probe import Probe
from server.settings import Settings
from tests import samples
from tests.pipeline.conftest import Contexts

HOUR, MB = 3600.0, 1_000_000
DEFAULT = Settings().max_pixels
SIX_HOURS = Settings().transcode_time_limit


def facts(width: int, height: int, duration: float | None, rate: float | None) -> dict[str, object]:
    return {"width": width, "height": height, "duration": duration, "frame_rate": rate}


@pytest.mark.parametrize(
    ("width", "height", "duration", "rate", "size"),
    [
        (1920, 1080, 10 * HOUR, 30.0, 20_000 * MB),
        (3840, 2160, 10 * HOUR, 60.0, 200_000 * MB),
        (7680, 4320, 60.0, 60.0, 600 * MB),
        (1920, 1080, HOUR, 30.0, 8 * MB),  # a screen that stands still, 2 kB/s
        (8192, 8192, 1.6, 25.0, MB // 5),
        (1920, 1080, 24 * HOUR, 1.0, 50 * MB),  # time lapse of a day
    ],
)
def test_usual_recordings_are_within_the_budget(
    width: int, height: int, duration: float, rate: float, size: int
) -> None:
    """It is within the limit, and its time is far more than an encode takes (50 million pixels a second)."""
    found = facts(width, height, duration, rate)
    budget.check(budget.pixels(found), size, DEFAULT)
    encode = width * height * duration * rate / 50e6
    assert budget.seconds(found, size, 1e9) >= 5 * encode


@pytest.mark.parametrize(
    ("found", "frames", "size"),
    [
        (facts(8192, 8192, 6 * HOUR, 25.0), 0, 12 * MB),
        (facts(8192, 8192, 1.0, 1.0), 10_000, 12 * MB),  # by the index, whatever the header says of the time
        (facts(1920, 1080, 100 * HOUR, 60.0), 0, 10**12),
        (facts(64, 48, 366 * 86400.0, 1000.0), 0, MB),
    ],
)
def test_more_pixels_than_bytes_can_stand_for_are_refused(found: dict[str, object], frames: int, size: int) -> None:
    """By the setting, or by the bytes; the sentence has both figures, in both languages."""
    with pytest.raises(StepError) as caught:
        budget.check(budget.pixels(found, frames), size, DEFAULT)
    error = caught.value
    assert error.code == "too_many_pixels"
    assert float(error.params["pixels"]) > float(error.params["limit"])
    for language in ("zh", "en"):
        assert str(error.params["limit"]) in sentence(error.code, error.params, language)


@pytest.mark.parametrize(
    ("found", "size"),
    [
        (facts(8192, 8192, 1.6, 25.0), MB // 5),
        (facts(1920, 1080, None, None), 12 * MB),
        (facts(1920, 1080, 60.0, 30.0), 12 * MB),
    ],
)
def test_small_files_get_minutes_of_processing_time(found: dict[str, object], size: int) -> None:
    """A few frames, and a few bytes of unknown length, are given minutes; the setting is the most."""
    assert 120 <= budget.seconds(found, size, SIX_HOURS) < 1500
    assert budget.seconds(found, size, 60) == 60


def test_invalid_facts_count_as_unknown() -> None:
    """What is missing, negative or infinite counts as unknown."""
    for broken in (None, -1.0, float("inf"), float("nan"), "5"):
        assert budget.pixels({"width": 64, "height": 48, "duration": broken, "frame_rate": 25.0}) is None


def limited(pixels: int) -> Settings:
    return Settings().model_copy(update={"max_pixels": pixels / 1e9})


def test_the_probe_refuses_more_pixels_than_the_limit(context: Contexts, tmp_path: Path) -> None:
    """A real video of 50 frames of 64 x 48 pixels passes a limit of 1,000,000 pixels and fails one of 100,000."""
    source = samples.make(tmp_path, "a.mp4", size="64x48", seconds=2)
    assert Probe().run(context(source, settings=limited(1_000_000)))["width"] == 64
    with pytest.raises(StepError) as caught:
        Probe().run(context(source, settings=limited(100_000)))
    assert caught.value.code == "too_many_pixels"


def test_an_encode_that_takes_longer_than_its_pixels_is_stopped() -> None:
    """The step's own limit is what the worker lowers."""
    assert Mp4().limits(Settings()).seconds == SIX_HOURS
    assert budget.seconds(facts(1920, 1080, HOUR, 30.0), 1000 * MB, SIX_HOURS) == SIX_HOURS
