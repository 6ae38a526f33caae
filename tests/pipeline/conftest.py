"""What the tests of the pipeline share.

Rule: whatever a test does, it leaves no process and no descriptor behind; that is checked after each one.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from server import media_types
from server.pipeline import ffmpeg
from server.pipeline.step import Limits, StepContext
from tests.pipeline import processes

Contexts = Callable[..., StepContext]


@pytest.fixture(scope="session")
def samples_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("samples")


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    descriptors = list(Path("/proc/self/fd").iterdir())
    children = processes.children(os.getpid())
    yield
    deadline = time.monotonic() + 2
    while processes.children(os.getpid()) != children and time.monotonic() < deadline:
        time.sleep(0.01)
    assert processes.children(os.getpid()) == children
    assert len(list(Path("/proc/self/fd").iterdir())) == len(descriptors)


@pytest.fixture
def context(tmp_path: Path) -> Contexts:
    """Makes a StepContext for a source; the type is the one that its extension stands for."""

    def make(source: Path, **changes: object) -> StepContext:
        output = tmp_path / "output"
        output.mkdir(exist_ok=True)
        given: dict[str, object] = {
            "source": source,
            "output": output,
            "media_type": media_types.by_name(source.name),
            "limits": Limits(seconds=60, memory=4 << 30),
            "ffmpeg": ffmpeg.find("auto"),
            "poster_size": 1280,
            "facts": {},
            "cancelled": threading.Event(),
            "report": lambda percent: None,
        }
        return StepContext(**(given | changes))  # type: ignore[arg-type]

    return make
