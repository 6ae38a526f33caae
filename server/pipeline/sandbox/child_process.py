"""The process of a child: how it is started, and how it is ended with all that it started.

Rule: a child is started by `subprocess` in a session of its own (never by fork: servers have threads) and gets nothing
of our environment. When it has been ended, no process, no zombie and no descriptor of it is left.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

Process: TypeAlias = subprocess.Popen[bytes]

_GRACE = 0.3  # seconds that a child has to end by itself once its standard input is closed

# `server` must be importable in the child however this process found it: run from a checkout, or installed.
_ROOT = Path(__file__).parents[3]


def start(*modules: str) -> Process:
    """A child that waits for its job on standard input; with `modules`, it imports them first."""
    return subprocess.Popen(  # noqa: S603  # our own interpreter, never a shell
        [sys.executable, "-m", "server.pipeline.sandbox.child_main", *modules],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        cwd=_ROOT,
        env=_environment(os.environ),
        start_new_session=True,
    )


def end(process: Process, *, grace: float = _GRACE) -> None:
    """Let the child end by itself for `grace` seconds, then kill its group, then reap it."""
    with process:  # closes its pipes
        if process.stdin is not None:
            process.stdin.close()  # the child takes this as "the parent is gone" and reaps its programs first
        deadline = time.monotonic() + grace
        while not is_dead(process) and time.monotonic() < deadline:
            time.sleep(0.005)
        # Before reaping: until then the zombie keeps the number of its group from being reused.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def is_dead(process: Process) -> bool:
    """Whether the child has ended; this does not reap it."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment that a child needs, without any secret of ours."""
    kept = {name: environ[name] for name in ("PATH", "LANG", "PYTHONPATH") if name in environ}
    # Every heap arena of glibc reserves 64 MiB of address space, which is what the memory limit counts.
    return kept | {"MALLOC_ARENA_MAX": "1"}
