"""The bytecode of the tests, before several processes need it: in a fresh clone each of them would make all of it.

Rule: pytest makes it, by collecting the files whose bytecode is missing or old, in as many processes as there are
processors. Rewriting the assertions of all files takes nine seconds of a processor, and four processes took four
times as much.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

_FEW = 20  # files that are not worth a start of pytest


def prepare(folder: Path, environment: Mapping[str, str]) -> None:
    """Collect the test files below a folder that need it; what cannot be collected is reported by the run itself."""
    stale = [path for path in sorted(folder.rglob("test_*.py")) if _is_stale(path)]
    if len(stale) < _FEW:
        return
    count = os.cpu_count() or 1
    collect = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    quiet = subprocess.DEVNULL
    running = [
        subprocess.Popen([*collect, *map(str, stale[first::count])], env=environment, stdout=quiet, stderr=quiet)
        for first in range(count)
    ]
    for process in running:
        process.wait()


def _is_stale(source: Path) -> bool:
    kind = f"{sys.implementation.cache_tag}-pytest-{pytest.__version__}"
    made = source.parent / "__pycache__" / f"{source.stem}.{kind}.pyc"
    return not made.exists() or made.stat().st_mtime < source.stat().st_mtime
