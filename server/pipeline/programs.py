"""Programs that a job starts from inside the child process.

Rule: a program stays in the child's process group, so that whoever kills the group kills it too, and it shares
the child's standard error, which the parent reads and bounds. Only the child process imports this.
"""

import contextlib
import os
import subprocess
from collections.abc import Sequence

_running: set["subprocess.Popen[bytes]"] = set()


def run(command: Sequence[str | os.PathLike[str]], seconds: float) -> bool:
    """Run a program without input or output for at most so many seconds; whether it succeeded."""
    with subprocess.Popen(  # noqa: S603  # a list, never a shell
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    ) as process:
        _running.add(process)
        try:
            return process.wait(seconds) == 0
        except subprocess.TimeoutExpired:
            return False
        finally:
            process.kill()
            _running.discard(process)


def kill_all() -> None:
    """Kill every program that runs, from another thread, and reap it (at most 100 ms for each)."""
    for process in list(_running):
        process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.1)
