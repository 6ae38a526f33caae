"""Which FFmpeg is found."""

import os
import subprocess
from pathlib import Path

import pytest

from server.errors import StartError
from server.pipeline.media import ffmpeg


@pytest.mark.parametrize("choice", ["auto", "system", "bundled"])
def test_each_setting_finds_an_ffmpeg_that_runs(choice: str) -> None:
    """What is found is an absolute path, and it is an FFmpeg."""
    found = ffmpeg.find(choice)
    assert Path(found).is_absolute()
    said = subprocess.run([found, "-version"], capture_output=True, check=True).stdout
    assert said.startswith(b"ffmpeg version")


def test_auto_prefers_the_system_and_falls_back_to_the_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto` is the system's FFmpeg; without one it is the wheel's, so one pip install is enough."""
    assert ffmpeg.find("auto") == ffmpeg.find("system") != ffmpeg.find("bundled")
    monkeypatch.setenv("PATH", "/nowhere")
    assert ffmpeg.find("auto") == ffmpeg.find("bundled")
    with pytest.raises(StartError, match="apt install ffmpeg"):
        ffmpeg.find("system")


def test_a_path_to_ffmpeg_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path is taken, made absolute; one that is no program is refused with the setting's name."""
    program = tmp_path / "my ffmpeg"
    program.write_text("#!/bin/sh\n")
    with pytest.raises(StartError, match="VIDEODOCK_FFMPEG"):
        ffmpeg.find(str(program))
    program.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    assert ffmpeg.find("my ffmpeg") == str(program)
    for wrong in (str(tmp_path), str(tmp_path / "absent"), os.devnull):
        with pytest.raises(StartError):
            ffmpeg.find(wrong)
