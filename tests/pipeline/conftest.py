"""What the tests of the pipeline share.

Rule: whatever a test does, it leaves no process and no descriptor behind; that is checked after each one.
"""

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from server import media_types
from server.pipeline.media import ffmpeg
from server.pipeline.step import Limits, StepContext
from server.settings import load
from tests.harness import chromium, description, forkserver
from tests.harness.processes import descriptors
from tests.harness.waiting import within
from tests.pipeline import processes

Contexts = Callable[..., StepContext]


@pytest.fixture(scope="session")
def samples_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("samples")


@pytest.fixture(scope="session")
def browser() -> None:
    """The process of Chromium's drivers, which stays: start it before a test counts processes."""
    chromium.begin()


@pytest.fixture(autouse=True)
def _nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    forkserver.begin()
    if "start_server" in request.fixturenames:
        description.described()  # the first one to ask for it makes an application, which stays
    before, children = descriptors(), processes.children(os.getpid())
    yield
    # What others left here before may go meanwhile.
    within(lambda: processes.children(os.getpid()) <= children, seconds=2, what="no process is left")
    within(lambda: descriptors() <= before, seconds=2, what="no descriptor is left")


@pytest.fixture
def context(tmp_path: Path) -> Contexts:
    """Makes a StepContext for a source: the type is the one that its extension stands for, and the settings are the
    defaults, but for a dictionary `settings`."""

    def make(source: Path, **changes: object) -> StepContext:
        output = tmp_path / "output"
        output.mkdir(exist_ok=True)
        given: dict[str, object] = {
            "source": source,
            "size": source.stat().st_size if source.exists() else 0,
            "output": output,
            "media_type": media_types.by_name(source.name),
            "limits": Limits(seconds=60, memory=4 << 30),
            "ffmpeg": ffmpeg.find("auto"),
            "settings": load(data_dir=tmp_path / "data"),
            "facts": {},
            "cancelled": threading.Event(),
            "report": lambda percent: None,
        }
        if isinstance(chosen := changes.pop("settings", None), dict):
            given["settings"] = load(data_dir=tmp_path / "data", **chosen)
        elif chosen is not None:
            given["settings"] = chosen
        return StepContext(**(given | changes))  # type: ignore[arg-type]

    return make
