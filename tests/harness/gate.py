"""FFmpeg behind a gate: the real program, which waits while the gate is shut.

The setting `ffmpeg` takes a path, so a test can hold a step where it wants it, for as long as it wants.
"""

import shutil
import sys
from pathlib import Path

from tests.harness import processes

_PROGRAM = """#!{python}
import os, sys, time
if not any("version" in argument for argument in sys.argv[1:]):
    while os.path.exists({gate!r}):
        time.sleep(0.02)
os.execv({ffmpeg!r}, [{ffmpeg!r}, *sys.argv[1:]])
"""


class Gate:
    """A shut gate; give `path` to the server as its FFmpeg."""

    def __init__(self, folder: Path) -> None:
        ffmpeg = shutil.which("ffmpeg")
        assert ffmpeg, "FFmpeg is not installed; `make test` installs it"
        self._bar = folder / "gate-is-shut"
        self._bar.touch()
        self.path = folder / "gated-ffmpeg"
        self.path.write_text(_PROGRAM.format(python=sys.executable, gate=str(self._bar), ffmpeg=ffmpeg))
        self.path.chmod(0o755)

    def open(self) -> None:
        """Let everybody through, now and later."""
        self._bar.unlink(missing_ok=True)

    def waiting(self) -> list[processes.Process]:
        """The processes that stand before the gate."""
        return [process for process in processes.everyone() if str(self.path) in process.command]
