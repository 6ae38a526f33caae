"""What a file with a thousand tracks of sound costs a child: FFmpeg's program, which runs at the same time, takes
700 MB of its own."""

import os
import subprocess
import sys
from pathlib import Path

from tests import bad_videos

_LEAST = 200 << 20  # bytes resident; more means that the decoders of all tracks are there
_LOOK = """
import sys
from pathlib import Path
from server.pipeline.media import programs, source

def resident(name):
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) << 10

path = sys.argv[1]
source.glance(path, "mov", 1 << 26)
print(resident("VmHWM:"))
found = source.read(path, "mov", 1 << 26, {})
print(resident("VmHWM:"))
programs.follow(["true"], 60, folder="/", look=lambda _: None)
print(resident("VmRSS:"))
print(1 + len(found.other_audio))
"""


def test_a_thousand_audio_tracks_cost_no_memory(tmp_path: Path) -> None:
    """A look at the pictures opens no decoder of sound; what a look at everything took is gone before FFmpeg starts."""
    path = bad_videos.many_sounds(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", _LOOK, str(path)],
        stdout=subprocess.PIPE,
        env=os.environ | {"MALLOC_ARENA_MAX": "1"},
        check=True,
        timeout=300,
    )
    glance, everything, left, count = map(int, done.stdout.split())
    assert count == 1000
    assert glance < _LEAST < everything, "else this test proves nothing of what comes after"
    assert left < _LEAST
